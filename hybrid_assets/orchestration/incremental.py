"""The incremental cut-off: an asset computes only when its code, its settings or the content of an input changed.

Open-source Dagster runs whatever is selected. Here every table carries a stamp of the versions that made it
(storage.py); when they are the current ones, the asset reports the same data version and computes nothing, and what
depends on it finds its inputs unchanged. Belongs here: the asset that obeys the rule (staleness.py) and what Dagster
is told about its table.
"""

import functools
import importlib.metadata
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg
import polars as pl

from hybrid_assets.catalog import settings_digest
from hybrid_assets.orchestration.abandoned import name_host
from hybrid_assets.orchestration.checks import Check, Made, check_results, check_specs, refusal
from hybrid_assets.orchestration.faults import TO_DO, lasting_failure, of_the_network, with_remedy
from hybrid_assets.orchestration.gpu import POOL, TAG, GpuNeed
from hybrid_assets.orchestration.staleness import RECIPES, Recipe, changes, input_versions
from hybrid_assets.orchestration.storage import Stamp, StampedTable, TableStore, content_hash

OWNERS = ["team:hybrid-assets"]
# Run tag: the encoders and models, separated by commas, whose assets are computed although nothing changed.
FORCE_TAG = "hybrid_assets/force"
PROGRESS_SECONDS = 2.0
PREVIEW_ROWS = 5


@dataclass(frozen=True)
class Computed:
    """What an asset's function returns.

    Attributes:
        table: the asset's whole content.
        numbers: counts and figures that the UI plots over time; kept with the table.
        notes: Markdown that the UI shows (a search's curve, a plot); kept with the table.
        this_run: what this run did, as how many rows it did not carry over; not kept.
    """

    table: pl.DataFrame
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    this_run: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What an asset's function may know of the run it is part of."""

    key: dg.AssetKey
    store: TableStore
    context: dg.AssetExecutionContext
    # of the asset's code, settings and libraries
    code_version: str
    # hash of the code version and all inputs: the same for two steps that would compute the same
    identity: str
    # torch device
    device: str
    # whether nothing of the last table may be carried over
    forced: bool

    def say(self, message: str) -> None:
        """Tell the person who watches, in the terminal and in the UI."""
        self.context.log.info(message)

    def previous(self) -> pl.LazyFrame | None:
        """The asset's own last table, to carry rows over from; None where other code, settings or libraries made it,
        and where the run is forced.

        Raises:
            dagster.Failure: it is damaged.
        """
        stamp = self.store.stamp(self.key)
        if self.forced or stamp is None or stamp.code_version != self.code_version:
            return None
        self.store.verify(self.key)
        return self.store.scan(self.key)

    def progress(self, unit: str) -> Callable[[int, int | None], None]:
        """A callback for long work: (done, total) becomes `1,024 of 9,066 documents, 310/s, 26 s left`."""
        started = time.monotonic()
        now_and_then = self.now_and_then()

        def report(done: int, total: int | None) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            told = f"{done:,} {unit}, {_per_second(rate)}" if total is None else _of_total(done, total, unit, rate)
            now_and_then(told, done == total)

        return report

    def now_and_then(self) -> Callable[[str, bool], None]:
        """A callback (message, last one): says the message, but not more often than people can read."""
        last_said = time.monotonic()

        def tell(message: str, last: bool) -> None:
            nonlocal last_said
            if last or time.monotonic() - last_said >= PROGRESS_SECONDS:
                last_said = time.monotonic()
                self.say(message)

        return tell


def _of_total(done: int, total: int, unit: str, rate: float) -> str:
    left = f"{(total - done) / rate:,.0f} s left" if rate > 0 else "time left unknown"
    return f"{done:,} of {total:,} {unit}, {_per_second(rate)}, {left}"


def _per_second(rate: float) -> str:
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"


