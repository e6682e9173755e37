"""The command line `hybrid-assets`: every command is a few lines over the definitions and the queries.

Exit codes: 0 done, 1 a run failed or something has not been materialized, 2 a wrong call.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import dagster as dg
import polars as pl
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hybrid_assets import newcomer_queries, queries
from hybrid_assets.catalog import DATASETS, Catalog, CatalogError, load_catalog
from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.definitions import build_definitions, table_store
from hybrid_assets.doctor import examine
from hybrid_assets.environment import dagster_home
from hybrid_assets.model_searches import tables_needed, tune_model
from hybrid_assets.orchestration.faults import TO_DO, with_remedy
from hybrid_assets.orchestration.gpu import GpuResource, gpu_gib
from hybrid_assets.orchestration.jobs import backfill_selection, selected_keys
from hybrid_assets.orchestration.running import RunOutcome, run_in_process
from hybrid_assets.orchestration.staleness import beyond_this_gpu, judge, recipes_of
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.model_search import Trial
from hybrid_assets.reporting.cold_start_tables import cold_start_tables
from hybrid_assets.reporting.comparisons import hybrid_verdict
from hybrid_assets.reporting.leaderboard import measured
from hybrid_assets.reporting.lineage_tree import lineage_tree
from hybrid_assets.reporting.recommendations import recommendation_table
from hybrid_assets.reporting.status_table import WITH_VERSIONS, reasons, status_table
from hybrid_assets.reporting.terminal import (
    encoders_table,
    leaderboard_notes,
    leaderboard_records,
    leaderboard_table,
)

ABOUT = """Which movie recommender is really better, on your own ratings? Every step from the raw files to the
leaderboard is a Dagster asset; what has not changed is not computed again.

Begin with `hybrid-assets run`; look with `hybrid-assets leaderboard` and `hybrid-assets recommend`.

