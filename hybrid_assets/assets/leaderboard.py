"""metrics/<system> -> leaderboard: one row for each system of the catalog, best first."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, SplitSettings
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.intervals import METRICS
from hybrid_assets.recommender.validity import below_floor
from hybrid_assets.system_settings import PublishedRow, SystemSettings

# The dataset on which the paper's Table I was measured; its split is the default one.
PUBLISHED_ON = "ml-latest-small"
PUBLISHED_K = 25
MATERIALIZED = "materialized"


# What all rows must have been made from to be compared.
SHARED = ("train_ratings", "test_ratings", "movie_documents")


def leaderboard_assets(catalog: Catalog, *, gpu_gib: float) -> list[dg.AssetsDefinition]:
    """The leaderboard.

    Args:
        catalog: settings.
        gpu_gib: memory of the GPU of this machine, 0 without one; what needs more cannot be materialized here.
    """
    evaluation = catalog.evaluation
    split = catalog.split.in_words
    comparable = (catalog.dataset, evaluation.k, split) == (PUBLISHED_ON, PUBLISHED_K, SplitSettings().in_words)
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

    floor = next((name for name, system in catalog.systems.items() if catalog.is_most_popular(system)), None)
    missing = {name: _why_missing(catalog, system, gpu_gib) for name, system in catalog.systems.items()}

    def states(store: TableStore) -> dict[str, str]:
        """Why a system has no row of figures, as it is now; part of what the leaderboard is made from."""
        return {f"state of {name}": _state(store, name, catalog, missing[name]) for name in catalog.systems}

    @incremental_asset(
        key="leaderboard",
        group="leaderboard",
        version="2",
        observed=states,
        settings=[split, evaluation.k, {name: row and row.model_dump() for name, row in published.items()}],
        inputs={name: f"metrics/{name}" for name in catalog.systems},
        optional=list(catalog.systems),
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
    def leaderboard(step: Step, **metrics: pl.LazyFrame | None) -> Computed:
        """Every system with its metrics and their intervals, best NDCG first; the paper's figures beside ours."""
        rows = []
        state = states(step.store)
        for name, table in metrics.items():
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


def _why_missing(catalog: Catalog, system: SystemSettings, gpu_gib: float) -> str:
    need = max((catalog.encoders[name].gpu_gib for name in catalog.encoders_behind(system)), default=0.0)
    if need > gpu_gib:
        return f"needs a GPU with {need:g} GiB: not materialized here"
    on_request = catalog.on_request(system)
    if on_request:
        return f"not materialized: hybrid-assets backfill {' '.join(on_request)}"
    return "not materialized: hybrid-assets run"


def _state(store: TableStore, name: str, catalog: Catalog, why_missing: str) -> str:
    made_from = store.lineage(dg.AssetKey(["metrics", name]))
    if not made_from:
        return why_missing
    for shared in SHARED:
        now = store.stamp(dg.AssetKey(shared))
        versions = {stamp.inputs[shared] for stamp in made_from.values() if shared in stamp.inputs}
        if now is not None and versions - {now.data_version}:
            system = catalog.systems[name]
            named = dict.fromkeys([*system.needed_encoders, *catalog.on_request(system)])
            command = " ".join(["backfill", *named]) if named else "run"
            return f"stale, made from other {shared}: hybrid-assets {command}"
    return MATERIALIZED
