"""leaderboard + user_metrics/<system> -> strata: the systems for users and movies with few or many ratings."""

import dagster as dg
import polars as pl

from hybrid_assets.assets.leaderboard import user_metrics_of, with_figures
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
    evaluation, judged = catalog.evaluation, user_metrics_of(catalog)

    @incremental_asset(
        key="strata",
        group="leaderboard",
        version="1",
        settings=[evaluation.bootstrap],
        libraries=["numpy", "scipy"],
        inputs={"leaderboard": "leaderboard", "train_ratings": "train_ratings", **judged},
        optional=[*judged],
        columns=COLUMNS,
        lineage={"value": [(f"user_metrics/{name}", "ndcg") for name in catalog.systems]},
    )
    def strata(
        step: Step, leaderboard: pl.LazyFrame, train_ratings: pl.LazyFrame, **users: pl.LazyFrame | None
    ) -> Computed:
        """For whom, and for which movies: NDCG@k by how much users rated, recall@k by how often movies are rated."""
        found = with_figures(leaderboard.collect(), users, "users_")
        tables = {name: table.collect() for name, table in found.items()}
        counts = train_ratings.group_by("movie_id", maintain_order=True).len().collect()["len"].to_numpy()
        rows = strata_table(tables, counts.astype("int64"), **evaluation.bootstrap)
        return Computed(rows, {"systems": len(tables)})

    return [strata]
