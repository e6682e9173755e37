"""train_ratings (+ embeddings/<encoder>) -> factors/<model>: one asset for each collaborative model of the catalog."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
import numpy.typing as npt
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.model_settings import BiasedMfSettings, ModelSettings, PmfSettings
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.fold_in import Fitted, UserOf, fold_in
from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.bert4rec import bert4rec
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.bpr import bpr
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.interactions import Progress
from hybrid_assets.recommender.models.lightgcn import lightgcn
from hybrid_assets.recommender.models.neighbours import item_knn, user_knn
from hybrid_assets.recommender.models.pmf import pmf
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.models.sasrec import sasrec
from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.models.vbpr import vbpr
from hybrid_assets.recommender.tables import FOLDS, Fold, factor_table, fold_of, ids_and_vectors
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors
from hybrid_assets.recommender.validity import degenerate_factors

# Algorithm -> its function and the libraries that compute it. A new model's line goes here.
ALGORITHMS: dict[str, tuple[Callable[..., TowerPair], tuple[str, ...]]] = {
    "most_popular": (most_popular, ()),
    "pmf": (pmf, ("cornac",)),
    "ease": (ease, ("scipy",)),
    "sequence_ease": (sequence_ease, ("scipy",)),
    "als": (implicit_als, ("implicit",)),
    "bpr": (bpr, ("cornac",)),
    "biased_mf": (biased_mf, ("cornac",)),
    "item_knn": (item_knn, ("numpy",)),
    "user_knn": (user_knn, ("numpy",)),
    "lightgcn": (lightgcn, ("torch",)),
    "vbpr": (vbpr, ("torch",)),
    "sasrec": (sasrec, ("cornac", "torch")),
    "bert4rec": (bert4rec, ("cornac", "torch")),
}

# Steps of a gradient descent, a rating each, that take longer than a process takes to start.
WORTH_A_PROCESS = 2_000_000


def factor_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """factors/<model> for every model."""
    threshold = catalog.evaluation.relevance_threshold
    return [
        _factor_asset(name, settings, catalog.encoder_of(name), threshold) for name, settings in catalog.models.items()
    ]


def fit_model(
    settings: ModelSettings,
    threshold: float,
    ratings: pl.DataFrame,
    embeddings: tuple[Ids, Vectors] | None = None,
    progress: Progress | None = None,
) -> TowerPair:
    """A model's tower pair.

    Args:
        settings: of the catalog.
        threshold: a rating of at least this is liked.
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`, in training order.
        embeddings: movie ids and vectors of the encoder that the model names; of no account for one that names none.
        progress: told how far it is, by the models that take minutes.

    Raises:
        ValueError: the model cannot be fitted on these ratings, or names an encoder and has no embeddings.
    """
    function, columns, more = _fit(settings, threshold, ratings, embeddings)
    if _takes(settings, "progress"):
        more["progress"] = progress
    return function(*columns, **more)


def fit_folds(
    settings: ModelSettings,
    threshold: float,
    train: pl.DataFrame,
    embeddings: tuple[Ids, Vectors] | None = None,
    progress: Callable[[Fold], Progress] | None = None,
) -> dict[Fold, TowerPair]:
    """`fit_model` of each fold of train. A long descent that keeps Python to itself has a process beside this one."""
    rows = {fold: fold_of(train, fold) for fold in FOLDS}
    steps = train.height * settings.epochs if isinstance(settings, PmfSettings | BiasedMfSettings) else 0
    if steps < WORTH_A_PROCESS:
        return {
            fold: fit_model(settings, threshold, ratings, embeddings, progress(fold) if progress else None)
            for fold, ratings in rows.items()
        }
    # the standard library's processes run the script again that started this one, and it would wait for its own lock
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as beside:
        function, columns, more = _fit(settings, threshold, rows["fit"], embeddings)
        fitted = beside.submit(function, *columns, **more)
        return {"train": fit_model(settings, threshold, rows["train"], embeddings), "fit": fitted.result()}


def _fit(
    settings: ModelSettings, threshold: float, ratings: pl.DataFrame, embeddings: tuple[Ids, Vectors] | None
) -> tuple[Callable[..., TowerPair], tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    """The model's function and what it is called with."""
    function, _ = ALGORITHMS[settings.algorithm]
    columns = (ratings["user_id"].to_numpy(), ratings["movie_id"].to_numpy(), ratings["rating"].to_numpy())
    given = {"threshold": threshold, "timestamps": ratings["timestamp"].to_numpy(), "embeddings": embeddings}
    more = {name: value for name, value in given.items() if _takes(settings, name)}
    if more.get("embeddings", ()) is None:
        raise ValueError(f"{settings.algorithm} learns from an encoder's embeddings and was given none")
    return function, columns, settings.function_settings | more


def fold_in_model(settings: ModelSettings, threshold: float, pair: TowerPair, ratings: pl.DataFrame) -> UserOf:
    """What gives a new user's vector in a model that `fit_model` fitted on these ratings.

    Raises:
        CannotFoldIn: the algorithm cannot take in a new user.
    """
    columns = (ratings["user_id"].to_numpy(), ratings["movie_id"].to_numpy(), ratings["rating"].to_numpy())
    return fold_in(settings.algorithm, Fitted(pair, *columns), threshold=threshold, **settings.function_settings)


def libraries_of(models: Iterable[ModelSettings]) -> set[str]:
    """The libraries that compute some models."""
    return {library for settings in models for library in ALGORITHMS[settings.algorithm][1]}


def of_account(settings: ModelSettings) -> dict[str, Any]:
    """What of a model's settings its result depends on: neither when it is refreshed nor whose vectors it reads."""
    return settings.model_dump(mode="json", exclude={"refresh", "encoder"})


def _takes(settings: ModelSettings, parameter: str) -> bool:
    return parameter in inspect.signature(ALGORITHMS[settings.algorithm][0]).parameters


def _factor_asset(name: str, settings: ModelSettings, encoder: str | None, threshold: float) -> dg.AssetsDefinition:
    inputs = {"train_ratings": "train_ratings"} | ({"embeddings": f"embeddings/{encoder}"} if encoder else {})
    result_settings: list[object] = [of_account(settings)]
    if _takes(settings, "threshold"):
        result_settings.append(threshold)
    used = sorted(libraries_of([settings]))

    @incremental_asset(
        key=f"factors/{name}",
        group="factors",
        version="2" if _takes(settings, "liked_only") else "1",
        settings=result_settings,
        libraries=used,
        inputs=inputs,
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
            "vector": [("train_ratings", "rating"), *([(f"embeddings/{encoder}", "vector")] if encoder else [])],
        },
        checks=[
            Check(
                "not_degenerate",
                "Vectors are finite, and not all movies have the same.",
                lambda made: degenerate_factors(made.table),
            )
        ],
    )
    def model_factors(step: Step, train_ratings: pl.LazyFrame, embeddings: pl.LazyFrame | None = None) -> Computed:
        train = train_ratings.collect()
        texts = None if embeddings is None else ids_and_vectors(embeddings.collect(), "movie_id")
        step.say(f"fitting {name} on {train.height:,} ratings, and on those without the validation part")
        towers = fit_folds(settings, threshold, train, texts, lambda fold: step.progress(f"steps of fold {fold}"))
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
