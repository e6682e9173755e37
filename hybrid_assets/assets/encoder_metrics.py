"""profiles/<encoder> + test_ratings -> encoder_metrics/<encoder>: how good an encoder's space is, apart from lists."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.encoders.contrastive_pairs import cold_movies
from hybrid_assets.recommender.encoders.encoder_metrics import cold_ndcg, encoder_metric_table, popularity_matched_auc
from hybrid_assets.recommender.tables import encoder_towers


def encoder_metric_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """encoder_metrics/<encoder> for every encoder."""
    return [_encoder_metrics_asset(name, catalog) for name in catalog.encoders]


def _encoder_metrics_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    evaluation = catalog.evaluation

    @incremental_asset(
        key=f"encoder_metrics/{name}",
        group="metrics",
        version="3",
        settings=[*evaluation.of_figures, catalog.pairs.cold_share, catalog.pairs.seed],
        libraries=["numpy", "scipy", "torch"],
        inputs={
            "profiles": f"profiles/{name}",
            "embeddings": f"embeddings/{name}",
            "train_ratings": "train_ratings",
            "test_ratings": "test_ratings",
        },
        tags={"encoder": name},
        description=(
            f"The space of {name} apart from any list: popularity-matched AUC (0.5 is chance), and NDCG@{evaluation.k} "
            "among movies that were left out of all contrastive pairs."
        ),
        columns={
            "metric": "which",
            "value": "mean over users",
            "low": "lower end of its interval",
            "high": "upper end of its interval",
            "users": "users with something to judge by",
        },
        lineage={
            "value": [(f"embeddings/{name}", "vector"), (f"profiles/{name}", "vector"), ("test_ratings", "rating")]
        },
    )
    def encoder_metrics(
        step: Step,
        profiles: pl.LazyFrame,
        embeddings: pl.LazyFrame,
        train_ratings: pl.LazyFrame,
        test_ratings: pl.LazyFrame,
    ) -> Computed:
        towers = encoder_towers(profiles, embeddings, "train", "liked")
        train, test = train_ratings.collect(), test_ratings.collect()
        threshold = evaluation.relevance_threshold
        cold = cold_movies(towers.item_ids, catalog.pairs.cold_share, catalog.pairs.seed)
        table = encoder_metric_table(
            {
                "popularity_matched_auc": popularity_matched_auc(towers, train, test, threshold),
                "cold_ndcg": cold_ndcg(
                    towers.item_ids, towers.item_vectors, cold, train, test, threshold=threshold, k=evaluation.k
                ),
            },
            **evaluation.bootstrap,
        )
        figures = table.drop_nulls("value").select("metric", "value")
        return Computed(table, dict(figures.iter_rows()))

    return encoder_metrics
