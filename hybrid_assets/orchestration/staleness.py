"""The rule of the cut-off: what a table is made from, and whether the one in storage is still that.

An asset obeys it when it runs (incremental.py); `judge` asks it about the whole graph without running anything.
Belongs here: that rule, once. Does not: computing, or showing the answer.
"""

import functools
import graphlib
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import dagster as dg
import polars as pl

from hybrid_assets.orchestration.faults import with_remedy
from hybrid_assets.orchestration.gpu import GpuNeed
from hybrid_assets.orchestration.storage import Stamp, TableStore, content_hash

ABSENT = "missing"
NOT_HERE_YET = "what it looks at is not on this machine yet; a run fetches it"
State = Literal["fresh", "stale", "missing", "blocked"]


@dataclass(frozen=True)
class Recipe:
    """What decides whether an asset's table is the current one; kept in RECIPES.

    Attributes:
        key: the asset.
        code_version: of its code, settings and libraries.
        made_with: what the code version is a digest of: "version", "settings", and the version of each library.
        inputs: parameter name -> asset.
        optional: parameter names of inputs it can do without.
        parts: parameter name -> version of the part of that input it depends on.
        observed: (storage, whether it may fetch) -> versions of inputs outside the graph; None where it may not fetch
            and they are not here yet.
        look: for an asset that looks at the outside world in every run: the table it would make now, nothing fetched;
            None where what it looks at is not here yet.
        gpu: what it needs of the GPU.
        checks: names of its checks.
        names_files: whether its table names files that lie beside it, which a run makes anew where they are lost.
    """

    key: dg.AssetKey
    code_version: str
    made_with: Mapping[str, str]
    inputs: Mapping[str, dg.AssetKey]
    optional: frozenset[str] = frozenset()
    parts: Mapping[str, Callable[[pl.LazyFrame], str]] = field(default_factory=dict)
    observed: Callable[[TableStore, bool], Mapping[str, str] | None] | None = None
    look: Callable[[], pl.DataFrame | None] | None = None
    gpu: GpuNeed | None = None
    checks: frozenset[str] = frozenset()
    names_files: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a run would find about an asset.

    Attributes:
        state: "fresh": nothing would be computed; "stale": it would be looked at, and computed unless an input turns
            out as it was; "missing": never made here; "blocked": it cannot be made before somebody does something.
        why: the reasons, in words.
        stamp: what made the table in storage, if there is one.
        inherited: whether the reasons are the state of its inputs and nothing else.
    """

    state: State
    why: tuple[str, ...] = ()
    stamp: Stamp | None = None
    inherited: bool = False


# The recipe of each asset that incremental_asset made; Dagster's own metadata holds nothing but what its UI can show.
RECIPES: "weakref.WeakKeyDictionary[dg.AssetsDefinition, Recipe]" = weakref.WeakKeyDictionary()


def recipes_of(assets: Iterable[object] | None) -> dict[dg.AssetKey, Recipe]:
    """The recipe of each asset, as `dg.Definitions.assets` holds them."""
    return {asset.key: RECIPES[asset] for asset in assets or () if isinstance(asset, dg.AssetsDefinition)}


def beyond_this_gpu(recipes: Mapping[dg.AssetKey, Recipe], gib: float) -> dict[dg.AssetKey, str]:
    """What cannot be made with a GPU of `gib` GiB (0: without one), and why."""
    return {
        key: f"needs a GPU with {recipe.gpu.gib:g} GiB: not here"
        for key, recipe in recipes.items()
        if recipe.gpu and recipe.gpu.gib > gib
    }


def input_versions(
    recipe: Recipe,
    stamp_of: Callable[[dg.AssetKey], Stamp | None],
    table_of: Callable[[dg.AssetKey], pl.LazyFrame | None],
) -> dict[str, str]:
    """What the asset's table depends on in the graph, as `Stamp.inputs` keeps it: input -> version.

    Args:
        recipe: of the asset.
        stamp_of: an input's stamp, None where it has no table.
        table_of: an input's table, None where it has none; asked for inputs of which a part counts.
    """

    def version(name: str, key: dg.AssetKey) -> str:
        part = recipe.parts.get(name)
        table = table_of(key) if part else None
        if part and table is not None:
            return f"part {part(table)}"
        stamp = stamp_of(key)
        return stamp.data_version if stamp else ABSENT

    return {key.to_user_string(): version(name, key) for name, key in recipe.inputs.items()}


def changes(recipe: Recipe, stamp: Stamp, inputs: Mapping[str, str]) -> dict[str, str]:
    """What is not as it was when the stamp was made: "code" or the input -> in words. None: the table is current."""
    found = {}
    if stamp.code_version != recipe.code_version:
        found["code"] = _code_change(recipe.made_with, stamp.made_with)
    for name in {**inputs, **stamp.inputs}:
        if name not in stamp.inputs:
            found[name] = f"{name} is a new input"
        elif name not in inputs:
            found[name] = f"{name} is no input any more"
        elif inputs[name] != stamp.inputs[name]:
            found[name] = f"{name} changed"
    return found


def judge(
    recipes: Mapping[dg.AssetKey, Recipe],
    store: TableStore,
    *,
    selected: Collection[dg.AssetKey] | None = None,
    blocked: Mapping[dg.AssetKey, str] | None = None,
) -> dict[dg.AssetKey, Verdict]:
    """What a run would find about each asset, inputs first; nothing is computed, fetched or written.

    Args:
        recipes: of assets and all that they are made from.
        store: where the tables are.
        selected: what the run would be of (None: everything). Of what is not selected, a selected asset is made as it
            lies in storage; another one is judged by the state of all its inputs.
        blocked: assets that cannot be made on this machine, and why, as "needs a GPU with 12 GiB".
    """
    order = graphlib.TopologicalSorter({key: set(recipe.inputs.values()) for key, recipe in recipes.items()})
    verdicts: dict[dg.AssetKey, Verdict] = {}
    # What the assets that look at the outside world would hold now.
    seen_now: dict[dg.AssetKey, pl.DataFrame] = {}
    for key in order.static_order():
        recipe = recipes[key]
        try:
            stamp = store.stamp(key)
        except (OSError, dg.Failure) as unreadable:
            verdicts[key] = Verdict("blocked", (_in_words(unreadable),))
            continue
        try:
            if recipe.look:
                verdicts[key] = _look(recipe, stamp, store, seen_now)
            else:
                verdicts[key] = _compare(recipe, stamp, store, verdicts, seen_now, selected)
            if blocked and key in blocked and verdicts[key].state != "fresh":
                verdicts[key] = Verdict("blocked", (blocked[key],), stamp)
        except (ValueError, OSError, dg.Failure) as unavailable:
            # it would fail the run in these words
            verdicts[key] = Verdict("blocked", (_in_words(unavailable),), stamp)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as unreadable:
            verdicts[key] = Verdict("blocked", (_damage(recipe, store) or str(unreadable),), stamp)
    return verdicts


def _in_words(error: ValueError | OSError | dg.Failure) -> str:
    if isinstance(error, OSError):
        return with_remedy(error)
    return (error.description if isinstance(error, dg.Failure) else None) or str(error)


def _damage(recipe: Recipe, store: TableStore) -> str:
    """Which of the inputs that are read in part is not as it was written, and what to do; "" where none is."""
    for name in recipe.parts:
        try:
            store.verify(recipe.inputs[name])
        except dg.Failure as damaged:
            return _in_words(damaged)
    return ""


def outdated(
    recipes: Mapping[dg.AssetKey, Recipe],
    store: TableStore,
    keys: Collection[dg.AssetKey],
    *,
    as_they_lie: Collection[dg.AssetKey] = (),
) -> dict[dg.AssetKey, str]:
    """Why a table is not what its recipe, and those of what it came from, make of the tables that lie here.

    Asks nothing outside the storage; `judge` does. Of what looks outside only the settings are compared, as where the
    dataset lies.

    Args:
        recipes: of the assets and of what they are made from.
        store: where the tables are.
        keys: the assets.
        as_they_lie: what is not asked about, whatever it was made from.

    Returns:
        Asset -> the reason furthest up in words, "" where there is none; what has no table is left out.
    """
    stamps = functools.cache(store.stamp)

    def lies_outside(name: str) -> bool:
        source = recipes.get(dg.AssetKey.from_user_string(name))
        return source is None or source.look is not None

    @functools.cache
    def why(key: dg.AssetKey) -> str:
        recipe, stamp = recipes[key], stamps(key)
        if stamp is None or key in as_they_lie:
            return ""
        upstream = next(filter(None, map(why, recipe.inputs.values())), "")
        if upstream:
            return upstream
        here = input_versions(recipe, stamps, lambda source: store.scan(source) if stamps(source) else None)
        as_it_was = {name: version for name, version in stamp.inputs.items() if lies_outside(name)}
        found = changes(recipe, stamp, here | as_it_was)
        return f"{key.to_user_string()}: {', '.join(found.values())}" if found else ""

    return {key: why(key) for key in keys if stamps(key) is not None}


def due(
    recipes: Mapping[dg.AssetKey, Recipe],
    store: TableStore,
    selected: Collection[dg.AssetKey],
    recorded: Collection[dg.AssetKey],
) -> list[dg.AssetKey]:
    """What a run of `selected` has to look at: what is not fresh, or unknown to Dagster.

    Args:
        recipes: of the whole graph.
        store: where the tables are.
        selected: what is to be brought up to date.
        recorded: what Dagster has a record of; the rest is looked at so that its UI shows it.
    """
    verdicts = judge(_with_sources(recipes, selected), store, selected=selected)
    return [key for key in selected if verdicts[key].state != "fresh" or key not in recorded]


def _with_sources(
    recipes: Mapping[dg.AssetKey, Recipe], selected: Collection[dg.AssetKey]
) -> dict[dg.AssetKey, Recipe]:
    found: dict[dg.AssetKey, Recipe] = {}
    waiting = list(selected)
    while waiting:
        key = waiting.pop()
        if key not in found:
            found[key] = recipes[key]
            waiting += recipes[key].inputs.values()
    return found


def _look(recipe: Recipe, stamp: Stamp | None, store: TableStore, seen_now: dict[dg.AssetKey, pl.DataFrame]) -> Verdict:
    assert recipe.look is not None
    table = recipe.look()
    if table is None:
        return Verdict("stale" if stamp else "missing", (NOT_HERE_YET,), stamp)
    seen_now[recipe.key] = table
    if stamp is None:
        return Verdict("missing", ("never made here",))
    why = tuple(changes(recipe, stamp, {}).values())
    if content_hash(table) != stamp.data_version:
        why += ("what it looks at has changed",)
    return Verdict("stale" if why else "fresh", why, stamp)


def _compare(
    recipe: Recipe,
    stamp: Stamp | None,
    store: TableStore,
    verdicts: Mapping[dg.AssetKey, Verdict],
    seen_now: Mapping[dg.AssetKey, pl.DataFrame],
    selected: Collection[dg.AssetKey] | None,
) -> Verdict:
    waits: dict[str, str] = {}
    tables: dict[dg.AssetKey, pl.LazyFrame] = {}
    of_run = selected if selected is not None and recipe.key in selected else None
    for name, key in recipe.inputs.items():
        source, shown = verdicts[key], key.to_user_string()
        runs = of_run is None or key in of_run
        if name in recipe.parts:
            now = seen_now.get(key) if runs else None
            if now is not None:
                tables[key] = now.lazy()
            elif source.stamp:
                tables[key] = store.scan(key)
        if source.state == "blocked" and name not in recipe.optional and not source.stamp:
            why = source.why if source.inherited else (f"input {shown} is blocked: {'; '.join(source.why)}",)
            return Verdict("blocked", why, stamp, inherited=True)
        if not runs or (key in seen_now and name in recipe.parts):
            continue  # it is what it is: its version decides
        if of_run is None and name in recipe.optional and source.state == "missing":
            continue  # left to a backfill
        if source.state in ("stale", "missing", "blocked"):
            waits[shown] = f"input {shown} is {source.state}"

    inputs = input_versions(recipe, lambda key: verdicts[key].stamp, tables.get)
    observed = recipe.observed(store, False) if recipe.observed else {}
    if observed is None:
        return Verdict("stale" if stamp else "missing", (NOT_HERE_YET, *waits.values()), stamp)
    if stamp is None:
        return Verdict("missing", tuple(waits.values()) or ("never made here",), inherited=bool(waits))
    found = changes(recipe, stamp, inputs | dict(observed))
    lost = store.lost_files(recipe.key) if recipe.names_files else []
    if lost:
        found["files"] = f"lost or changed: {', '.join(lost)}"
    unchecked = sorted(recipe.checks - set(stamp.checked))
    if unchecked:
        found["checks"] = f"newer than the table: {', '.join(unchecked)}"
    why = tuple((found | waits).values())
    return Verdict("stale" if why else "fresh", why, stamp, inherited=not found and bool(waits))


def _code_change(now: Mapping[str, str], then: Mapping[str, str]) -> str:
    if not then:  # a stamp of before it was kept
        return "its code, settings or libraries changed"
    words = []
    for name in {**now, **then}:
        if now.get(name) == then.get(name):
            continue
        if name == "settings":
            words.append("its settings changed")
        elif name == "version":
            words.append("its code changed")
        else:
            words.append(f"{name} changed from {then.get(name, 'none')} to {now.get(name, 'none')}")
    return ", ".join(words) or "its code, settings or libraries changed"
