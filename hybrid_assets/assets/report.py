"""leaderboard + lists -> report: an HTML page and plots for people."""

import hashlib
import importlib.metadata

import dagster as dg
import polars as pl

from hybrid_assets.assets.leaderboard import user_metrics_of, with_figures
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import replace_file
from hybrid_assets.reporting.illustration import illustrate
from hybrid_assets.reporting.markdown import markdown_image
from hybrid_assets.reporting.page import report_page
from hybrid_assets.reporting.pictures import draw_pictures

VERSIONS_SHOWN = ("cornac", "dagster", "polars", "sentence-transformers", "torch")


def report_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The report."""
    evaluation, reranked = catalog.evaluation, catalog.reranked()
    shared = {
        "leaderboard": "leaderboard",
        "comparisons": "comparisons",
        "strata": "strata",
        "train_ratings": "train_ratings",
        "test_ratings": "test_ratings",
        "movies": "movies",
    }
    if catalog.cold_start.systems:
        shared |= {"cold_start": "cold_start"}
    lists = {f"scores_{name}": f"scores/{name}" for name in catalog.systems}
    judged = user_metrics_of(catalog)

    @incremental_asset(
        key="report",
        group="report",
        version="3",
        settings=[evaluation.of_figures, catalog.split, reranked, catalog.floor],
        libraries=["jinja2", "matplotlib", *VERSIONS_SHOWN],
        inputs={**shared, **lists, **judged},
        optional=[*(shared.keys() & {"comparisons", "strata", "cold_start"}), *lists, *judged],
        names_files=True,
        kinds=frozenset({"html"}),
        columns={"file": "beside the table, in the folder report/", "bytes": "its size", "sha256": "its content"},
    )
    def report(
        step: Step,
        leaderboard: pl.LazyFrame,
        comparisons: pl.LazyFrame | None,
        strata: pl.LazyFrame | None,
        train_ratings: pl.LazyFrame,
        test_ratings: pl.LazyFrame,
        movies: pl.LazyFrame,
        cold_start: pl.LazyFrame | None = None,
        **tables: pl.LazyFrame | None,
    ) -> Computed:
        """A self-contained HTML page, report/report.html in the dataset's storage, and its plots.

        Leaderboard, the paper's figure 1, trade-offs, whether A is better than B, cold start, for whom and for which
        movies, three users' lists.
        """

        board = leaderboard.collect()
        judged_users, lists_shown = (
            {name: table.collect() for name, table in with_figures(board, tables, prefix).items()}
            for prefix in ("users_", "scores_")
        )
        cold = None if cold_start is None else cold_start.collect()
        pictures = draw_pictures(board, judged_users, reranked, cold, catalog.floor)
        page = report_page(
            board,
            comparisons=None if comparisons is None else comparisons.collect(),
            strata=None if strata is None else strata.collect(),
            cold_start=cold,
            pictures=pictures,
            reranked=reranked,
            floor=catalog.floor,
            illustrations=illustrate(
                train_ratings.collect(),
                test_ratings.collect(),
                movies.collect(),
                lists_shown,
                relevance_threshold=evaluation.relevance_threshold,
            ),
            relevance_threshold=evaluation.relevance_threshold,
            confidence=evaluation.confidence,
            provenance={
                "dataset": catalog.dataset,
                "split": catalog.split.in_words,
                "k": evaluation.k,
                "relevance threshold": evaluation.relevance_threshold,
                **{name: importlib.metadata.version(name) for name in VERSIONS_SHOWN},
            },
        )
        files = {"report.html": page.encode()} | {f"{name}.png": png for name, png in pictures.items()}
        folder = step.store.path(step.key, "")
        for name, content in files.items():
            replace_file(folder / name, content)
        notes = {name: markdown_image(name, png) for name, png in pictures.items()}
        rows = [
            {"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        ]
        step.say(f"written: {folder / 'report.html'}")
        return Computed(pl.DataFrame(rows), notes=notes)

    return [report]
