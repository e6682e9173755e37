"""train_ratings -> factors/<model>: one asset for each collaborative model of the catalog."""

import inspect
from collections.abc import Callable

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, ModelSettings
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.fold_in import Fitted, UserOf, fold_in
from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.bpr import bpr
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.neighbours import item_knn, user_knn
from hybrid_assets.recommender.models.pmf import pmf
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.tables import FOLDS, factor_table, fold_of
from hybrid_assets.recommender.towers import TowerPair
from hybrid_assets.recommender.validity import degenerate_factors

# Algorithm -> its function and the library that computes it. A new model's line goes here.
ALGORITHMS: dict[str, tuple[Callable[..., TowerPair], str | None]] = {
    "most_popular": (most_popular, None),
    "pmf": (pmf, "cornac"),
    "ease": (ease, "numpy"),
    "als": (implicit_als, "implicit"),
    "bpr": (bpr, "cornac"),
    "biased_mf": (biased_mf, "cornac"),
    "item_knn": (item_knn, "numpy"),
    "user_knn": (user_knn, "numpy"),
}


def factor_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """factors/<model> for every model."""
    threshold = catalog.evaluation.relevance_threshold
    return [_factor_asset(name, settings, threshold) for name, settings in catalog.models.items()]


def fit_model(settings: ModelSettings, threshold: float, ratings: pl.DataFrame) -> TowerPair:
    """A model's tower pair from ratings (`user_id`, `movie_id`, `rating`) in training order."""
    function, _ = ALGORITHMS[settings.algorithm]
    columns = (ratings["user_id"].to_numpy(), ratings["movie_id"].to_numpy(), ratings["rating"].to_numpy())
    more = {"threshold": threshold} if _takes_threshold(settings) else {}
    return function(*columns, **settings.model_dump(exclude={"algorithm"}), **more)


def fold_in_model(settings: ModelSettings, threshold: float, pair: TowerPair, ratings: pl.DataFrame) -> UserOf:
    """What gives a new user's vector in a model that `fit_model` fitted on these ratings.

    Raises:
        CannotFoldIn: the algorithm cannot take in a new user.
    """
    columns = (ratings["user_id"].to_numpy(), ratings["movie_id"].to_numpy(), ratings["rating"].to_numpy())
    own = settings.model_dump(exclude={"algorithm"})
    return fold_in(settings.algorithm, Fitted(pair, *columns), threshold=threshold, **own)


def _takes_threshold(settings: ModelSettings) -> bool:
    return "threshold" in inspect.signature(ALGORITHMS[settings.algorithm][0]).parameters


def _factor_asset(name: str, settings: ModelSettings, threshold: float) -> dg.AssetsDefinition:
    library = ALGORITHMS[settings.algorithm][1]
    used = [library] if library else []

    @incremental_asset(
        key=f"factors/{name}",
        group="factors",
        version="1",
        settings=[settings, threshold] if _takes_threshold(settings) else [settings],
        libraries=used,
        inputs=["train_ratings"],
        kinds=frozenset(used),
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
        checks=[
            Check(
                "not_degenerate",
                "Vectors are finite, and not all movies have the same.",
                lambda made: degenerate_factors(made.table),
            )
        ],
    )
    def model_factors(step: Step, train_ratings: pl.LazyFrame) -> Computed:
        train = train_ratings.collect()
        towers = {}
        for fold in FOLDS:
            rows = fold_of(train, fold)
            step.say(f"fitting {name} on {rows.height:,} ratings (fold {fold!r})")
            towers[fold] = fit_model(settings, threshold, rows)
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
