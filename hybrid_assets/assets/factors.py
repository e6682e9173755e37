"""train_ratings -> factors/<model>: one asset for each collaborative model of the catalog."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, ModelSettings, MostPopularSettings
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender import factors
from hybrid_assets.recommender.tables import FOLDS, factor_table, fold_of
from hybrid_assets.recommender.towers import TowerPair


def factor_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """factors/<model> for every model."""
    threshold = catalog.evaluation.relevance_threshold
    return [_factor_asset(name, settings, threshold) for name, settings in catalog.models.items()]


def _factor_asset(name: str, settings: ModelSettings, threshold: float) -> dg.AssetsDefinition:
    popular = isinstance(settings, MostPopularSettings)

    @incremental_asset(
        key=f"factors/{name}",
        group="factors",
        version="1",
        settings=[settings, threshold] if popular else [settings],
        libraries=[] if popular else ["cornac"],
        inputs=["train_ratings"],
        kinds=frozenset() if popular else frozenset({"cornac"}),
        tags={"model": name},
        description=f"{type(settings).__doc__} A tower pair: user and item vectors whose dot product is the score.",
        columns={
            "fold": '"train": fitted on all of train; "fit": without its validation part',
            "side": '"user" or "item"',
            "id": "user or movie",
            "vector": "its factors",
        },
        lineage={
            "id": [("train_ratings", "user_id"), ("train_ratings", "movie_id")],
            "vector": [("train_ratings", "rating")],
        },
    )
    def model_factors(step: Step, train_ratings: pl.LazyFrame) -> Computed:
        train = train_ratings.collect()
        towers = {}
        for fold in FOLDS:
            rows = fold_of(train, fold)
            step.say(f"fitting {name} on {rows.height:,} ratings (fold {fold!r})")
            towers[fold] = _fit(settings, threshold, rows)
        pair = towers["train"]
        return Computed(
            factor_table(towers),
            {
                "users": len(pair.user_ids),
                "movies": len(pair.item_ids),
                "dimensions": pair.item_vectors.shape[1],
            },
        )

    return model_factors


def _fit(settings: ModelSettings, threshold: float, ratings: pl.DataFrame) -> TowerPair:
    """A new model's line goes here."""
    columns = (ratings["user_id"].to_numpy(), ratings["movie_id"].to_numpy(), ratings["rating"].to_numpy())
    if isinstance(settings, MostPopularSettings):
        return factors.most_popular(*columns, threshold=threshold)
    return factors.pmf(*columns, **settings.model_dump(exclude={"algorithm"}))
