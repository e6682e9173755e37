"""The cut-off: what computes and what does not, on a small graph a -> b -> c, a -> d."""

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore


class World:
    """What the small graph looks at, and what it computed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.source = [1, 2, 3]
        self.weights = "w1"
        self.factor = 2
        self.version_of_b = "1"
        self.computed: list[str] = []

    def assets(self) -> list[dg.AssetsDefinition]:
        def asset(key: str, **options: object) -> Callable[..., dg.AssetsDefinition]:
            return incremental_asset(key=key, group="g", columns={"x": "a number"}, **{"version": "1", **options})

        @asset("a", look=lambda: pl.DataFrame({"x": self.source}))
        def a(step: Step) -> Computed:
            self.computed.append("a")
            return Computed(pl.DataFrame({"x": self.source}))

        @asset("b", inputs=["a"], version=self.version_of_b)
        def b(step: Step, a: pl.LazyFrame) -> Computed:
            self.computed.append("b")
            table = a.select(pl.col("x").abs()).collect()
            if table["x"].max() > 100:
                raise ValueError("x must be at most 100")
            return Computed(table, {"largest": table["x"].max()})

        @asset("c", inputs=["b"], settings=[self.factor], observed=lambda store: {"weights": self.weights})
        def c(step: Step, b: pl.LazyFrame) -> Computed:
            self.computed.append("c")
            return Computed(b.select(pl.col("x") * self.factor).collect())

        @asset("d", inputs=["a"])
        def d(step: Step, a: pl.LazyFrame) -> Computed:
            self.computed.append("d")
            return Computed(a.collect())

        return [a, b, c, d]

    def run(self, selection: str | None = None) -> dg.ExecuteInProcessResult:
        self.computed.clear()
        return dg.materialize(
            self.assets(),
            resources={"io_manager": TableStore(url=self.url)},
            selection=selection,
            raise_on_error=False,
        )

    def table(self, key: str) -> list[int]:
        return TableStore(url=self.url).scan(dg.AssetKey(key)).collect()["x"].to_list()


@pytest.fixture
def world(tmp_path):
    world = World(str(tmp_path))
    assert world.run().success
    assert sorted(world.computed) == ["a", "b", "c", "d"]
    return world


def metadata(result, key):
    return result.asset_materializations_for_node(key)[0].metadata


def test_an_unchanged_graph_computes_nothing_but_what_looks_outside(world):
    result = world.run()
    assert result.success
    assert world.computed == ["a"]
    assert metadata(result, "b")["cached"].value is True
    assert metadata(result, "a")["cached"].value is True, "it looked, and found what it knew"


def test_an_unchanged_asset_still_reports_its_versions_and_numbers(world):
    result = world.run()
    shown = metadata(result, "b")
    assert shown["largest"].value == 3
    assert shown["dagster/row_count"].value == 3


def test_changed_content_computes_what_depends_on_it(world):
    world.source = [4, 5, 6]
    world.run()
    assert sorted(world.computed) == ["a", "b", "c", "d"]
    assert world.table("c") == [8, 10, 12]


def test_a_change_stops_where_the_result_is_the_same(world):
    world.source = [-1, 2, 3]
    world.run()
    assert sorted(world.computed) == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [("factor", 3, ["a", "c"]), ("weights", "w2", ["a", "c"]), ("version_of_b", "2", ["a", "b"])],
)
def test_a_changed_setting_weight_or_code_version_computes_only_its_asset(world, attribute, value, expected):
    setattr(world, attribute, value)
    world.run()
    assert sorted(world.computed) == expected


def test_a_deleted_table_is_computed_again_and_nothing_after_it(world):
    TableStore(url=world.url).path(dg.AssetKey("b")).unlink()
    world.run()
    assert world.computed == ["a", "b"]


def test_a_failure_keeps_the_last_good_version_and_leaves_the_rest_to_run(world):
    world.source = [1000]
    result = world.run()
    assert not result.success
    assert world.table("b") == [1, 2, 3]
    assert world.table("c") == [2, 4, 6]
    assert world.table("d") == [1000]
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert failure.step_failure_data.user_failure_data.description == "b: x must be at most 100"
    world.source = [7]
    assert world.run().success
    assert world.table("c") == [14]


def test_one_asset_by_name_without_its_input_says_what_to_build(tmp_path):
    world = World(str(tmp_path))
    result = world.run("b")
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "a has not been materialized" in str(failure.step_failure_data.user_failure_data.description)


def test_dagster_knows_columns_lineage_and_owner(world):
    result = world.run()
    schema = metadata(result, "a")["dagster/column_schema"].value
    assert [(column.name, column.description) for column in schema.columns] == [("x", "a number")]
    assert "| 1" in metadata(result, "a")["preview"].value


def test_an_input_that_can_be_done_without_arrives_as_none(tmp_path):
    @incremental_asset(key="maker", group="g", version="1", columns={"x": "a number"})
    def maker(step: Step) -> Computed:
        return Computed(pl.DataFrame({"x": [1]}))

    @incremental_asset(
        key="user", group="g", version="1", columns={"had": "whether"}, inputs=["maker"], optional=["maker"]
    )
    def user(step: Step, maker: pl.LazyFrame | None) -> Computed:
        return Computed(pl.DataFrame({"had": [maker is not None]}))

    store = TableStore(url=str(tmp_path))
    for selection, had in (("user", [False]), ("*", [True])):
        dg.materialize([maker, user], resources={"io_manager": store}, selection=selection)
        assert store.scan(user.key).collect()["had"].to_list() == had
