"""The collaborative models by the name of their algorithm: fitting any of them, and folding somebody new into it.

Belongs here: a new model's line, and what all models are called with. Does not: a model itself (its own file here), its
fold-in (fold_in.py), its settings' ranges (model_settings.py).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.bert4rec import bert4rec
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.bpr import bpr
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.fold_in import Fitted, UserOf, fold_in
from hybrid_assets.recommender.models.interactions import Progress
from hybrid_assets.recommender.models.lightgcn import lightgcn
from hybrid_assets.recommender.models.neighbours import item_knn, user_knn
from hybrid_assets.recommender.models.pmf import pmf
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.models.sasrec import sasrec
from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.models.text_ease import text_ease
from hybrid_assets.recommender.models.vbpr import vbpr
from hybrid_assets.recommender.tables import FOLDS, Fold, fold_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors


@dataclass(frozen=True)
class Algorithm:
    """How a collaborative model is computed.

    Attributes:
        function: ratings and settings -> its tower pair.
        libraries: distributions that the result depends on.
        version: raise it when the result changes for the same input; everything made with the model is stale then.
    """

    function: Callable[..., TowerPair]
    libraries: tuple[str, ...] = ()
    version: int = 1


# A new model's line goes here.
ALGORITHMS: dict[str, Algorithm] = {
    "most_popular": Algorithm(most_popular),
    "pmf": Algorithm(pmf, ("cornac",)),
    "ease": Algorithm(ease, ("scipy",), version=2),
    "sequence_ease": Algorithm(sequence_ease, ("scipy",), version=3),
    "text_ease": Algorithm(text_ease, ("scipy",), version=2),
    "als": Algorithm(implicit_als, ("implicit",), version=2),
    "bpr": Algorithm(bpr, ("cornac",)),
    "biased_mf": Algorithm(biased_mf, ("cornac",)),
    "item_knn": Algorithm(item_knn, ("numpy",), version=2),
    "user_knn": Algorithm(user_knn, ("numpy",), version=2),
    "lightgcn": Algorithm(lightgcn, ("torch",), version=2),
    "vbpr": Algorithm(vbpr, ("torch",), version=2),
    "sasrec": Algorithm(sasrec, ("cornac", "torch"), version=2),
    "bert4rec": Algorithm(bert4rec, ("cornac", "torch"), version=2),
}

# Those that descend one rating at a time in Python's own thread.
ONE_RATING_A_STEP = ("pmf", "biased_mf")
# Steps of such a descent that take longer than a process takes to start.
WORTH_A_PROCESS = 2_000_000


@dataclass(frozen=True)
class ModelSpec:
    """What a model is fitted with.

    Attributes:
        algorithm: a name in ALGORITHMS.
        settings: the other arguments of its function.
        threshold: a rating of at least this is liked; of no account to an algorithm that does not ask.
    """

    algorithm: str
    settings: Mapping[str, Any]
    threshold: float


def fit_model(
    model: ModelSpec,
    ratings: pl.DataFrame,
    embeddings: tuple[Ids, Vectors] | None = None,
    progress: Progress | None = None,
    facts: pl.DataFrame | None = None,
) -> TowerPair:
    """A model's tower pair.

    Args:
        model: what is fitted.
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`, in training order.
        embeddings: movie ids and vectors, for an algorithm that learns from texts; of no account to the others.
        progress: told how far it is, by the models that take minutes.
        facts: `film_facts` of all films, for an algorithm that reads years and genres; of no account to the others.

    Raises:
        ValueError: the model cannot be fitted on these ratings, or learns from texts or facts and has none.
    """
    function, columns, settings = _call(model, ratings, embeddings, facts)
    if takes(model.algorithm, "progress"):
        settings["progress"] = progress
    return function(*columns, **settings)


def fit_folds(
    model: ModelSpec,
    train: pl.DataFrame,
    embeddings: tuple[Ids, Vectors] | None = None,
    progress: Callable[[Fold], Progress] | None = None,
    facts: pl.DataFrame | None = None,
) -> dict[Fold, TowerPair]:
    """`fit_model` of each fold of train. A long descent that keeps Python to itself has a process beside this one."""
    rows = {fold: fold_of(train, fold) for fold in FOLDS}
    steps = train.height * model.settings["epochs"] if model.algorithm in ONE_RATING_A_STEP else 0
    if steps < WORTH_A_PROCESS:
        return {
            fold: fit_model(model, ratings, embeddings, progress(fold) if progress else None, facts)
            for fold, ratings in rows.items()
        }
    # the standard library's processes run the script again that started this one, and it would wait for its own lock
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as beside:
        function, columns, settings = _call(model, rows["fit"], embeddings, facts)
        fitted = beside.submit(function, *columns, **settings)
        return {"train": fit_model(model, rows["train"], embeddings, facts=facts), "fit": fitted.result()}


def fold_in_models(
    models: Mapping[str, ModelSpec], fitted: Mapping[str, TowerPair], ratings: pl.DataFrame
) -> dict[str, tuple[UserOf, TowerPair]]:
    """What gives a new user's vector in each model that `fit_model` fitted on these ratings, beside its own vectors.

    Raises:
        CannotFoldIn: an algorithm cannot take in a new user.
    """
    columns = _columns(ratings)

    def user_of(model: ModelSpec, pair: TowerPair) -> UserOf:
        return fold_in(model.algorithm, Fitted(pair, *columns), threshold=model.threshold, **model.settings)

    return {name: (user_of(models[name], pair), pair) for name, pair in fitted.items()}


def libraries_of(algorithms: Iterable[str]) -> set[str]:
    """The libraries that compute some algorithms."""
    return {library for algorithm in algorithms for library in ALGORITHMS[algorithm].libraries}


def takes(algorithm: str, parameter: str) -> bool:
    """Whether an algorithm's function has a parameter of this name."""
    return parameter in inspect.signature(ALGORITHMS[algorithm].function).parameters


def _call(
    model: ModelSpec, ratings: pl.DataFrame, embeddings: tuple[Ids, Vectors] | None, facts: pl.DataFrame | None
) -> tuple[Callable[..., TowerPair], tuple[npt.NDArray[Any], ...], dict[str, Any]]:
    """The model's function and what it is called with."""
    given = {
        "threshold": model.threshold,
        "timestamps": ratings["timestamp"].to_numpy(),
        "embeddings": embeddings,
        "facts": facts,
    }
    more = {name: value for name, value in given.items() if takes(model.algorithm, name)}
    if more.get("embeddings", ()) is None:
        raise ValueError(f"{model.algorithm} learns from an encoder's embeddings and was given none")
    if more.get("facts", ()) is None:
        raise ValueError(f"{model.algorithm} reads the films' years and genres and was given none")
    return ALGORITHMS[model.algorithm].function, _columns(ratings), {**model.settings, **more}


def _columns(ratings: pl.DataFrame) -> tuple[npt.NDArray[Any], ...]:
    return tuple(ratings[column].to_numpy() for column in ("user_id", "movie_id", "rating"))
