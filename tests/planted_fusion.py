"""Branches and candidates for a learned fusion to learn from, over planted ratings.

Belongs here: how a test calls the fusion's parts. Does not: what has to hold of them.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from planted_ratings import facts

from hybrid_assets.recommender.learned.examples import cross_folds, examples, with_contents
from hybrid_assets.recommender.learned.features import (
    Known,
    aligned,
    centred_content,
    content_features,
    feature_names,
    known_from,
    shortlists,
)
from hybrid_assets.recommender.learned.learned_ranking import LearnedFusion, learned_ranking
from hybrid_assets.recommender.learned.stacking import ranker_rows, train_ranker
from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.fold_in import Fitted, UserOf, fold_in
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.ranking import Ranking
from hybrid_assets.recommender.systems import candidates
from hybrid_assets.recommender.towers import TowerPair

SMALL = {
    "trees": 30,
    "learning_rate": 0.1,
    "leaves": 7,
    "smallest_leaf": 5,
    "feature_share": 1.0,
    "row_share": 1.0,
    "seed": 42,
}


def model(ratings: pl.DataFrame, seed: int = 0) -> TowerPair:
    columns = (ratings[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
    return ease(*columns, threshold=4.0, regularisation=5.0, liked_only=False, power=2.0)


def noise(ratings: pl.DataFrame) -> TowerPair:
    generator = np.random.default_rng(5)
    pool = candidates(ratings)
    sides = [(ids, generator.normal(size=(len(ids), 4)).astype(np.float32)) for ids in (pool.user_ids, pool.item_ids)]
    return TowerPair(*sides[0], *sides[1])


def known(ratings: pl.DataFrame) -> Known:
    return known_from(ratings, {"ease": model(ratings), "noise": noise(ratings)}, facts(ratings), 4.0)


def ranked(
    fusion: LearnedFusion,
    of: Known,
    *,
    size: int = 30,
    k: int = 10,
    explained: int = 10,
    contents: dict[str, TowerPair] | None = None,
    text_models: dict[str, TowerPair] | None = None,
) -> Ranking:
    """Everybody's lists."""
    by_texts = (aligned(them or {}, of.pool) for them in (contents, text_models))
    told = content_features(of.ratings, of.pool, next(by_texts), 4.0, next(by_texts))
    return learned_ranking(fusion, shortlists(of, size), of.pool, told, k, explained=explained)


def texts(ratings: pl.DataFrame) -> dict[str, TowerPair]:
    """Texts that say the movie's kind."""
    ids = ratings["movie_id"].unique().sort().to_numpy()
    return {"text": centred_content(ratings, ids, np.eye(3, dtype=np.float32)[ids % 3], 4.0)}


def trained(ratings: pl.DataFrame, *, with_texts: bool = False) -> list[str]:
    fold, parts = cross_folds(ratings, 3, seed=1), []
    for part in range(3):
        rest = ratings.filter(pl.Series(fold != part))
        taught = examples(known(rest), ratings.filter(pl.Series(fold == part)), 30)
        pool = candidates(rest)
        taught = with_contents(taught, rest, pool, aligned(texts(rest) if with_texts else {}, pool), 4.0)
        parts.append(taught.with_columns(fold=pl.lit(part)))
    names = feature_names(["ease", "noise"], ["text"] if with_texts else [])
    return [small_ranker(pl.concat(parts), names, seed=seed, row_share=0.8) for seed in (1, 2)]


def small_ranker(taught: pl.DataFrame, names: Sequence[str], **changed: float) -> str:
    """A ranker with the SMALL settings, but for those `changed`."""
    settings = SMALL | changed
    rows = ranker_rows(taught, names, smallest_leaf=settings["smallest_leaf"], seed=settings["seed"])
    return train_ranker(rows, **settings)


def drawn(users: int, each: int, seed: int = 0) -> pl.DataFrame:
    """Candidates of two branches, one hit a user: `a` knows what active users like, `b` what the others do."""
    generator = np.random.default_rng(seed)
    rows = users * each
    active = generator.random(users) < 0.5
    z = generator.normal(size=(2, users, each))
    best = np.where(active, z[0].argmax(axis=1), z[1].argmax(axis=1))
    # not always: a likelihood needs doubt to have a maximum
    best = np.where(generator.random(users) < 0.7, best, generator.integers(each, size=users))
    hits = np.zeros((users, each), dtype=np.int8)
    hits[np.arange(users), best] = 1
    return pl.DataFrame(
        {
            "fold": np.zeros(rows, dtype=np.uint8),
            "user_id": np.repeat(np.arange(users), each),
            "hit": hits.ravel(),
            "stands_for": np.ones(rows, dtype=np.float32),
            "a.z": z[0].ravel().astype(np.float32),
            "b.z": z[1].ravel().astype(np.float32),
            "context.user_ratings": np.repeat(np.where(active, 500, 20), each).astype(np.float32),
            "context.ratings": generator.integers(1, 300, rows).astype(np.float32),
            "context.age_at_last": np.where(generator.random(rows) < 0.1, np.nan, generator.random(rows) * 50).astype(
                "f4"
            ),
        }
    )


EASE = {"threshold": 4.0, "regularisation": 5.0, "liked_only": False, "power": 2.0}


TEXTS = {"text": (np.arange(60), np.eye(3, dtype=np.float32)[np.arange(60) % 3])}


def fitted(ratings: pl.DataFrame) -> dict[str, tuple[UserOf, TowerPair]]:
    columns = tuple(ratings[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
    pairs = {"ease": ease(*columns, **EASE), "popular": most_popular(*columns, threshold=4.0)}
    algorithms = {"ease": "ease", "popular": "most_popular"}
    return {name: (fold_in(algorithms[name], Fitted(pair, *columns), **EASE), pair) for name, pair in pairs.items()}
