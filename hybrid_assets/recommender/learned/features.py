"""What a learned fusion knows of a candidate: the branches' scores, and of user and film.

Belongs here: candidates and their features, from ratings and branches fitted on these and no others. Does not: the
branches themselves (models/, profiles.py), numbers on film and user (context.py), learning (stacking.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.cores import Made, side_by_side
from hybrid_assets.recommender.learned.context import (
    CONTEXT_FEATURES,
    GENRE_LIFT,
    Feature,
    Films,
    context_features,
    films_of,
)
from hybrid_assets.recommender.profiles import centred
from hybrid_assets.recommender.systems import Candidates, candidates, items_by_user
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Csr, Ids, Index, TowerPair, Vectors, align, scored_alone

# Users whose scores of all items are held at a time.
BLOCK_USERS = 64
# How many liked movies the nearness to "what the user liked most like this" is averaged over.
CLOSEST = 3


# A branch's user vectors and item vectors, (users, d) and (items, d), in the order of a pool.
Aligned: TypeAlias = tuple[Vectors, Vectors]


@dataclass(frozen=True)
class Known:
    """What is known when lists are made.

    Attributes:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp` of those who get a list.
        pool: they, and the films that somebody rated, in the order of `films`.
        films: what everybody's ratings tell of these.
        models: those that choose the candidates, at least one, by name: fitted on everybody's ratings and no others.
    """

    ratings: pl.DataFrame
    pool: Candidates
    films: Films
    models: Mapping[str, Aligned]


def known_from(ratings: pl.DataFrame, models: Mapping[str, TowerPair], facts: pl.DataFrame, threshold: float) -> Known:
    """What is known when everybody gets a list.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`.
        models: those that choose the candidates, by name, fitted on these ratings and no others.
        facts: `film_facts` of all films.
        threshold: a rating of at least this is liked.
    """
    pool = candidates(ratings)
    return Known(ratings, pool, films_of(ratings, facts, threshold), aligned(models, pool))


def aligned(pairs: Mapping[str, TowerPair], pool: Candidates) -> dict[str, Aligned]:
    """Branches in the order of a pool; a user without a vector has zeros.

    Raises:
        ValueError: a film has no vector.
    """
    return {
        name: (
            align(pair.user_ids, pair.user_vectors, pool.user_ids, missing="zero"),
            align(pair.item_ids, pair.item_vectors, pool.item_ids, missing="refuse"),
        )
        for name, pair in pairs.items()
    }


@dataclass(frozen=True)
class Block:
    """The candidates of a block of users, one row each, users ascending and a user's best by z-sum first.

    Attributes:
        users: (rows,) user index.
        items: (rows,) item index.
        features: feature -> (rows,), those of the models and of the context.
    """

    users: Index
    items: Index
    features: dict[str, Feature]


def centred_content(ratings: pl.DataFrame, item_ids: Ids, embeddings: Vectors, threshold: float) -> TowerPair:
    """Cosine of a film to the mean of what the user liked, of the films in `ratings` and in their `centred` vectors."""
    rated = ratings["movie_id"].unique(maintain_order=True).to_numpy()
    vectors = centred(item_ids, embeddings, rated)
    return TowerPair(*profiles_of(ratings, "liked", threshold, rated, vectors), rated, vectors)


def candidate_features(models: Sequence[str]) -> list[str]:
    """Names of what models and context tell of a candidate, `<branch or context>.<what>`, in the order of a block."""
    return [*_scored(models), *CONTEXT_FEATURES]


def feature_names(models: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Names of the features that a fusion sees, `<branch or context>.<what>`, in their order.

    Genres are content: without a content branch it sees none, so that what it is compared with knows ratings and years.
    """
    known = [name for name in CONTEXT_FEATURES if contents or name != GENRE_LIFT]
    return [*_scored([*models, *contents]), *(f"{name}.closest" for name in contents), *known]


