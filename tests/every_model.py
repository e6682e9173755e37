"""Every model at settings small enough to be fitted in a moment, one line each.

Belongs here: how a test calls a model. Does not: what is planted for it (planted_ratings.py), what has to hold of it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.bert4rec import bert4rec
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.bpr import bpr
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.lightgcn import lightgcn
from hybrid_assets.recommender.models.neighbours import item_knn, user_knn
from hybrid_assets.recommender.models.pmf import pmf
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.models.sasrec import sasrec
from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.models.text_ease import text_ease
from hybrid_assets.recommender.models.vbpr import vbpr
from hybrid_assets.recommender.towers import TowerPair


def with_texts(
    model: Callable[..., TowerPair], users: np.ndarray, items: np.ndarray, ratings: np.ndarray, **settings: object
) -> TowerPair:
    """A model over texts that are random, so that tastes have to come from the ratings."""
    movies = np.unique(items)
    texts = np.random.default_rng(3).normal(size=(len(movies), 6))
    unit = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    return model(users, items, ratings, embeddings=(movies, unit), **settings)


def with_facts(
    model: Callable[..., TowerPair], users: np.ndarray, items: np.ndarray, *rest: object, **settings: object
) -> TowerPair:
    """A model over years and genres that are random."""
    movies, draws = np.unique(items), np.random.default_rng(5)
    years, genres = draws.integers(1930, 2020, len(movies)), draws.choice(["Drama", "Comedy|Drama", ""], len(movies))
    facts = pl.DataFrame({"movie_id": movies, "year": years.astype(float), "genres": genres})
    return model(users, items, *rest, facts=facts, **settings)


def shuffled_in_time(
    model: Callable[..., TowerPair], users: np.ndarray, items: np.ndarray, ratings: np.ndarray, **settings: object
) -> TowerPair:
    """A model of sequences over an order that tells nothing, so that tastes have to come from who rated what."""
    return model(users, items, ratings, timestamps=np.random.default_rng(4).permutation(len(users)), **settings)


descent = {"factors": 8, "epochs": 300, "learning_rate": 0.02, "regularisation": 0.02, "seed": 42}


graded = {"threshold": 4.0, "liked_only": False, "power": 2.0}


pairwise = {"threshold": 4.0, "liked_only": True, "epochs": 40, "batch_size": 64, "learning_rate": 0.05}


pairwise |= {"regularisation": 1.0, "seed": 42}


sequential = {"factors": 16, "blocks": 1, "heads": 1, "longest": 12, "places": 3, "dropout": 0.5, "negatives": 60}


sequential |= {"learning_rate": 0.005, "seed": 42}


MODELS: dict[str, partial[TowerPair]] = {
    "most_popular": partial(most_popular, threshold=4.0),
    "pmf": partial(pmf, **descent),
    "biased_mf": partial(biased_mf, **descent),
    "bpr": partial(bpr, **descent),
    "als": partial(implicit_als, factors=2, epochs=10, regularisation=1.0, confidence=10.0, seed=42, **graded),
    "ease": partial(ease, regularisation=50.0, **graded),
    "sequence_ease": partial(
        shuffled_in_time,
        sequence_ease,
        regularisation=50.0,
        decay=10.0,
        most_movies=20,
        arrival_weight=0.05,
        arrival_width=3.0,
        **graded,
    ),
    "item_knn": partial(item_knn, neighbours=5, **graded),
    "user_knn": partial(user_knn, neighbours=10, **graded),
    "lightgcn": partial(lightgcn, factors=8, layers=2, **pairwise),
    "text_ease": partial(
        shuffled_in_time,
        partial(with_texts, partial(with_facts, text_ease)),
        regularisation=50.0,
        decay=10.0,
        most_movies=20,
        text_weight=0.5,
        text_width=0.5,
        genre_weight=0.05,
        year_weight=0.05,
        year_width=15.0,
        arrival_weight=0.05,
        arrival_width=3.0,
        **graded,
    ),
    "vbpr": partial(with_texts, vbpr, factors=4, text_factors=2, **pairwise),
    "sasrec": partial(shuffled_in_time, sasrec, epochs=10, batch_size=64, **sequential),
    "bert4rec": partial(shuffled_in_time, bert4rec, masked=0.3, epochs=60, batch_size=16, **sequential),
}


# what holds of a model holds of one that has hardly been trained, but that it finds tastes
QUICK = {name: partial(model, epochs=2) if "epochs" in model.keywords else model for name, model in MODELS.items()}
