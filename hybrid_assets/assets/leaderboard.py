"""metrics/<system> -> leaderboard: one row for each system of the catalog, best first."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, SplitSettings
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.staleness import Recipe, outdated
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.intervals import METRICS
from hybrid_assets.recommender.validity import below_floor
from hybrid_assets.system_settings import PublishedRow

# What the paper's Table I was measured with; its split is the default one.
PUBLISHED_ON = ("ml-latest-small", 25, 4.0)
TEST_PART = {"kind", "test_share", "min_ratings", "seed"}
MATERIALIZED = "materialized"


def leaderboard_assets(
    catalog: Catalog, recipes: Mapping[dg.AssetKey, Recipe], *, gpu_gib: float
) -> list[dg.AssetsDefinition]:
    """The leaderboard.

    Args:
        catalog: settings.
        recipes: of metrics/<system> and of all that they are made from.
        gpu_gib: memory of the GPU of this machine, 0 without one; what needs more cannot be materialized here.
    """
    evaluation = catalog.evaluation
    split = catalog.split.in_words
    comparable = (catalog.dataset, evaluation.k, evaluation.relevance_threshold) == PUBLISHED_ON and (
        catalog.split.model_dump(include=TEST_PART) == SplitSettings().model_dump(include=TEST_PART)
    )
    published = {name: system.published if comparable else None for name, system in catalog.systems.items()}
    columns = {
        "system": "name in the catalog",
        "state": '"materialized", or why not',
        "dataset": "ratings used",
        "split": "how train and test were divided",
        "k": "cutoff",
        "users": "users with a relevant test movie",
    }
    for metric in METRICS:
        columns[metric] = f"{metric} over all evaluated users"
        columns[f"{metric}_low"] = "lower end of its interval"
        columns[f"{metric}_high"] = "upper end of its interval"
    for figure in PublishedRow.model_fields:
        columns[f"published_{figure}"] = "what the paper prints for this system"

    floor = catalog.floor
    gpu = {name: _gpu_needed(catalog, name, gpu_gib) for name in catalog.systems}

    def states(store: TableStore, fetch: bool = False) -> dict[str, str]:
        """Why a system has no row of figures, as it is now; part of what the leaderboard is made from."""
        keys = {name: dg.AssetKey(["metrics", name]) for name in catalog.systems}
        behind = outdated(recipes, store, keys.values())
        return {
            f"state of {name}": _state(behind.get(key), gpu[name], catalog.command_for(name))
            for name, key in keys.items()
        }

    @incremental_asset(
        key="leaderboard",
        group="leaderboard",
        version="2",
        observed=states,
        settings=[split, evaluation.k, {name: row and row.model_dump() for name, row in published.items()}],
        inputs={f"metrics_{name}": f"metrics/{name}" for name in catalog.systems},
        optional=[f"metrics_{name}" for name in catalog.systems],
        columns=columns,
        lineage={metric: [(f"metrics/{name}", "value") for name in catalog.systems] for metric in METRICS},
        checks=[
            Check(
                "above_most_popular",
                "Every system ranks better than recommending the most popular movies to everybody.",
                lambda made: below_floor(made.table, floor) if floor else "",
                blocking=False,
            )
        ],
    )
    def leaderboard(step: Step, **measured: pl.LazyFrame | None) -> Computed:
        """Every system with its metrics and their intervals, best NDCG first; the paper's figures beside ours."""
        rows = []
        state = states(step.store)
        for name in catalog.systems:
            table = measured[f"metrics_{name}"]
            row = dict.fromkeys(columns)
            told = state[f"state of {name}"]
            row |= {"system": name, "state": told, "dataset": catalog.dataset, "split": split, "k": evaluation.k}
            if table is not None and told == MATERIALIZED:
                for metric, value, low, high, users in table.collect().iter_rows():
                    row |= {metric: value, f"{metric}_low": low, f"{metric}_high": high, "users": users}
            paper = published[name]
            if paper is not None:
                row |= {f"published_{figure}": value for figure, value in paper.model_dump().items()}
            rows.append(row)
        texts = ("system", "state", "dataset", "split")
        schema = {
            column: pl.String if column in texts else pl.Int64 if column in ("k", "users") else pl.Float64
            for column in columns
        }
        board = pl.DataFrame(rows, schema=schema).sort("ndcg", descending=True, nulls_last=True, maintain_order=True)
        numbers = {
            f"ndcg_{name}": value for name, value in board.select("system", "ndcg").iter_rows() if value is not None
        }
        return Computed(board, numbers)

    return [leaderboard]


def user_metrics_of(catalog: Catalog) -> dict[str, str]:
    """The inputs of what looks at all systems: parameter name, with the prefix `users_` -> asset."""
    return {f"users_{name}": f"user_metrics/{name}" for name in catalog.systems}


def with_figures(
    leaderboard: pl.DataFrame, tables: Mapping[str, pl.LazyFrame | None], prefix: str
) -> dict[str, pl.LazyFrame]:
    """The tables, named by prefix and system, of the systems that the leaderboard gives figures, best first.

    Another one may have been measured on other users.
    """
    current = leaderboard.filter(pl.col("state") == MATERIALIZED)["system"]
    return {name: table for name in current if (table := tables[prefix + name]) is not None}


def _gpu_needed(catalog: Catalog, name: str, gpu_gib: float) -> str:
    behind = catalog.encoders_behind(catalog.systems[name])
    need = max((catalog.encoders[encoder].gpu_gib for encoder in behind), default=0.0)
    return f"needs a GPU with {need:g} GiB" if need > gpu_gib else ""


def _state(outdated_by: str | None, gpu: str, command: str) -> str:
    """Args: why its metrics are outdated, "" where they are not, None without any; the GPU it needs and is not here."""
    if outdated_by is None:
        return f"{gpu}: not materialized here" if gpu else f"not materialized: {command}"
    return f"stale, {outdated_by}: {gpu or command}" if outdated_by else MATERIALIZED