@functools.cache
def library_version(distribution: str) -> str:
    """The installed version without its build (`+cpu`, `+cu130`), "none" of an extra that is not installed.

    What a GPU machine trained and embedded is as current on a laptop. Read once, as hundreds of assets ask.
    """
    try:
        return importlib.metadata.version(distribution).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "none"  # whoever computes with it says how to install it


def incremental_asset(
    *,
    key: str,
    group: str,
    version: str,
    columns: Mapping[str, str],
    inputs: Sequence[str] | Mapping[str, str] = (),
    optional: Sequence[str] = (),
    settings: Sequence[object] = (),
    libraries: Sequence[str] = (),
    parts: Mapping[str, Callable[[pl.LazyFrame], str]] | None = None,
    observed: Callable[[TableStore, bool], Mapping[str, str] | None] | None = None,
    look: Callable[[], pl.DataFrame | None] | None = None,
    gpu: GpuNeed | None = None,
    checks: Sequence[Check] = (),
    names_files: bool = False,
    kinds: frozenset[str] = frozenset(),
    tags: Mapping[str, str] | None = None,
    lineage: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., Computed]], dg.AssetsDefinition]:
    """Turn `function(step, **inputs) -> Computed` into an asset that recomputes only what changed.

    Args:
        key: asset key, as `embeddings/minilm`.
        group: stage of the graph.
        version: raise it when the function's result changes for the same inputs.
        columns: column -> what it holds.
        inputs: asset keys, or parameter name -> asset key; each arrives as a LazyFrame.
        optional: parameter names of inputs the asset can do without; a missing one arrives as None.
        settings: what of the catalog the result depends on; part of the code version.
        libraries: distributions whose version the result depends on; part of the code version.
        parts: parameter name -> version of the part of that input the result depends on, in place of the whole's.
        observed: (storage, whether it may fetch) -> versions of inputs outside the graph (weights on disk), None where
            it may not and they are not here; computed at every run.
        look: for an asset that looks at the outside world, and so computes at every run: the table it would make now
            with nothing fetched, None where there is nothing yet. Only `judge` asks.
        gpu: what it needs of the GPU; asked for only when there is something to compute.
        checks: what must hold of the table; where a blocking one fails, the last table stays.
        names_files: whether its table names, as `file` and `sha256`, files that the function writes into the folder of
            its key, and that are to be made anew where they are lost.
        kinds: what the UI shows on the asset, beside parquet.
        tags: for selections such as `tag:encoder=minilm`.
        lineage: column -> (input key, its column) that it comes from.
        description: in place of the function's docstring.
    """
    named = dict(inputs) if isinstance(inputs, Mapping) else {name: name for name in inputs}
    upstream = {name: dg.AssetKey.from_user_string(path) for name, path in named.items()}
    asset_key = dg.AssetKey.from_user_string(key)
    versions = {name: library_version(name) for name in libraries}
    recipe = Recipe(
        key=asset_key,
        code_version=f"{version}-{settings_digest(list(settings), versions)}",
        made_with={"version": version, "settings": settings_digest(list(settings)), **versions},
        inputs=upstream,
        optional=frozenset(optional),
        parts=dict(parts or {}),
        observed=observed,
        look=look,
        gpu=gpu,
        checks=frozenset(check.name for check in checks),
        names_files=names_files,
    )
    dependencies = {
        column: [dg.TableColumnDep(dg.AssetKey.from_user_string(path), source) for path, source in sources]
        for column, sources in (lineage or {}).items()
    }

    def decorate(function: Callable[..., Computed]) -> dg.AssetsDefinition:
        @dg.asset(
            key=asset_key,
            # read below: Dagster would write two events into its log for each input that it loads
            deps=list(upstream.values()),
            group_name=group,
            code_version=recipe.code_version,
            kinds={"parquet", *kinds},
            owners=OWNERS,
            tags={**(tags or {}), **(TAG if gpu else {})},
            pool=POOL if gpu else None,
            description=description or function.__doc__,
            required_resource_keys={"io_manager", *({"gpu"} if gpu else set())},
            output_required=True,
            check_specs=check_specs(asset_key, checks),
        )
        def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
            store: TableStore = context.resources.io_manager
            name_host(context.instance, context.run)
            named = {(tags or {}).get("encoder"), (tags or {}).get("model")}
            forced = not named.isdisjoint(context.run.tags.get(FORCE_TAG, "").split(","))
            last, made_from, tables = look_up(store)
            if last and current(store, last, made_from, forced):
                yield from unchanged(context, store, last, tables)
                return
            with store.alone(asset_key, context.log.info) as waited:
                if waited:  # the other run may have made it, or its inputs
                    last, made_from, tables = look_up(store)
                if waited and last and current(store, last, made_from, forced):
                    yield from unchanged(context, store, last, tables)
                else:
                    yield from compute(context, store, forced, last, made_from, tables)

        def look_up(store: TableStore) -> tuple[Stamp | None, dict[str, str], dict[str, pl.LazyFrame | None]]:
            """The stamp of the table in storage, the versions of the inputs, and the inputs."""
            tables = {
                name: None if name in optional and not store.exists(input_key) else store.scan(input_key)
                for name, input_key in upstream.items()
            }
            with _clear_failures(key, store, list(upstream.values())):
                by_key = {input_key: tables[name] for name, input_key in upstream.items()}
                made_from = input_versions(recipe, store.stamp, by_key.get)
                made_from |= (observed(store, True) or {}) if observed else {}
            return store.stamp(asset_key), made_from, tables

        def current(store: TableStore, stamp: Stamp, made_from: Mapping[str, str], forced: bool) -> bool:
            if look or forced or (names_files and store.lost_files(asset_key)):
                return False
            return not changes(recipe, stamp, made_from)

        def unchanged(
            context: dg.AssetExecutionContext,
            store: TableStore,
            stamp: Stamp,
            tables: Mapping[str, pl.LazyFrame | None],
            computed: bool = False,
        ) -> Iterator[Any]:
            context.log.info("unchanged" if computed else "unchanged, nothing computed")
            # what was found when the table was made; a check that is newer than the table looks at it now
            newer = [check for check in checks if check.name not in stamp.checked]
            kept: dict[str, Any] = {}
            with _clear_failures(key, store, [asset_key]):
                if newer:
                    table = store.scan(asset_key).collect()
                    problems = _problems(newer, Made(table, tables, None))
                    refused = refusal(newer, problems)
                    if refused:  # not noted in the stamp: every run finds it until the table is another one
                        yield from check_results(newer, problems)
                        raise lasting_failure(f"{key}: a check that is newer than the table refuses it: {refused}")
                    stamp = replace(stamp, checked={**stamp.checked, **problems})
                    kept["value"] = StampedTable(table, stamp)
                shown = _shown(store.dataset, stamp, store.scan(asset_key), columns, dependencies)
            yield dg.MaterializeResult(
                **kept,
                data_version=dg.DataVersion(stamp.data_version),
                metadata={**shown, "cached": True},
                check_results=check_results(checks, stamp.checked),
            )

        def compute(
            context: dg.AssetExecutionContext,
            store: TableStore,
            forced: bool,
            last: Stamp | None,
            made_from: dict[str, str],
            tables: dict[str, pl.LazyFrame | None],
        ) -> Iterator[Any]:
            for input_key in upstream.values():
                if store.exists(input_key):
                    store.verify(input_key)
            device = context.resources.gpu.claim(gpu) if gpu else "cpu"
            code_version = recipe.code_version
            identity = settings_digest(key, code_version, made_from)
            step = Step(asset_key, store, context, code_version, identity, device, forced)
            started, spent = time.monotonic(), sum(os.times()[:4])
            with _clear_failures(key, store, [asset_key, *upstream.values()]):
                computed = function(step, **tables)
                spent = sum(os.times()[:4]) - spent
                _check_columns(key, computed.table, columns)
                problems = _problems(checks, Made(computed.table, tables, store.scan(asset_key) if last else None))
            refused = refusal(checks, problems)
            if refused:
                yield from check_results(checks, problems)
                raise lasting_failure(f"{key}: not stored, the last table stays: {refused}")
            for warning in filter(None, problems.values()):
                context.log.warning(f"{key}: {warning}")
            stamp = Stamp(
                asset=key,
                code_version=recipe.code_version,
                inputs=made_from,
                data_version=content_hash(computed.table),
                numbers=computed.numbers,
                notes=computed.notes,
                made_with=recipe.made_with,
                checked=problems,
            )
            if last and not forced and replace(stamp, checked={}) == replace(last, checked={}):
                yield from unchanged(context, store, last, tables, computed=True)
                return
            yield dg.MaterializeResult(
                value=StampedTable(computed.table, stamp),
                data_version=dg.DataVersion(stamp.data_version),
                metadata={
                    **_shown(store.dataset, stamp, computed.table.lazy(), columns, dependencies),
                    **computed.this_run,
                    "cached": False,
                    "seconds": round(time.monotonic() - started, 3),
                    # of all cores and of processes that it started; the graph's own work is not in it
                    "cpu_seconds": round(spent, 3),
                },
                check_results=check_results(checks, problems),
            )

        RECIPES[asset] = recipe
        return asset

    return decorate