def candidate_blocks(known: Known, size: int, use: Callable[[Block], Made]) -> list[Made]:
    """What `use` makes of each user's candidates and what the models and the context tell of them, by blocks of users.

    Candidates are the `size` unrated movies with the highest sum of the models' scores, standardised over that user's
    unrated movies. Features: each model's score, raw and standardised, and the context (context.py).
    """
    pool = known.pool
    context = context_features(known.films, known.ratings, pool)
    scores_of = {name: _scores_of(*sides) for name, sides in known.models.items()}

    def block(number: int) -> Block:
        users = _users_of(number, pool)
        rated = _rated(pool, users)
        raw = {name: of_users(users) for name, of_users in scores_of.items()}
        standard = {name: _standardised(scores, rated) for name, scores in raw.items()}
        total = np.sum(list(standard.values()), axis=0)
        total[rated] = -np.inf
        best = _largest(total, size)
        row, place = np.nonzero(np.isfinite(np.take_along_axis(total, best, axis=1)))
        item = best[row, place]
        features = {
            f"{name}.{what}": scores[row, item].astype(np.float32)
            for name in raw
            for what, scores in (("score", raw[name]), ("z", standard[name]))
        }
        return Block(users[row], item, features | context(users[row], item))

    return side_by_side(lambda number: use(block(number)), range(-(-len(pool.user_ids) // BLOCK_USERS)))


def shortlists(known: Known, size: int) -> pl.DataFrame:
    """Each user's candidates as a table: `user_id`, `movie_id` and the `candidate_features`; rows as of `Block`."""
    return pl.concat(candidate_blocks(known, size, lambda block: named(block, known.pool)))


def named(block: Block, pool: Candidates) -> pl.DataFrame:
    """Candidates by their ids: `user_id`, `movie_id`, a column a feature."""
    ids = {"user_id": pool.user_ids[block.users], "movie_id": pool.item_ids[block.items]}
    return pl.DataFrame(ids | block.features)


def content_features(
    ratings: pl.DataFrame,
    pool: Candidates,
    contents: Mapping[str, Aligned],
    threshold: float,
    text_models: Mapping[str, Aligned] | None = None,
) -> Callable[[Index, Index], dict[str, Feature]]:
    """What the texts tell of candidates: each branch's score, raw and standardised, and of content `closest`.

    `closest` is the mean cosine to the CLOSEST of the user's liked films that are most like it; NaN without any.

    Args:
        ratings: `user_id`, `movie_id`, `rating` of the pool's users.
        pool: users, and films that have a text.
        contents: content branches by name, whose profiles are made from these ratings.
        threshold: a rating of at least this is liked.
        text_models: collaborative branches by name that read texts and were not told of yet.

    Returns:
        (rows,) user index, ascending, and (rows,) item index -> feature -> (rows,).
    """
    liked = items_by_user(ratings.filter(pl.col("rating") >= threshold), pool.user_ids, pool.item_ids)
    scored = {name: _scores_of(*sides) for name, sides in {**(text_models or {}), **contents}.items()}

    def features(users: Index, items: Index) -> dict[str, Feature]:
        names = [*_scored(scored), *(f"{name}.closest" for name in contents)]
        found = {name: np.empty(len(users), dtype=np.float32) for name in names}

        def fill(rows: slice) -> None:
            block = _users_of(users[rows.start] // BLOCK_USERS, pool)
            rated = _rated(pool, block)
            own, item = users[rows] - block[0], items[rows]
            for name, scores_of in scored.items():
                scores = scores_of(block)
                found[f"{name}.score"][rows] = scores[own, item]
                found[f"{name}.z"][rows] = _standardised(scores, rated)[own, item]
            for name, (_, item_vectors) in contents.items():
                found[f"{name}.closest"][rows] = _closest(item_vectors, liked, users[rows], item)

        side_by_side(fill, rows_by_block(users))
        return found

    return features


def rows_by_block(users: Index) -> list[slice]:
    """Which rows belong to each block of BLOCK_USERS users, of rows that stand by (rows,) ascending user index."""
    starts = np.flatnonzero(np.diff(users // BLOCK_USERS, prepend=-1)).tolist()
    return [slice(start, stop) for start, stop in pairwise([*starts, len(users)])]


def _scored(branches: Iterable[str]) -> list[str]:
    return [f"{name}.{what}" for name in branches for what in ("score", "z")]


def _users_of(block: int, pool: Candidates) -> Index:
    return np.arange(block * BLOCK_USERS, min((block + 1) * BLOCK_USERS, len(pool.user_ids)))


def _scores_of(user_vectors: Vectors, item_vectors: Vectors) -> Callable[[Index], Vectors]:
    """Users, (n,) -> a branch's scores of all items, (n, items)."""
    some, vectors = scored_alone(item_vectors, len(user_vectors))

    def scores(users: Index) -> Vectors:
        found: Vectors = user_vectors[users] @ vectors.T
        if some is None:
            return found
        of_all: Vectors = np.zeros((len(users), len(item_vectors)), dtype=np.float32)
        of_all[:, some] = found
        return of_all

    return scores


def _rated(pool: Candidates, users: Index) -> npt.NDArray[np.bool_]:
    """What each of some users in a row has rated: (users, items)."""
    indptr, seen = pool.seen
    rated = np.zeros((len(users), len(pool.item_ids)), dtype=bool)
    rated[np.repeat(users - users[0], np.diff(indptr)[users]), seen[indptr[users[0]] : indptr[users[-1] + 1]]] = True
    return rated


def _largest(scores: Vectors, size: int) -> Index:
    """Columns of each row's `size` largest scores, largest first, equal ones by ascending column."""
    # not ranking.py's: a newcomer is ranked in less time than torch takes to be imported
    size = min(size, scores.shape[1])
    least = np.partition(scores, -size, axis=1)[:, [-size]]
    above, equal = scores > least, scores == least
    chosen = above | equal & (equal.cumsum(axis=1) <= size - above.sum(axis=1, keepdims=True))
    columns = np.nonzero(chosen)[1].reshape(len(scores), size)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def _standardised(scores: Vectors, rated: npt.NDArray[np.bool_]) -> Vectors:
    """(score - mean) / standard deviation over each row's unrated movies; 0 where all are equal."""
    free = ~rated
    count = np.maximum(free.sum(axis=1, keepdims=True), 1)
    mean = (scores * free).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((((scores - mean) * free) ** 2).sum(axis=1, keepdims=True) / count)
    standard: Vectors = (scores - mean) / np.where(deviation > 1e-12 + 1e-6 * np.abs(mean), deviation, np.inf)
    return standard


def _closest(vectors: Vectors, liked: Csr, users: Index, items: Index) -> npt.NDArray[np.float64]:
    indptr, films = liked
    result = np.full(len(users), np.nan)
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    for first, last in zip(starts, np.append(starts[1:], len(users)), strict=True):
        own = films[indptr[users[first]] : indptr[users[first] + 1]]
        if len(own):
            cosine = vectors[items[first:last]] @ vectors[own].T
            count = min(CLOSEST, len(own))
            result[first:last] = np.partition(cosine, len(own) - count, axis=1)[:, -count:].mean(axis=1)
    return result
