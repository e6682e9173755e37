"""A table that fails a blocking check is never stored; a warning is told and stored with the table."""

import dagster as dg
import polars as pl
import pytest

from hybrid_assets.catalog import load_catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.checks import Check, Made
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore

KEY = dg.AssetKey("numbers")


def no_negative(made: Made) -> str:
    return "" if made.table["x"].min() >= 0 else f"row {made.table['x'].arg_min()} is negative"


def not_smaller(made: Made) -> str:
    return (
        "smaller than before"
        if made.previous is not None and made.table.height < made.previous.collect().height
        else ""
    )


CHECKS = (
    Check("no_negative", "No number is negative.", no_negative),
    Check("not_smaller", "The table does not shrink.", not_smaller, blocking=False),
)


class Numbers:
    def __init__(self, url: str) -> None:
        self.store = TableStore(url=url)
        self.values = [1, 2]
        self.checks = CHECKS

    def run(self) -> dg.ExecuteInProcessResult:
        @incremental_asset(
            key="numbers", group="g", version="1", settings=[self.values], columns={"x": "a number"}, checks=self.checks
        )
        def numbers(step: Step) -> Computed:
            return Computed(pl.DataFrame({"x": self.values}))

        @incremental_asset(key="after", group="g", version="1", inputs=["numbers"], columns={"x": "a number"})
        def after(step: Step, numbers: pl.LazyFrame) -> Computed:
            return Computed(numbers.collect())

        return dg.materialize([numbers, after], resources={"io_manager": self.store}, raise_on_error=False)

    @property
    def stored(self) -> list[int]:
        return self.store.scan(KEY).collect()["x"].to_list()


def evaluations(result):
    return {found.check_name: (found.passed, found.description) for found in result.get_asset_check_evaluations()}


@pytest.fixture
def numbers(tmp_path):
    numbers = Numbers(str(tmp_path))
    assert evaluations(numbers.run()) == {"no_negative": (True, None), "not_smaller": (True, None)}
    return numbers


def test_a_blocking_check_keeps_the_last_table_and_stops_what_follows(numbers):
    numbers.values = [3, -4]
    result = numbers.run()
    assert not result.success
    assert evaluations(result)["no_negative"] == (False, "row 1 is negative")
    told = result.failure_data_for_node("numbers").user_failure_data.description
    assert told == "numbers: not stored, the last table stays: no_negative: row 1 is negative"
    assert not result.asset_materializations_for_node("after")
    assert numbers.stored == [1, 2]
    numbers.values = [3, 4]
    assert numbers.run().success
    assert numbers.stored == [3, 4]


def test_every_check_stops_the_run_but_those_that_compare_with_before_or_the_floor():
    definitions = build_definitions(load_catalog(dataset="sample"), "memory://unused")
    checks = [spec for asset in definitions.assets for spec in asset.check_specs]
    assert {spec.name for spec in checks if not spec.blocking} == {"not_fallen", "above_most_popular"}
    assert len(checks) > 50


def test_a_warning_is_told_and_the_table_is_stored(numbers):
    numbers.values = [1]
    result = numbers.run()
    assert result.success
    assert evaluations(result)["not_smaller"] == (False, "smaller than before")
    assert numbers.stored == [1]


def test_an_unchanged_table_keeps_what_its_checks_found(numbers):
    numbers.values = [1]
    numbers.run()
    assert evaluations(numbers.run()) == {"no_negative": (True, None), "not_smaller": (False, "smaller than before")}


def test_a_table_that_a_newer_check_refuses_is_refused_in_every_run(numbers):
    numbers.checks = (*CHECKS, Check("small", "Numbers are below 2.", lambda made: "2 is not below 2"))
    for _ in range(2):
        result = numbers.run()
        assert not result.success
        assert evaluations(result)["small"] == (False, "2 is not below 2")
        assert not result.asset_materializations_for_node("after")
    assert numbers.stored == [1, 2]


def test_a_check_that_is_newer_than_the_table_looks_at_it_and_computes_nothing(numbers):
    small = Check("small", "Numbers are below 2.", lambda made: "2 is not below 2", blocking=False)
    numbers.checks = (*CHECKS, small)
    result = numbers.run()
    assert evaluations(result)["small"] == (False, "2 is not below 2")
    assert result.asset_materializations_for_node("numbers")[0].metadata["cached"].value is True
