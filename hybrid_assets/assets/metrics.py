"""scores/<system> + test_ratings -> user_metrics/<system> -> metrics/<system>: how good the lists are."""

import dagster as dg
import numpy as np
import polars as pl

from hybrid_assets.assets.stackers import system_tags
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import content_hash
from hybrid_assets.recommender.facts import genre_shares
from hybrid_assets.recommender.intervals import summarise
from hybrid_assets.recommender.metrics import POPULARITY, user_metrics
from hybrid_assets.recommender.systems import candidates, items_of, lists_of, relevant_items
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.recommender.towers import align, positions
from hybrid_assets.recommender.validity import fallen, outside
from hybrid_assets.system_settings import SystemSettings

# counts, bits, nats, and 1 - cosine
UNBOUNDED = ("hits", "novelty", "diversity", "miscalibration")
USER_COLUMNS = {
    "user_id": "a user with a relevant test movie",
    "train_ratings": "ratings of the user in train",
    "relevant": "relevant test movies that can be recommended",
    "hits": "relevant movies among the first k",
    "precision": "hits / k",
    "recall": "hits / relevant",
    "ndcg": "standard NDCG@k",
    "ndcg_list": "the paper's own: ideal = the same entries, hits first",
    "reciprocal_rank": "1 / rank of the first hit",
    "average_precision": "AP@k, over min(k, relevant)",
    "hit": "1 with at least one hit",
    "novelty": "mean self-information of the list, bits",
    "diversity": "mean 1 - cosine of the pairs of the list",
    "popularity_bias": "share of the list among the most rated tenth",
    "miscalibration": "divergence of the list's genres from those the user rated, nats",
    **{f"relevant_{name}": f"relevant movies of the {name} (thirds of the train ratings)" for name in POPULARITY},
    **{f"hits_{name}": f"hits of the {name}" for name in POPULARITY},
}


def metric_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """user_metrics/<system> and metrics/<system> for every system."""
    return [
        asset
        for name, system in catalog.systems.items()
        for asset in (_user_metrics_asset(name, system, catalog), _metrics_asset(name, system, catalog))
    ]


def _user_metrics_asset(name: str, system: SystemSettings, catalog: Catalog) -> dg.AssetsDefinition:
    evaluation = catalog.evaluation
    space = f"embeddings/{evaluation.diversity_encoder}"

    @incremental_asset(
        key=f"user_metrics/{name}",
        group="metrics",
        version="2",
        settings=[evaluation.k, evaluation.relevance_threshold],
        libraries=["numpy", "scipy"],
        inputs={
            "scores": f"scores/{name}",
            "train_ratings": "train_ratings",
            "test_ratings": "test_ratings",
            "movies": "movies",
            "embeddings": space,
        },
        parts={"movies": lambda movies: content_hash(movies.select("movie_id", "genres").collect())},
        tags=system_tags(name, system),
        description=f"How good the first {evaluation.k} movies of {name} are for each user with a relevant test movie.",
        columns=USER_COLUMNS,
        lineage={
            "user_id": [("test_ratings", "user_id")],
            "train_ratings": [("train_ratings", "user_id")],
            "relevant": [("test_ratings", "rating")],
            "hits": [(f"scores/{name}", "movie_id"), ("test_ratings", "movie_id")],
            "diversity": [(f"scores/{name}", "movie_id"), (space, "vector")],
            "miscalibration": [(f"scores/{name}", "movie_id"), ("movies", "genres")],
        },
    )
    def per_user(
        step: Step,
        scores: pl.LazyFrame,
        train_ratings: pl.LazyFrame,
        test_ratings: pl.LazyFrame,
        movies: pl.LazyFrame,
        embeddings: pl.LazyFrame,
    ) -> Computed:
        pool = candidates(train_ratings.collect())
        users, relevant = relevant_items(test_ratings.collect(), pool, evaluation.relevance_threshold)
        rated = items_of(pool.seen, users)
        table = user_metrics(
            lists_of(scores.collect(), pool, evaluation.k)[users],
            relevant,
            user_ids=pool.user_ids[users],
            train_ratings=np.diff(rated[0]),
            item_counts=pool.item_counts,
            train_users=len(pool.user_ids),
            item_vectors=align(*ids_and_vectors(embeddings.collect(), "movie_id"), pool.item_ids, missing="refuse"),
            rated=rated,
            genres=genre_shares(movies.collect(), pool.item_ids),
        )
        return Computed(table, {"users": table.height, "hits": int(table["hits"].sum())})

    return per_user


def _metrics_asset(name: str, system: SystemSettings, catalog: Catalog) -> dg.AssetsDefinition:
    evaluation = catalog.evaluation

    @incremental_asset(
        key=f"metrics/{name}",
        group="metrics",
        version="2",
        settings=evaluation.of_figures,
        libraries=["numpy", "scipy"],
        inputs={
            "user_metrics": f"user_metrics/{name}",
            "scores": f"scores/{name}",
            "train_ratings": "train_ratings",
        },
        tags=system_tags(name, system),
        description=(
            f"Metrics of {name} over all evaluated users, each with its {evaluation.confidence:.0%} bootstrap interval."
        ),
        columns={
            "metric": "which",
            "value": "over all evaluated users",
            "low": "lower end of the interval",
            "high": "upper end of the interval",
            "users": "evaluated users",
        },
        lineage={"value": [(f"user_metrics/{name}", column) for column in USER_COLUMNS]},
        checks=[
            Check(
                "in_unit_interval",
                "Every metric but counts, bits, nats and distances is in [0, 1].",
                lambda made: outside(made.table.filter(~pl.col("metric").is_in(UNBOUNDED)), "value", 0.0, 1.0),
            ),
            Check(
                "not_fallen",
                f"No metric of accuracy lost more than {catalog.checks.alarm_drop:.0%} since the last materialization.",
                lambda made: fallen(made.table, made.previous, catalog.checks.alarm_drop),
                blocking=False,
            ),
        ],
    )
    def overall(step: Step, user_metrics: pl.LazyFrame, scores: pl.LazyFrame, train_ratings: pl.LazyFrame) -> Computed:
        per_user = user_metrics.collect()
        pool = candidates(train_ratings.collect())
        users = positions(pool.user_ids, per_user["user_id"].to_numpy())
        table = summarise(
            per_user,
            lists_of(scores.collect(), pool, evaluation.k)[users],
            len(pool.item_ids),
            **evaluation.bootstrap,
        )
        return Computed(table, dict(table.select("metric", "value").iter_rows()))

    return overall
