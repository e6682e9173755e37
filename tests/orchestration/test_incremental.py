"""The cut-off: what computes and what does not, on a small graph a -> b -> c, a -> d."""

import contextlib
import importlib.metadata
import shutil
import tempfile
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_world import World

from hybrid_assets.datasets.download import download
from hybrid_assets.datasets.errors import BadInput, DownloadError
from hybrid_assets.orchestration.faults import lasting_fault
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset, library_version
from hybrid_assets.orchestration.storage import TableStore


def unreachable() -> DownloadError:
    """What a download from a port where nobody answers raises."""
    with pytest.raises(DownloadError) as raised:
        download(
            "http://127.0.0.1:1/ratings.zip",
            Path(tempfile.mkdtemp()) / "x.zip",
            "0" * 32,
            lambda done, total: None,
            backoff_seconds=0.01,
        )
    return raised.value


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


def damage(world: World, key: str) -> None:
    """Flip the first byte of a table that makes other values of it without the reader noticing."""
    path, written = TableStore(url=world.url).path(dg.AssetKey(key)), world.table(key)
    good = path.read_bytes()
    for place in range(4, len(good)):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with contextlib.suppress(pl.exceptions.PolarsError):
            if len(world.table(key)) == len(written) and world.table(key) != written:
                return
    raise AssertionError("the reader notices every byte")


def told(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    return {
        event.step_key: event.step_failure_data.user_failure_data.description
        for event in result.all_events
        if event.is_step_failure
    }


def test_nothing_is_made_from_a_damaged_table_which_is_named(world):
    damage(world, "b")
    world.factor = 3
    result = world.run()
    file = Path(world.url) / "b.parquet"
    assert list(told(result)) == ["c"]
    assert told(result)["c"].startswith(f"{file} cannot be read as a table of this project")
    assert "Delete the file and run again" in told(result)["c"]
    assert world.table("c") == [2, 4, 6], "the last good version stays"
    file.unlink()
    assert world.run().success
    assert world.table("c") == [3, 6, 9]


def test_rows_of_a_damaged_table_are_not_carried_over(world):
    @incremental_asset(key="b", group="g", version="1", inputs=["a"], columns={"x": "a number"})
    def b(step: Step, a: pl.LazyFrame) -> Computed:
        return Computed(step.previous().collect())

    damage(world, "b")
    world.source = [4, 5, 6]
    result = dg.materialize(
        [*(asset for asset in world.assets() if asset.key != b.key), b],
        resources={"io_manager": TableStore(url=world.url)},
        raise_on_error=False,
    )
    assert str(Path(world.url) / "b.parquet") in told(result)["b"]


def test_a_read_only_storage_fails_in_words_and_unchanged_assets_do_not_need_to_write(mount):
    world = World(str(mount("size=1m")))
    assert world.run().success
    mount("remount,ro")
    assert world.run("b").success
    world.factor = 3
    assert "Read-only file system" in told(world.run("c"))["c"]
    assert world.table("c") == [2, 4, 6]
    mount("remount,rw")
    assert world.run().success
    assert world.table("c") == [3, 6, 9]


def test_a_full_storage_fails_in_words_and_the_next_run_finishes(mount):
    folder = mount("size=256k")
    world = World(str(folder))
    assert world.run().success
    with (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)) == 4096 and shutil.disk_usage(folder).free:
            pass
    world.source = [4, 5, 6]
    result = world.run()
    assert "No space left on device" in told(result)["a"]
    assert "free space on that disk, or set HYBRID_STORAGE" in told(result)["a"]
    assert (world.table("a"), world.table("c")) == ([1, 2, 3], [2, 4, 6])
    (folder / "filler").unlink()
    assert world.run().success
    assert world.table("c") == [8, 10, 12]


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (BadInput("ratings.csv, line 7: not a number"), True),
        (DownloadError("https://example.org: not the published file"), True),
        (unreachable(), False),
    ],
)
def test_bad_input_is_told_from_a_server_that_may_be_back(tmp_path, error, lasting):
    @incremental_asset(key="a", group="g", version="1", columns={"x": "a number"})
    def a(step: Step) -> Computed:
        raise error

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [a], resources={"io_manager": TableStore(url=str(tmp_path))}, raise_on_error=False, instance=instance
        )
        assert told(result)["a"] == f"a: {error}"
        assert lasting_fault(instance, result.run_id) == (f"a: {error}" if lasting else None)


def test_a_build_for_another_machine_is_the_same_version_of_a_library(monkeypatch):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: {"torch": "2.13.0+cu130"}.get(name) or real(name))
    library_version.cache_clear()
    try:
        assert library_version("torch") == "2.13.0"
        assert library_version("an-extra-that-is-not-installed") == "none"
    finally:
        library_version.cache_clear()