def _problems(checks: Sequence[Check], made: Made) -> dict[str, str]:
    return {check.name: check.problem(made) for check in checks}


@contextmanager
def _clear_failures(key: str, store: TableStore, reads: Sequence[dg.AssetKey]) -> Iterator[None]:
    """Errors that tell the user what to do fail the run at once, under their own words.

    Args:
        key: the asset.
        store: where the tables are.
        reads: the tables read meanwhile; one that turns out damaged is named.
    """
    try:
        yield
    except ValueError as error:
        # a server that could not be reached may be there at the next try
        failure = dg.Failure(f"{key}: {error}") if of_the_network(error) else lasting_failure(f"{key}: {error}")
        raise failure from error
    except OSError as error:
        if error.errno not in TO_DO:
            raise
        raise dg.Failure(f"{key}: {with_remedy(error)}. The last good version stays") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        for read in reads:
            if store.exists(read):
                store.verify(read)
        raise


def _check_columns(key: str, table: pl.DataFrame, columns: Mapping[str, str]) -> None:
    if table.columns != list(columns):
        raise RuntimeError(f"{key}: declares the columns {list(columns)} and computed {table.columns}")


def _shown(
    dataset: str,
    stamp: Stamp,
    table: pl.LazyFrame,
    columns: Mapping[str, str],
    dependencies: Mapping[str, list[dg.TableColumnDep]],
) -> dict[str, Any]:
    schema = table.collect_schema()
    # genres are separated by what separates the cells of a Markdown table
    preview = (
        table.head(PREVIEW_ROWS).collect().with_columns(pl.col(pl.String).str.replace_all("|", "\\|", literal=True))
    )
    with pl.Config(
        tbl_formatting="ASCII_MARKDOWN", tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True,
        tbl_cols=-1, fmt_str_lengths=80, tbl_width_chars=10_000,
    ):  # fmt: skip
        markdown = str(preview)
    shown: dict[str, Any] = {
        "dagster/row_count": table.select(pl.len()).collect().item(),
        "dagster/column_schema": dg.TableSchema(
            [dg.TableColumn(name, type=str(dtype), description=columns[name]) for name, dtype in schema.items()]
        ),
        "dataset": dataset,
        "preview": dg.MetadataValue.md(markdown),
        **stamp.numbers,
        **{name: dg.MetadataValue.md(text) for name, text in stamp.notes.items()},
    }
    if dependencies:
        shown["dagster/column_lineage"] = dg.TableColumnLineage(dict(dependencies))
    return shown
