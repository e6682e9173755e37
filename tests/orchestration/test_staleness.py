"""What a run would find, asked without running: the answers are those of the run itself."""

from dataclasses import replace

import dagster as dg
import polars as pl
import pytest
from small_world import World

from hybrid_assets.orchestration.incremental import Computed, incremental_asset
from hybrid_assets.orchestration.staleness import NOT_HERE_YET, Verdict, due, judge, outdated, recipes_of
from hybrid_assets.orchestration.storage import TableStore, replace_file


@pytest.fixture
def world(tmp_path):
    world = World(str(tmp_path))
    assert world.run().success
    return world


def states(world, **options):
    recipes = recipes_of(world.assets())
    world.computed.clear()
    found = judge(recipes, TableStore(url=world.url), **options)
    assert world.computed == [], "asking computes nothing"
    return {key.to_user_string(): (verdict.state, "; ".join(verdict.why)) for key, verdict in found.items()}


def test_after_a_run_everything_is_fresh(world):
    assert set(states(world).values()) == {("fresh", "")}


def test_before_any_run_everything_is_missing(tmp_path):
    found = states(World(str(tmp_path)))
    assert {state for state, _ in found.values()} == {"missing"}
    assert found["c"] == ("missing", "input b is missing")


def test_a_change_outside_reaches_all_that_a_run_would_look_at(world):
    world.source = [4, 5, 6]
    found = states(world)
    assert found["a"] == ("stale", "what it looks at has changed")
    assert found["b"] == ("stale", "input a is stale")
    assert found["c"] == ("stale", "input b is stale")
    assert world.run().success
    assert {state for state, _ in states(world).values()} == {"fresh"}


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("factor", 3, {"c": ("stale", "its settings changed")}),
        ("weights", "w2", {"c": ("stale", "weights changed")}),
        ("version_of_b", "2", {"b": ("stale", "its code changed"), "c": ("stale", "input b is stale")}),
    ],
)
def test_what_changed_is_named_and_nothing_else_is_stale(world, attribute, value, expected):
    setattr(world, attribute, value)
    found = states(world)
    assert {key: verdict for key, verdict in found.items() if verdict[0] != "fresh"} == expected


def test_what_is_not_selected_counts_as_it_lies_there(world):
    world.version_of_b = "2"
    assert states(world, selected={dg.AssetKey("c")})["c"] == ("fresh", "")


def test_a_blocked_asset_blocks_what_cannot_do_without_it(world):
    TableStore(url=world.url).path(dg.AssetKey("b")).unlink()
    found = states(world, blocked={dg.AssetKey("b"): "needs a GPU with 12 GiB"})
    assert found["b"] == ("blocked", "needs a GPU with 12 GiB")
    assert found["c"] == ("blocked", "input b is blocked: needs a GPU with 12 GiB")
    assert found["d"] == ("fresh", "")


def test_what_lies_behind_a_blocked_table_that_is_not_current_is_not_fresh_either(world):
    world.version_of_b = "2"
    blocked = {dg.AssetKey("b"): "needs a GPU with 12 GiB"}
    found = states(world, blocked=blocked)
    assert found["b"] == ("blocked", "needs a GPU with 12 GiB")
    assert found["c"] == ("stale", "input b is blocked")
    without_b = {dg.AssetKey(name) for name in ("a", "c", "d")}
    assert states(world, blocked=blocked, selected=without_b)["c"] == ("fresh", ""), "it is made of b as it lies"


def test_what_may_not_be_read_blocks_in_the_systems_words(world):
    def refused():
        raise PermissionError(13, "Permission denied", "ratings.csv")

    recipes = recipes_of(world.assets())
    recipes[dg.AssetKey("a")] = replace(recipes[dg.AssetKey("a")], look=refused)
    verdicts = judge(recipes, TableStore(url=world.url))
    assert verdicts[dg.AssetKey("a")].state == "blocked"
    assert "ratings.csv" in verdicts[dg.AssetKey("a")].why[0]
    assert verdicts[dg.AssetKey("b")].state == "stale"


def test_a_damaged_file_blocks_in_the_words_of_the_run(world):
    store = TableStore(url=world.url)
    replace_file(store.path(dg.AssetKey("b")), b"not parquet")
    state, why = states(world)["b"]
    assert state == "blocked"
    assert "Delete the file" in why


