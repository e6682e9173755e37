"""Lists for people who are not in the ratings: their vectors folded in, the rest of a system as it is.

Belongs here: putting fold-ins, profiles and a system's branches together. Does not: a model's own fold-in
(models/fold_in.py), learned fusions (learned/learned_newcomers.py), files and titles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import polars as pl

from hybrid_assets.recommender.fusion import PROFILE_READING
from hybrid_assets.recommender.models.fold_in import UserOf
from hybrid_assets.recommender.profiles import Reading
from hybrid_assets.recommender.ranking import Ranking, rank
from hybrid_assets.recommender.systems import Candidates, items_by_user, system_branches
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align, first_appearance, positions

NOBODY = np.empty(0, dtype=np.int64)


class NewcomerSystem(Protocol):
    """A system, loaded once, that ranks for anybody who brings ratings."""

    def __call__(
        self, ratings: pl.DataFrame, k: int, *, seen: pl.DataFrame | None = None
    ) -> tuple[Ranking, Candidates]:
        """The k best unrated candidates of each newcomer, and who and what was ranked.

        Args:
            ratings: `user_id`, `movie_id`, `rating`, `timestamp` of the newcomers, each with at least one. Movies that
                a branch does not know are of no account to it.
            k: length of the lists.
            seen: `user_id`, `movie_id` that are not listed; None: what they rated.

        Raises:
            ValueError: a rating is not finite.
        """
        ...


def at_the_end(ratings: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """A new person's ratings as given at the last moment of the ratings that the models know, whenever that was.

    Who comes gives a few ratings at once, now. Whoever stands for new people, to teach a ranker or to judge one, has
    times of years ago, which tell what was there to be rated then: what nobody could know of who comes.

    Args:
        ratings: theirs; a column `timestamp` is not read.
        known: `timestamp` of the ratings that the models were fitted on, at least one.
    """
    return ratings.with_columns(pl.lit(known["timestamp"].max(), pl.Int64).alias("timestamp"))


@dataclass(frozen=True)
class Arrivals:
    """What newcomers become vectors by.

    Attributes:
        item_ids: (items,) candidates.
        folds_in: model -> its fold-in.
        embeddings: encoder -> (m,) movies and their (m, d) unit vectors, that a profile is made of.
        reading: which ratings a profile is made of.
        threshold: a rating of at least this is liked.
    """

    item_ids: Ids
    folds_in: Mapping[str, UserOf]
    embeddings: Mapping[str, tuple[Ids, Vectors]]
    reading: Reading
    threshold: float


def arrive(
    arrivals: Arrivals, ratings: pl.DataFrame, seen: pl.DataFrame | None = None
) -> tuple[dict[str, Vectors], Candidates]:
    """Branch -> the newcomers' vectors, (newcomers, d); and they with the candidates.

    Args:
        arrivals: what they become vectors by.
        ratings: as NewcomerSystem takes them.
        seen: likewise.

    Raises:
        ValueError: a rating is not finite.
    """
    owners, movies, stars = (ratings[column].to_numpy() for column in ("user_id", "movie_id", "rating"))
    users = first_appearance(owners)
    row = positions(users, owners)
    own = np.split(np.argsort(row, kind="stable"), np.cumsum(np.bincount(row))[:-1])
    vectors = {
        name: np.stack([user_of(movies[rows], stars[rows]) for rows in own])
        for name, user_of in arrivals.folds_in.items()
    }
    for name, (ids, embedded) in arrivals.embeddings.items():
        has_text = pl.Series(positions(ids, movies) >= 0)
        profiles = profiles_of(ratings.filter(has_text), arrivals.reading, arrivals.threshold, ids, embedded)
        vectors[name] = align(*profiles, users, missing="zero")
    rated = ratings if seen is None else seen
    return vectors, Candidates(users, arrivals.item_ids, items_by_user(rated, users, arrivals.item_ids))


def newcomer_system(
    models: Mapping[str, tuple[UserOf, TowerPair]],
    embeddings: Mapping[str, tuple[Ids, Vectors]],
    item_ids: Ids,
    *,
    fusion: str,
    weights: Sequence[float] | None,
    threshold: float,
) -> NewcomerSystem:
    """A system of weighted branches over the candidates `item_ids`.

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
    folds_in = {name: user_of for name, (user_of, _) in models.items()}
    arrivals = Arrivals(item_ids, folds_in, embeddings, PROFILE_READING[fusion], threshold)

    def lists(ratings: pl.DataFrame, k: int, *, seen: pl.DataFrame | None = None) -> tuple[Ranking, Candidates]:
        vectors, pool = arrive(arrivals, ratings, seen)
        return rank([replace(branch, user_vectors=vectors[branch.name]) for branch in branches], pool.seen, k), pool

    return lists


def reordered(system: NewcomerSystem, reorder: Callable[[Ranking], Ranking], length: int) -> NewcomerSystem:
    """A system whose lists of at least `length` are put into another order before they are cut."""

    def lists(ratings: pl.DataFrame, k: int, *, seen: pl.DataFrame | None = None) -> tuple[Ranking, Candidates]:
        ranking, pool = system(ratings, max(k, length), seen=seen)
        whole = reorder(ranking)
        own, parts = (
            {name: values[:, :k] for name, values in columns.items()}
            for columns in (whole.branch_scores, whole.branch_parts)
        )
        return Ranking(whole.items[:, :k], whole.scores[:, :k], own, parts), pool

    return lists
