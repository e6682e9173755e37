"""leaderboard + user_metrics/<system> -> strata: the systems for users and movies with few or many ratings."""

import dagster as dg
import polars as pl

from hybrid_assets.assets.leaderboard import MATERIALIZED
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.strata import strata_table

COLUMNS = {
    "system": "name in the catalog",
    "by": '"user activity" (terciles of the evaluated users) or "movie popularity" (thirds of the train ratings)',
    "stratum": "few, middle, many; head, middle, tail",
    "members": "evaluated users, or movies of train, in it",
    "fewest": "train ratings of the member that has fewest",
    "most": "of the one that has most",
    "metric": '"ndcg" by activity, "recall" by popularity',
    "value": "its mean over users",
    "low": "lower end of its bootstrap interval over users",
    "high": "upper end of its interval",
    "users": "users it is the mean of",
}


def strata_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The strata."""
    evaluation = catalog.evaluation

    @incremental_asset(
        key="strata",
        group="leaderboard",
        version="1",
        settings=[evaluation.bootstrap_resamples, evaluation.confidence, evaluation.seed],
        libraries=["numpy", "scipy"],
        inputs={"leaderboard": "leaderboard", "train_ratings": "train_ratings"}
        | {f"users_{name}": f"user_metrics/{name}" for name in catalog.systems},
        optional=[f"users_{name}" for name in catalog.systems],
        columns=COLUMNS,
        lineage={"value": [(f"user_metrics/{name}", "ndcg") for name in catalog.systems]},
    )
    def strata(
        step: Step, leaderboard: pl.LazyFrame, train_ratings: pl.LazyFrame, **judged: pl.LazyFrame | None
    ) -> Computed:
        """For whom, and for which movies: NDCG@k by how much users rated, recall@k by how often movies are rated."""
        current = leaderboard.filter(pl.col("state") == MATERIALIZED).collect()["system"]
        tables = {name: table.collect() for name in current if (table := judged[f"users_{name}"]) is not None}
        for name in [name for name, table in tables.items() if "relevant_head" not in table.columns]:
            step.say(f"{name} is left out: its user_metrics were made by an earlier version; backfill it")
            del tables[name]
        counts = train_ratings.group_by("movie_id", maintain_order=True).len().collect()["len"].to_numpy()
        found = strata_table(
            tables,
            counts.astype("int64"),
            seed=evaluation.seed,
            resamples=evaluation.bootstrap_resamples,
            confidence=evaluation.confidence,
        )
        return Computed(found, {"systems": len(tables)})

    return [strata]
