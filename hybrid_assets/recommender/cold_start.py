"""Cold start: how good a system's lists are for movies, and for people, that no model has seen.

Both protocols share one fit: held-out users and movies leave train together. Belongs here: who and what is held out,
what of it is known, how it is judged. Does not: fitting models, putting a new user's branches together (newcomers.py).

Movies: a held-out movie has no rating in train, so a collaborative model cannot score it: its score there is 0, the
score of having no vector. The movie's text can be scored; and where a system has both, its models borrow the movie's
vector from the movies with the most similar texts. Relevant are all its ratings that are liked.
People: a held-out user's ratings are shuffled; the first 1, 3, ... are known, and the lists are judged by what follows
the largest known number, for every number alike, so that only the ratings make the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hybrid_assets.recommender.intervals import mean_with_interval
from hybrid_assets.recommender.metrics import ndcg, recall
from hybrid_assets.recommender.newcomers import NewcomerSystem, at_the_end
from hybrid_assets.recommender.profiles import Reading
from hybrid_assets.recommender.ranking import Branch, rank
from hybrid_assets.recommender.split import draws_of
from hybrid_assets.recommender.systems import Candidates, candidates, relevant_items
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Csr, Ids, Index, TowerPair, Values, Vectors, align, positions

# Movies that a cold one borrows its vector from: as many as a stacker looks at for "what is most like this".
NEIGHBOURS = 3


@dataclass(frozen=True)
class ColdSplit:
    """Train without the held-out users and movies, and what was held out.

    Attributes:
        warm: train ratings of the other users and movies, in training order.
        movies: (movies,) held out; unrated by anybody in `warm`.
        of_movies: all ratings of them, train and test, by the users of `warm`.
        of_users: all ratings of the held-out users, train and test, of movies in `warm`, `at_the_end` of it, with
            `place`, the order in which they become known: 0, 1, ...
    """

    warm: pl.DataFrame
    movies: Ids
    of_movies: pl.DataFrame
    of_users: pl.DataFrame


def cold_split(train: pl.DataFrame, test: pl.DataFrame, *, users: Ids, movies: Ids, seed: int) -> ColdSplit:
    """Hold users and movies out of train.

    Args:
        train: train ratings in training order.
        test: test ratings.
        users: ids to hold out.
        movies: ids to hold out.
        seed: of the order in which a held-out user's ratings become known; each user's draw has a seed of its own.

    Raises:
        ValueError: nothing is left to train on.
    """
    is_cold_user, is_cold_movie = pl.col("user_id").is_in(users.tolist()), pl.col("movie_id").is_in(movies.tolist())
    warm = train.filter(~is_cold_user & ~is_cold_movie)
    if warm.is_empty():
        raise ValueError("no rating is left without the cold users and movies; lower cold_start.users or movies")
    columns = ("user_id", "movie_id", "rating", "timestamp")
    both = pl.concat([train.select(columns), test.select(columns)])
    known = pl.col("movie_id").is_in(warm["movie_id"].unique().to_list())
    shuffled = []
    for (user,), rows in (
        both.filter(is_cold_user & known).sort("user_id", "movie_id").group_by("user_id", maintain_order=True)
    ):
        order = draws_of(int(user), seed).permutation(rows.height)
        shuffled.append(rows[order].with_row_index("place"))
    empty = both.clear().with_row_index("place")
    raters = pl.col("user_id").is_in(warm["user_id"].unique().to_list())
    return ColdSplit(warm, movies, both.filter(is_cold_movie & raters), at_the_end(pl.concat([empty, *shuffled]), warm))


def nearest_rated(split: ColdSplit, ids: Ids, vectors: Vectors) -> Ids:
    """For each cold movie, the NEIGHBOURS rated movies whose texts are nearest to its own: (movies, NEIGHBOURS) ids.

    Args:
        split: whose movies they are.
        ids: (m,) movies with a text.
        vectors: (m, d) unit vectors of their texts.

    Raises:
        ValueError: a movie has no text.
    """
    rated = split.warm["movie_id"].unique().sort().to_numpy()
    of_rated = align(ids, vectors, rated, missing="refuse")
    cosine = align(ids, vectors, split.movies, missing="refuse") @ of_rated.T
    return np.asarray(rated[np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]])


def with_cold_movies(pair: TowerPair, movies: Ids, nearest: Ids | None) -> TowerPair:
    """A model's vectors with those of the cold movies.

    These are zero where `nearest` is None: the score of what the model has never seen is 0. Else each is the mean of
    the vectors of its row of `nearest` (movies, n), and so its score the mean of theirs.
    """
    borrowed = np.zeros((len(movies), pair.item_vectors.shape[1]), dtype=np.float32)
    if nearest is not None:
        for place in nearest.T:
            borrowed += pair.item_vectors[positions(pair.item_ids, place)] / nearest.shape[1]
    return TowerPair(
        pair.user_ids,
        pair.user_vectors,
        np.concatenate([pair.item_ids, movies]),
        np.concatenate([pair.item_vectors, borrowed]),
    )


def cold_towers(
    models: Mapping[str, TowerPair],
    embeddings: Mapping[str, tuple[Ids, Vectors]],
    split: ColdSplit,
    reading: Reading,
    threshold: float,
) -> dict[str, TowerPair]:
    """A system's branches with the cold movies among their items.

    With texts the models borrow a cold movie's vector from its `nearest_rated` by the first of them.

    Args:
        models: collaborative branches, fitted on `split.warm`.
        embeddings: content branches: movies and the unit vectors of their texts.
        split: whose cold movies they are.
        reading: which ratings a profile is made of.
        threshold: liked.

    Raises:
        ValueError: a movie has no text.
    """
    nearest = nearest_rated(split, *next(iter(embeddings.values()))) if models and embeddings else None
    towers = {name: with_cold_movies(pair, split.movies, nearest) for name, pair in models.items()}
    for name, (ids, vectors) in embeddings.items():
        towers[name] = TowerPair(*profiles_of(split.warm, reading, threshold, ids, vectors), ids, vectors)
    return towers


def cold_candidates(split: ColdSplit, *, only_cold: bool, seed: int) -> Candidates:
    """The users of train, and the movies they have not rated: all, the cold ones among them, or the cold ones alone.

    In a random order, so that what a system cannot tell apart is listed at random.
    """
    pool = candidates(split.warm)
    generator = np.random.default_rng(seed)
    if only_cold:
        nothing = (np.zeros(len(pool.user_ids) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
        return Candidates(pool.user_ids, generator.permutation(split.movies), nothing)
    ids = np.concatenate([pool.item_ids, split.movies])
    order = generator.permutation(len(ids))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    indptr, seen = pool.seen
    return Candidates(pool.user_ids, ids[order], (indptr, place[seen]))


def item_cold(
    branches: Sequence[Branch], pool: Candidates, split: ColdSplit, *, k: int, threshold: float
) -> dict[str, Values]:
    """NDCG@k and recall@k of each user who likes a cold movie: how many of those are found.

    Args:
        branches: of a system over `pool`.
        pool: from `cold_candidates`.
        split: whose cold movies are wanted.
        k: cutoff.
        threshold: liked.

    Returns:
        "ndcg" and "recall", (users,) each, in [0, 1].
    """
    users, relevant = relevant_items(split.of_movies, pool, threshold)
    if len(users) == 0:
        return _judged(np.empty((0, k), dtype=np.int64), relevant)
    return _judged(rank(branches, pool.seen, k).items[users], relevant)


def user_cold(
    system: NewcomerSystem, split: ColdSplit, *, known: int, most_known: int, k: int, threshold: float
) -> dict[str, Values]:
    """NDCG@k and recall@k of each held-out user when `known` ratings are folded in.

    Judged by the liked ones among the ratings after the first `most_known`, none of which is a candidate; so the
    users, candidates and relevant movies do not depend on `known`.

    Args:
        system: loaded from models that have not seen these users.
        split: whose users they are.
        known: how many of each user's ratings are folded in.
        most_known: the largest such number.
        k: cutoff.
        threshold: liked.

    Returns:
        "ndcg" and "recall", (users,) each, in [0, 1].
    """
    rest = split.of_users.filter(pl.col("place") >= most_known)
    judged = rest.filter(pl.col("rating") >= threshold)["user_id"].unique()
    of_judged = split.of_users.filter(pl.col("user_id").is_in(judged.implode()))
    if of_judged.is_empty():
        return _judged(np.empty((0, k), dtype=np.int64), (np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.int64)))
    given = of_judged.filter(pl.col("place") < known)
    ranking, pool = system(given, k, seen=of_judged.filter(pl.col("place") < most_known))
    users, relevant = relevant_items(rest, pool, threshold)
    return _judged(ranking.items[users], relevant)


def with_intervals(
    values: Mapping[str, Values], *, resamples: int, confidence: float, seed: int
) -> dict[str, float | int | None]:
    """Means over users with their percentile bootstrap intervals: metric, metric_low, metric_high, and users.

    The metrics share the resamples, and with one seed so do all systems with the same users. Null without a user.
    """
    found: dict[str, float | int | None] = {"users": len(next(iter(values.values())))}
    for name, of_users in values.items():
        mean, low, high = mean_with_interval(of_users, seed=seed, resamples=resamples, confidence=confidence)
        found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return found


def _judged(lists: Index, relevant: Csr) -> dict[str, Values]:
    return {"ndcg": ndcg(lists, relevant), "recall": recall(lists, relevant)}