Variables: `HYBRID_CATALOG` (a copy of catalog.toml with settings of your own), `HYBRID_DATASET` (in place of the
catalog's), `HYBRID_STORAGE` (folder or URL of the tables), `HYBRID_RAW` (downloaded datasets), `HYBRID_CHECKPOINTS`
(trainings under way), `DAGSTER_HOME` (Dagster's records).
"""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=ABOUT,
)
# Without a terminal to fit, a table is not cut: another program reads it.
WIDE = 200
out = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDE)
err = Console(stderr=True, highlight=False)

DatasetOption = Annotated[
    str | None, typer.Option(help=f"One of {', '.join(DATASETS)}; default: what the catalog says.")
]


@app.command()
def run(dataset: DatasetOption = None) -> None:
    """Bring the whole graph up to date and print the leaderboard. What has not changed is not computed again.

    Examples:

    `hybrid-assets run`

    `hybrid-assets run --dataset ml-latest-small` (downloads MovieLens once)

    `HYBRID_CATALOG=mine.toml hybrid-assets run --dataset folder` (your own ratings)
    """
    catalog = _catalog(dataset)
    err.print(f"dataset [bold]{catalog.dataset}[/bold], {len(catalog.systems)} systems")
    outcome = run_in_process(build_definitions(catalog), dagster_home())
    _report(outcome)
    store = table_store(catalog)
    _show_leaderboard(store, queries.table(store, "leaderboard").collect())
    page = store.path(dg.AssetKey("report"), "") / "report.html"
    err.print(f"Report with plots: {escape(str(page))}", soft_wrap=True)
    err.print("Web UI: make ui, then open http://127.0.0.1:3000", soft_wrap=True)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, one an asset.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """Every asset: fresh, stale and why, missing, or blocked; nothing is computed or fetched.

    Stale means that a run would look at it: where an input turns out as it was, nothing is computed after all.

    Examples:

    `hybrid-assets status`

    `hybrid-assets status --json | jq '.[] | select(.state != "fresh")'`
    """
    catalog = _catalog(dataset)
    definitions = build_definitions(catalog)
    recipes = recipes_of(definitions.assets)
    blocked = beyond_this_gpu(recipes, gpu_gib(catalog.gpu.device))
    records = queries.status(recipes, table_store(catalog), selected_keys(definitions), blocked)
    if as_json:
        _print_json(records)
    else:
        out.print(status_table(records, with_versions=out.width >= WITH_VERSIONS))
        for reason in reasons(records):
            out.print(reason, markup=False, soft_wrap=True)


@app.command()
def backfill(
    names: Annotated[list[str], typer.Argument(help="Names under [encoders] and [models] of the catalog.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would run and why; run nothing.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Compute again even where nothing changed."),
    ] = False,
    dataset: DatasetOption = None,
) -> None:
    """Bring the branch of some encoders or models up to date: embeddings or factors, scores, metrics, leaderboard.

    What a branch needs from upstream is brought up to date too, and a model or encoder that learns from it belongs to
    it (vbpr reads the vectors of minilm); others are left alone.

    Examples:

    `hybrid-assets backfill minilm`

    `hybrid-assets backfill minilm --dry-run` (what would be looked at, and why)

    `hybrid-assets backfill minilm --force` (encode every document again)

    `hybrid-assets backfill lightgcn` (a model that `run` leaves out)
    """
    catalog = _catalog(dataset)
    for name in names:
        if name in catalog.systems and name not in (*catalog.encoders, *catalog.models):
            made_of = " ".join([*catalog.systems[name].model_names, *catalog.encoders_behind(catalog.systems[name])])
            raise queries.NotFound(f"{name} is a system; name encoders or models, it is made of: {made_of}")
        queries.known(name, [*catalog.encoders, *catalog.models], "encoder or model")
    selection = backfill_selection(catalog, names)
    definitions = build_definitions(catalog)
    if dry_run and force:
        raise typer.BadParameter("--dry-run tells what changed, --force does not ask; give one of them")
    selected = selected_keys(definitions, selection)
    recipes = recipes_of(definitions.assets)
    blocked = beyond_this_gpu(recipes, gpu_gib(catalog.gpu.device))
    held_back = sorted(selected & blocked.keys())
    verdicts = {}
    if dry_run or held_back:
        verdicts = judge(recipes, table_store(catalog), selected=selected, blocked=blocked)
    if dry_run:
        would_run = {key: verdict for key, verdict in verdicts.items() if key in selected and verdict.state != "fresh"}
        for key, verdict in would_run.items():
            out.print(
                f"{key.to_user_string()}: {verdict.state}: {'; '.join(verdict.why)}", markup=False, soft_wrap=True
            )
        held = sum(verdict.state == "blocked" for verdict in would_run.values())
        out.print(
            f"{len(would_run) - held} of {len(selected)} assets would be looked at"
            + (f", {held} are blocked: a run would fail" if held else "")
        )
        return
    for key in held_back:
        need = recipes[key].gpu
        if need and verdicts[key].state == "blocked":  # a run would say the same, and colour the leaderboard as failed
            GpuResource(device=catalog.gpu.device).claim(need)
    _report(run_in_process(definitions, dagster_home(), selection, force=names if force else ()))


@app.command()
def tune(
    model: Annotated[str, typer.Argument(help="A name under [models] of the catalog.")],
    trials: Annotated[int, typer.Option(min=1, help="How many in all; those of earlier calls count.")] = 30,
    timeout: Annotated[float | None, typer.Option(help="Start no trial after so many seconds.")] = None,
    dataset: DatasetOption = None,
) -> None:
    """Search a model's settings on the validation part of train (never the test part) and print the best as TOML.

    Seeded, and kept: the same call again goes on where the last one stopped. What is searched:
    recommender/models/search_spaces.py.

    Examples:

    `hybrid-assets tune ease`

    `hybrid-assets tune als --trials 60 --timeout 600 --dataset ml-latest-small`
    """
    catalog = _catalog(dataset)
    queries.known(model, list(catalog.models), "model")
    _report(run_in_process(build_definitions(catalog), dagster_home(), tables_needed(catalog, model)))

    def told(made: list[Trial]) -> None:
        trial, best = made[-1], max(it.quality or 0.0 for it in made)
        values = ", ".join(f"{name} {value}" for name, value in trial.settings.items())
        worth = f"failed: {trial.problem}" if trial.quality is None else f"{trial.quality:.4f} (best {best:.4f})"
        err.print(
            f"trial {len(made)} of {trials}: {worth}, {trial.seconds:.1f} s: {values}", markup=False, soft_wrap=True
        )

    try:
        found = tune_model(table_store(catalog), catalog, model, trials=trials, timeout=timeout, told=told)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if found.untried:
        own = f"cannot be tried: {', '.join(found.untried)} = 0 has no logarithm, by which it is searched"
    elif found.current is None:
        own = f"have not been tried: --trials {len(found.trials) + 1}"
    else:
        own = "failed" if found.current.quality is None else f"{found.current.quality:.4f}"
    err.print(
        f"NDCG@{catalog.evaluation.k} on validation: best {found.best.quality:.4f} (trial {found.best.number + 1}), "
        f"the catalog's {own}; plot: {escape(str(found.plot))}",
        soft_wrap=True,
    )
    out.print(found.snippet, markup=False)


@app.command()
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """Delete the tables of encoders, models and systems that the catalog does not name any more, and what killed runs
    left half written; lists them first.

    Examples:

    `hybrid-assets prune`

    `hybrid-assets prune --yes`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    of_catalog = recipes_of(build_definitions(catalog).assets)
    leftover, torn = [key for key in store.stored() if key not in of_catalog], store.left_over()
    for path in [*(store.path(key) for key in leftover), *torn]:
        out.print(path, markup=False, soft_wrap=True)
    if not leftover and not torn:
        out.print("nothing to delete: every table is of the catalog")
    elif yes or typer.confirm(
        f"Delete these {len(leftover)} tables with their files, and {len(torn)} half-written files?"
    ):
        for key in leftover:
            store.delete(key)
        for file in torn:
            file.unlink()
        after = "; hybrid-assets run takes them off the leaderboard and the report" if leftover else ""
        out.print(f"{len(leftover)} tables and {len(torn)} half-written files deleted{after}")


@app.command()
def leaderboard(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, one a system.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """Print the leaderboard of the last run.

    Examples:

    `hybrid-assets leaderboard`

    `hybrid-assets leaderboard --json | jq '.[0].system'`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    rows = queries.table(store, "leaderboard").collect()
    compared = not as_json and store.exists(dg.AssetKey("comparisons"))
    shown = [row["system"] for row in measured(rows)]
    # a row without figures says itself what is the matter
    others = [f"{what}/{name}" for name in catalog.systems if name not in shown for what in ("metrics", "user_metrics")]
    asked = [*(f"metrics/{name}" for name in shown), "leaderboard", *(["comparisons"] if compared else [])]
    _tell_if_stale(catalog, store, asked, others)
    if as_json:
        _print_json(leaderboard_records(rows))
        return
    _show_leaderboard(store, rows)


@app.command()
def recommend(
    user: Annotated[int | None, typer.Argument(help="User id, as in the ratings.")] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(
            help="Your own: a CSV or Parquet file of one person, movieId (or else title) and rating. In place of USER.",
        ),
    ] = None,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Type titles and stars. In place of USER.")
    ] = False,
    system: Annotated[str | None, typer.Option(help="A system; default: the first of the leaderboard.")] = None,
    k: Annotated[
        int, typer.Option("-k", min=1, help="How many movies; to a user at most evaluation.list_length.")
    ] = 10,
    why: Annotated[bool, typer.Option("--why", help="Which branch and which liked movies put each there.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """What a system recommends to a user, or to somebody who is not in the data.

    A user's list is the one that is judged: it is made without the test part of their ratings, so that what they rated
    there may be in it. A list for --ratings holds nothing of these.

    Without --system: the first of the leaderboard that can tell movies apart for them, for somebody new the first that
    can take them in as well. Ratings of somebody new count as given at the last moment of the data; a column of times
    is not read.

    Examples:

    `hybrid-assets recommend 42`

    `hybrid-assets recommend --ratings my.csv --why`

    `hybrid-assets recommend --interactive`

    `hybrid-assets recommend 42 --system mf_minilm -k 5 --why`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    if (user is not None) + (ratings is not None) + interactive != 1:
        raise typer.BadParameter("give exactly one of USER, --ratings FILE and --interactive")
    if user is not None:
        systems, name = [system] if system else queries.able_systems(store, catalog), f"user {user}"
        lists = partial(queries.recommendations, store, catalog, user, k=k, why=why)
        system, found = queries.first_that_tells(systems, lists, _say)
        _tell_if_stale(catalog, store, [f"scores/{system}"])
    else:
        systems = [system] if system else newcomer_queries.newcomer_systems(store, catalog)
        recipes = recipes_of(build_definitions(catalog).assets)
        load = cache(partial(newcomer_queries.load_system, store, catalog, recipes))
        load(systems[0])  # what is wrong with it is told before anybody types titles
        own = (
            newcomer_queries.ratings_of_file(store, catalog, ratings)
            if ratings is not None
            else newcomer_queries.ratings_by_asking(store, catalog, _ask, _say)
        )
        system, found = queries.first_that_tells(
            systems, lambda it: newcomer_queries.newcomer_recommendations(catalog, load(it), own, k, why), _say
        )
        count = "1 rating" if len(own) == 1 else f"{len(own)} ratings"
        name = f"{count} of {ratings.name if ratings else 'yours'}"
    out.print(recommendation_table(found, f"{name}, {system}", why))
    shorter = queries.why_shorter(catalog, system, len(found), k)
    if shorter:
        _say(shorter)


@app.command()
def similar(
    movie: Annotated[str, typer.Argument(help="Movie id or title.")],
    encoder: Annotated[str | None, typer.Option(help="An encoder; default: the catalog's first.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many movies.")] = 10,
    dataset: DatasetOption = None,
) -> None:
    """Movies whose texts an encoder finds most alike.

    Examples:

    `hybrid-assets similar "Heat"`

    `hybrid-assets similar 318 --encoder minilm -k 5`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    encoder = queries.known(encoder or next(iter(catalog.encoders)), list(catalog.encoders), "encoder")
    movie_id, title = queries.find_movie(store, movie)
    shown = Table(title=escape(f"{title} [{movie_id}], {encoder}"), title_justify="left")
    shown.add_column("movie")
    shown.add_column("cosine", justify="right")
    _tell_if_stale(catalog, store, [f"embeddings/{encoder}"])
    for other_id, other_title, cosine in queries.similar_movies(store, catalog, encoder, movie_id, k):
        shown.add_row(escape(f"{other_title} [{other_id}]"), f"{cosine:.3f}")
    out.print(shown)


@app.command()
def encoders(
    as_json: Annotated[bool, typer.Option("--json", help="An object: encoder -> its metrics.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """How good each encoder's space is, apart from any list, and what it was made from.

    pmAUC: how often a liked test movie is nearer to the user than an unrated one that is as popular; chance is 0.5.
    Cold NDCG: among the movies that no fine-tuned encoder learnt from.

    Examples:

    `hybrid-assets encoders`

    `hybrid-assets encoders --json | jq .minilm`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    figures = queries.encoder_figures(store, catalog)
    _tell_if_stale(catalog, store, [f"encoder_metrics/{name}" for name in figures])
    if as_json:
        _print_json(figures)
        return
    out.print(encoders_table(figures))


@app.command()
def coldstart(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, one a figure.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """How well systems do for new movies, and for new people with few ratings.

    New movies: who finds the movies that were held out of train whole. New people: users held out whole, folded in
    with some of their ratings and judged by the others. The catalog's [cold_start] names the systems.

    Examples:

    `hybrid-assets coldstart`

    `hybrid-assets coldstart --json | jq '.[] | select(.protocol == "movies")'`
    """
    catalog = _catalog(dataset)
    if not catalog.cold_start.systems:
        raise queries.NotFound("cold_start.systems names no system in the catalog, so cold start is not measured")
    store = table_store(catalog)
    rows = queries.table(store, "cold_start").collect()
    _tell_if_stale(catalog, store, ["cold_start"])
    if as_json:
        _print_json(rows.to_dicts())
        return
    for table in cold_start_tables(rows, rows["k"][0]):
        out.print(table)


@app.command()
def lineage(
    asset: Annotated[str, typer.Argument(help="Asset key, as leaderboard or scores/mf_only.")],
    as_json: Annotated[bool, typer.Option("--json", help="An object: asset -> versions, inputs, numbers.")] = False,
    dataset: DatasetOption = None,
) -> None:
    """What an asset was made from, back to the hashes of the raw files.

    Each line: the asset, its data version (a hash of its content) and its code version (code, settings, libraries).

    Examples:

    `hybrid-assets lineage metrics/mf_only`

    `hybrid-assets lineage leaderboard --json | jq '.raw_files'`
    """
    catalog = _catalog(dataset)
    store = table_store(catalog)
    if not store.exists(dg.AssetKey.from_user_string(asset)):
        names = [key.to_user_string() for key in recipes_of(build_definitions(catalog).assets)]
        queries.known(asset, names, "asset")
    stamps = {name: asdict(stamp) for name, stamp in queries.lineage(store, asset).items()}
    if as_json:
        for stamp in stamps.values():
            del stamp["notes"]  # pictures and curves
        _print_json(stamps)
        return
    files = queries.table(store, "raw_files").select("file", "sha256").collect().iter_rows()
    # hashes are to be copied: lines are as long as they are
    Console(highlight=False, width=400).print(lineage_tree(asset, stamps, files, f"dataset at {store.url}"))


@app.command()
def doctor(dataset: DatasetOption = None) -> None:
    """Check this machine: Python, packages, GPU, weights, your files, storage. Each problem comes with its fix."""
    catalog = _catalog(dataset)
    findings = examine(catalog)
    for finding in findings:
        mark = "[green]ok[/green]" if finding.ok else "[red]!![/red]"
        out.print(f"{mark}  {finding.subject:<22} {escape(finding.found)}", soft_wrap=True)
        if not finding.ok:
            out.print(f"    [yellow]{'to do:':<22} {escape(finding.fix)}[/yellow]", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Entry point: errors that name their fix become one line and an exit code."""
    try:
        app()
    except (CatalogError, queries.NotFound, BadInput) as error:
        err.print(f"[red]Error:[/red] {escape(str(error))}", soft_wrap=True)
        sys.exit(2)
    except (dg.Failure, pl.exceptions.PolarsError) as failure:
        if not isinstance(failure, dg.Failure):
            failure = _damaged_table(failure)
        err.print(f"[red]Error:[/red] {escape(failure.description or str(failure))}", soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        if error.errno not in TO_DO:
            raise
        err.print(f"[red]Error:[/red] {escape(with_remedy(error))}", soft_wrap=True)
        sys.exit(1)


def _damaged_table(error: pl.exceptions.PolarsError) -> dg.Failure:
    """Which table made the reader fail, in words; the error itself where all are whole and of this version."""
    catalog = load_catalog()
    try:
        table_store(catalog).verify_all()
    except dg.Failure as damaged:
        return damaged
    if isinstance(error, pl.exceptions.ColumnNotFoundError):
        return dg.Failure(
            f"a table here is of another version of this program ({error}); make it anew: hybrid-assets run --dataset "
            f"{catalog.dataset}"
        )
    raise error


def _catalog(dataset: str | None) -> Catalog:
    if dataset is not None:
        os.environ["HYBRID_DATASET"] = dataset  # what this process starts must load the same catalog
    return load_catalog()


def _tell_if_stale(catalog: Catalog, store: TableStore, assets: Sequence[str], as_they_lie: Sequence[str] = ()) -> None:
    """Say that something of what is about to be shown is of other settings or ratings (queries.stale_reason)."""
    reason = queries.stale_reason(store, recipes_of(build_definitions(catalog).assets), assets, as_they_lie)
    if reason:
        err.print(f"[yellow]stale[/yellow]: {escape(reason)}; hybrid-assets status tells more", soft_wrap=True)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _say(told: str) -> None:
    err.print(escape(told), soft_wrap=True)


def _ask(question: str) -> str:
    """An answer; nothing, too, where the input ends (Ctrl-D)."""
    err.print(f"{question}: ", end="", markup=False)
    try:
        return input().strip()
    except EOFError:
        err.print()
        return ""


def _show_leaderboard(store: TableStore, rows: pl.DataFrame) -> None:
    out.print(leaderboard_table(rows))
    for note in leaderboard_notes(rows):
        out.print(note, style="dim", markup=False, soft_wrap=True)
    if store.exists(dg.AssetKey("comparisons")):  # what is materialized by hand may leave them out
        verdict = hybrid_verdict(queries.table(store, "comparisons").collect(), rows["k"][0])
        if verdict is not None:
            out.print(verdict)


def _report(outcome: RunOutcome) -> None:
    done = f"{len(outcome.computed)} computed, {outcome.unchanged} unchanged, {outcome.seconds:.1f} s"
    if outcome.not_run:
        done += f", {outcome.not_run} not run, as they need what failed"
    if outcome.success:
        err.print(f"[green]done[/green]: {done}")
        return
    err.print(f"[red]failed[/red]: {done}; the last good version of every other asset stays")
    for asset, message in outcome.failures.items():
        err.print(f"[red]{asset}[/red]: {escape(message.removeprefix(f'{asset}: '))}", soft_wrap=True)
    raise typer.Exit(1)
