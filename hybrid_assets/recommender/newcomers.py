"""Lists for people who are not in the ratings: their vectors folded in, the rest of a system as it is.

Belongs here: putting fold-ins, profiles and a system's branches together. Does not: a model's own fold-in
(fold_in.py), files and titles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import polars as pl

from hybrid_assets.recommender.fold_in import UserOf
from hybrid_assets.recommender.fusion import PROFILE_READING
from hybrid_assets.recommender.models.interactions import first_appearance
from hybrid_assets.recommender.profiles import Reading
from hybrid_assets.recommender.ranking import Ranking, rank
from hybrid_assets.recommender.stacking import LearnedFusion, learned_ranking
from hybrid_assets.recommender.stacking_context import Films
from hybrid_assets.recommender.stacking_features import Known, centred
from hybrid_assets.recommender.systems import Candidates, pairs_to_csr, system_branches
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align, positions

NOBODY = np.empty(0, dtype=np.int64)

# (branch -> the newcomers' vectors, their ratings, they and the candidates, length of the lists) -> their lists
Lists: TypeAlias = Callable[[Mapping[str, Vectors], pl.DataFrame, Candidates, int], Ranking]


@dataclass(frozen=True)
class NewcomerSystem:
    """A system that ranks for anybody who brings ratings.

    Attributes:
        item_ids: (items,) candidates.
        folds_in: model -> its fold-in.
        embeddings: encoder -> (m,) movies and their (m, d) unit vectors, that a profile is made of.
        reading: which ratings a profile is made of.
        threshold: a rating of at least this is liked.
        lists: what it does with the newcomers' vectors.
    """

    item_ids: Ids
    folds_in: Mapping[str, UserOf]
    embeddings: Mapping[str, tuple[Ids, Vectors]]
    reading: Reading
    threshold: float
    lists: Lists


def newcomer_system(
    models: Mapping[str, tuple[UserOf, TowerPair]],
    embeddings: Mapping[str, tuple[Ids, Vectors]],
    item_ids: Ids,
    *,
    fusion: str,
    weights: Sequence[float] | None,
    threshold: float,
) -> NewcomerSystem:
    """A system of weighted branches over the candidates `item_ids`, loaded once for any number of newcomers.

    Args:
        models: collaborative branches: fold-in and vectors.
        embeddings: content branches.
        item_ids: (items,) what may be recommended; each has a vector in every branch.
        fusion: "convex", "notebook" or "zscore".
        weights: of the branches, models first; None: all 1.
        threshold: a rating of at least this is liked.

    Raises:
        ValueError: the fusion is another one, or a candidate has no vector.
    """
    if fusion not in PROFILE_READING:
        raise ValueError(f"fusion {fusion!r} weighs no branches; these do: {', '.join(PROFILE_READING)}")
    nobody = Candidates(NOBODY, item_ids, (np.zeros(1, dtype=np.int64), NOBODY))
    towers = {name: pair for name, (_, pair) in models.items()}
    towers |= {name: TowerPair(NOBODY, vectors[:0], ids, vectors) for name, (ids, vectors) in embeddings.items()}
    branches = system_branches(towers, nobody, fusion, weights)

    def lists(vectors: Mapping[str, Vectors], ratings: pl.DataFrame, pool: Candidates, k: int) -> Ranking:
        return rank([replace(branch, user_vectors=vectors[branch.name]) for branch in branches], pool.seen, k)

    return NewcomerSystem(
        item_ids,
        {name: user_of for name, (user_of, _) in models.items()},
        dict(embeddings),
        PROFILE_READING[fusion],
        threshold,
        lists,
    )


def learned_newcomer_system(
    models: Mapping[str, tuple[UserOf, TowerPair]],
    embeddings: Mapping[str, tuple[Ids, Vectors]],
    films: Films,
    fusion: LearnedFusion,
    *,
    size: int,
    explained: int,
) -> NewcomerSystem:
    """A system of learned fusion over the films that somebody rated, loaded once for any number of newcomers.

    A newcomer is described as a user of the data is: by their own ratings, among the films as everybody rated them.

    Args:
        models: collaborative branches: fold-in and vectors.
        embeddings: content branches.
        films: what everybody's ratings tell of films.
        fusion: what was learned, over these branches.
        size: candidates of each newcomer; a list is no longer.
        explained: of how many, from the first on, the parts of the score are computed.

    Raises:
        ValueError: a film has no vector.
    """
    texts = {name: centred(*embedded, films.item_ids) for name, embedded in embeddings.items()}
    items = {
        name: align(pair.item_ids, pair.item_vectors, films.item_ids, "refuse") for name, (_, pair) in models.items()
    }

    def lists(vectors: Mapping[str, Vectors], ratings: pl.DataFrame, pool: Candidates, k: int) -> Ranking:
        models_of, contents = (
            {name: (vectors[name], of_items) for name, of_items in branches.items()} for branches in (items, texts)
        )
        known = Known(ratings, pool, films, models_of, contents)
        return learned_ranking(fusion, known, size, k, explained=explained)

    return NewcomerSystem(
        films.item_ids,
        {name: user_of for name, (user_of, _) in models.items()},
        {name: (films.item_ids, vectors) for name, vectors in texts.items()},
        "liked",
        films.threshold,
        lists,
    )


def reordered(system: NewcomerSystem, reorder: Callable[[Ranking], Ranking], length: int) -> NewcomerSystem:
    """A system whose lists of at least `length` are put into another order before they are cut."""

    def lists(vectors: Mapping[str, Vectors], ratings: pl.DataFrame, pool: Candidates, k: int) -> Ranking:
        whole = reorder(system.lists(vectors, ratings, pool, max(k, length)))
        own, parts = (
            {name: values[:, :k] for name, values in columns.items()}
            for columns in (whole.branch_scores, whole.branch_parts)
        )
        return Ranking(whole.items[:, :k], whole.scores[:, :k], own, parts)

    return replace(system, lists=lists)


def newcomer_ranking(
    system: NewcomerSystem, ratings: pl.DataFrame, k: int, *, seen: pl.DataFrame | None = None
) -> tuple[Ranking, Candidates]:
    """The k best unrated candidates of each newcomer, and who and what was ranked.

    Args:
        system: loaded.
        ratings: `user_id`, `movie_id`, `rating`, `timestamp` of the newcomers, each with at least one. Movies that a
            branch does not know are of no account to it.
        k: length of the lists.
        seen: `user_id`, `movie_id` that are not listed; None: what they rated.

    Raises:
        ValueError: a rating is not finite.
    """
    owners, movies, stars = (ratings[column].to_numpy() for column in ("user_id", "movie_id", "rating"))
    users = first_appearance(owners)
    own = [owners == user for user in users]
    vectors = {
        name: np.stack([user_of(movies[rows], stars[rows]) for rows in own])
        for name, user_of in system.folds_in.items()
    }
    for name, (ids, embedded) in system.embeddings.items():
        has_text = pl.Series(positions(ids, movies) >= 0)
        profiles = profiles_of(ratings.filter(has_text), system.reading, system.threshold, ids, embedded)
        vectors[name] = align(*profiles, users, missing="zero")
    rated = ratings if seen is None else seen
    rows = positions(users, rated["user_id"].to_numpy())
    places = positions(system.item_ids, rated["movie_id"].to_numpy())
    here = (rows >= 0) & (places >= 0)
    pool = Candidates(users, system.item_ids, pairs_to_csr(rows[here], places[here], len(users)))
    return system.lists(vectors, ratings, pool, k), pool