def test_a_stamp_of_before_made_with_was_kept_is_still_read(world):
    store = TableStore(url=world.url)
    path = store.path(dg.AssetKey("c"))
    old = '{"asset": "c", "code_version": "0", "inputs": {}, "data_version": "x", "numbers": {}, "notes": {}}'
    pl.DataFrame({"x": [1]}).write_parquet(str(path), metadata={"hybrid_assets": old})
    assert "its code, settings or libraries changed" in states(world)["c"][1]


def why_outdated(world) -> dict[str, str]:
    keys = [dg.AssetKey(name) for name in ("a", "b", "c")]
    found = outdated(recipes_of(world.assets()), TableStore(url=world.url), keys)
    return {key.to_user_string(): why for key, why in found.items()}


@pytest.mark.parametrize(
    ("attribute", "value", "named"),
    [
        ("factor", 3, {"c": "c: its settings changed"}),
        ("version_of_b", "2", {"b": "b: its code changed", "c": "b: its code changed"}),
        # what lies outside the storage is not asked
        ("weights", "w2", {}),
        ("source", [4, 5, 6], {}),
    ],
)
def test_a_table_of_other_settings_is_outdated_and_so_is_what_came_of_it(world, attribute, value, named):
    nothing = dict.fromkeys("abc", "")
    assert why_outdated(world) == nothing
    setattr(world, attribute, value)
    assert why_outdated(world) == nothing | named


def test_an_input_made_anew_outdates_what_is_behind_it_until_that_is_made_too(world):
    world.source = [4, 5, 6]
    assert world.run(selection="a").success
    assert set(why_outdated(world).values()) == {""}, (
        "a looks outside: who has not followed it yet will in the next run"
    )
    assert world.run(selection="b").success
    assert why_outdated(world) == {"a": "", "b": "", "c": "c: b changed"}
    assert world.run().success
    assert set(why_outdated(world).values()) == {""}


def test_an_input_that_is_one_no_more_outdates_the_table(world):
    recipes = recipes_of(world.assets())
    c = dg.AssetKey("c")
    recipes[c] = replace(recipes[c], inputs={"d": dg.AssetKey("d")})
    found = outdated(recipes, TableStore(url=world.url), [c])
    assert found == {c: "c: d is a new input, b is no input any more"}


def test_what_counts_as_it_lies_outdates_nothing_until_it_is_made_anew(world):
    world.version_of_b = "2"
    recipes, store, (b, c) = recipes_of(world.assets()), TableStore(url=world.url), map(dg.AssetKey, "bc")
    assert outdated(recipes, store, [c]) == {c: "b: its code changed"}
    assert outdated(recipes, store, [c], as_they_lie=[b]) == {c: ""}


def test_what_has_no_table_is_neither_current_nor_outdated(tmp_path):
    assert why_outdated(World(str(tmp_path))) == {}


def test_what_is_not_here_yet_is_fetched_by_a_run_and_by_no_question(tmp_path):
    fetched = []

    def observed(store, fetch):
        fetched.extend([1] * fetch)
        return {"weights": "w"} if fetched else None

    @incremental_asset(key="made", group="g", version="1", columns={"x": "a number"}, observed=observed)
    def made(step):
        return Computed(pl.DataFrame({"x": [1]}))

    store, key = TableStore(url=str(tmp_path)), dg.AssetKey("made")
    recipes = recipes_of([made])
    assert judge(recipes, store)[key] == Verdict("missing", (NOT_HERE_YET,))
    assert due(recipes, store, [key], [key]) == [key]
    assert not fetched
    assert dg.materialize([made], resources={"io_manager": store}).success
    assert judge(recipes, store)[key].state == "fresh"


def test_what_a_run_leaves_out_makes_nothing_that_it_makes_stale(world):
    everything = recipes_of(world.assets())
    keys = {name: dg.AssetKey(name) for name in "abcd"}
    refreshed = [keys["a"], keys["c"], keys["d"]]
    world.source = [4]
    assert world.run(selection="a").success
    verdicts = judge(everything, TableStore(url=world.url), selected=refreshed)
    assert {name: verdicts[key].state for name, key in keys.items()} == {
        "a": "fresh", "b": "stale", "c": "fresh", "d": "stale"
    }  # fmt: skip
    assert due(everything, TableStore(url=world.url), refreshed, refreshed) == [keys["d"]]
