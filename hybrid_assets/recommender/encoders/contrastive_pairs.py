"""Contrastive pairs: which movies' texts an encoder is taught to bring together or keep apart.

Belongs here: drawing pairs from train ratings, in the paper's two readings, and the check that nothing leaked. Does
not: what a loss does with them (losses.py).
"""

from typing import Literal

import numpy as np
import polars as pl

from hybrid_assets.recommender.split import drawn_ids, draws_of
from hybrid_assets.recommender.towers import Ids

PairReading = Literal["notebook", "text"]
PAIR_SCHEMA = {
    "reading": pl.String,
    "user_id": pl.Int64,
    "anchor_id": pl.Int64,
    "other_id": pl.Int64,
    "label": pl.Int8,
}


def cold_movies(movie_ids: Ids, share: float, seed: int) -> Ids:
    """Movies that no pair may hold, so that a tuned encoder can be judged on movies it never learnt from."""
    return drawn_ids(movie_ids, share, seed)


def contrastive_pairs(
    ratings: pl.DataFrame, *, liked: float, disliked: float, per_user: int, most: int, seed: int
) -> pl.DataFrame:
    """Pairs of movies in both of the paper's readings.

    `notebook` (the published code): for each user with at least two liked movies, `per_user` of all pairs of liked
    ones, all labelled 1. `text` (the paper, section III C): the same pairs, and as many labelled 0, of a liked movie
    with one that the user disliked or has not seen, in turn. Each user's draws have a seed of their own, so that a
    change of one user's ratings leaves the pairs of all others as they are, unless `most` leaves some out.

    Args:
        ratings: `user_id`, `movie_id`, `rating` of the part that may be learnt from.
        liked: a rating of at least this is liked.
        disliked: a rating of at most this is disliked.
        per_user: positive pairs drawn of a user, at most.
        most: positive pairs in all, at most; the rest is left out at random.
        seed: of all draws.

    Returns:
        `reading`, `user_id`, `anchor_id`, `other_id`, `label`.

    Raises:
        ValueError: no user liked two movies.
    """
    movies = np.unique(ratings["movie_id"].to_numpy())
    counts = ratings.group_by("user_id", maintain_order=True).agg((pl.col("rating") >= liked).sum().cast(pl.Int64))
    likes = counts["rating"].to_numpy()
    drawn = np.minimum(likes * (likes - 1) // 2, per_user)
    ends = np.cumsum(drawn)
    if not drawn.any():
        raise ValueError(
            f"no user rated two movies {liked:g} or more in train, so there is no pair to learn from; lower "
            "evaluation.relevance_threshold, or bring more ratings"
        )
    kept = _kept_positives(int(ends[-1]), most, seed)
    # nothing is drawn of a user none of whose pairs is kept
    owners = np.unique(np.searchsorted(ends, kept, side="right"))
    first = dict(zip(counts["user_id"][owners].to_list(), (ends - drawn)[owners].tolist(), strict=True))
    readings: dict[PairReading, list[pl.DataFrame]] = {"notebook": [], "text": []}
    for (user,), rows in ratings.filter(pl.col("user_id").is_in(list(first))).group_by("user_id", maintain_order=True):
        rated, stars = rows["movie_id"].to_numpy(), rows["rating"].to_numpy()
        generator = draws_of(int(user), seed)
        pairs = _distinct_pairs(rated[stars >= liked], per_user, generator)
        negatives = _negatives(pairs[:, 0], rated, rated[stars <= disliked], movies, generator)
        positive = _pair_table(int(user), pairs, 1, first[int(user)])
        readings["notebook"].append(positive)
        readings["text"].append(pl.concat([positive, _pair_table(int(user), negatives, 0, first[int(user)])]))
    # in the reading `text`, the negative drawn for a positive goes where the positive goes
    is_kept = pl.col("pair").is_in(kept.tolist())
    tables = [
        pl.concat(parts).filter(is_kept).select(pl.lit(reading).alias("reading"), pl.exclude("pair"))
        for reading, parts in readings.items()
    ]
    return pl.concat(tables).cast(PAIR_SCHEMA)  # type: ignore[arg-type]


def leaked_pairs(pairs: pl.DataFrame, train: pl.DataFrame, cold: Ids) -> pl.DataFrame:
    """Pairs that know something they must not, found from the ratings themselves and not from what was learnt.

    That is a pair labelled 1 of a movie that its user did not rate in train outside the validation part, and any pair
    of a cold movie.

    Args:
        pairs: from `contrastive_pairs`.
        train: `user_id`, `movie_id`, `validation` of the train ratings.
        cold: movies that no pair may hold.
    """
    # not by what chooses the rows that pairs are drawn from: it may be that which is wrong
    known = train.filter(~pl.col("validation")).select("user_id", "movie_id")
    positive = pairs.filter(pl.col("label") == 1)
    leaked = [
        positive.join(known, left_on=["user_id", side], right_on=["user_id", "movie_id"], how="anti")
        for side in ("anchor_id", "other_id")
    ]
    leaked += [pairs.filter(pl.col(side).is_in(cold.tolist())) for side in ("anchor_id", "other_id")]
    return pl.concat(leaked).unique(maintain_order=True)


def _distinct_pairs(movies: Ids, count: int, generator: np.random.Generator) -> Ids:
    """(pairs, 2): `count` of the n (n - 1) / 2 unordered pairs without replacement, or all."""
    n = len(movies)
    total = n * (n - 1) // 2
    if total == 0:
        return np.empty((0, 2), dtype=np.int64)
    drawn = generator.choice(total, size=min(count, total), replace=False)
    # the pair (i, j), i < j, has the number j (j - 1) / 2 + i
    second = ((1 + np.sqrt(1 + 8 * drawn.astype(np.float64))) // 2).astype(np.int64)
    first = drawn - second * (second - 1) // 2
    pairs: Ids = movies[np.stack([first, second], axis=1)]
    # which of the two is the anchor is chance
    turned = generator.random(len(pairs)) < 0.5
    pairs[turned] = pairs[turned][:, ::-1]
    return pairs


def _negatives(anchors: Ids, rated: Ids, disliked: Ids, movies: Ids, generator: np.random.Generator) -> Ids:
    """(anchors, 2): each anchor with a disliked movie and an unseen one in turn; only the kind there is.

    `movies` ascend, and all rated ones are among them.
    """
    unseen = np.delete(movies, np.searchsorted(movies, rated))
    others = np.empty(len(anchors), dtype=np.int64)
    for place in range(len(anchors)):
        kinds = [disliked, unseen] if place % 2 == 0 else [unseen, disliked]
        kind = kinds[0] if len(kinds[0]) else kinds[1]
        if len(kind) == 0:
            return np.empty((0, 2), dtype=np.int64)  # the user rated every movie and disliked none
        others[place] = generator.choice(kind)
    return np.stack([anchors, others], axis=1)


def _pair_table(user: int, pairs: Ids, label: int, first: int) -> pl.DataFrame:
    """A user's pairs of a label, numbered from `first` on."""
    numbers = np.arange(first, first + len(pairs))
    return pl.DataFrame({"anchor_id": pairs[:, 0], "other_id": pairs[:, 1], "pair": numbers}).select(
        pl.lit(user).alias("user_id"), "anchor_id", "other_id", pl.lit(label).alias("label"), "pair"
    )


def _kept_positives(count: int, most: int, seed: int) -> Ids:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, size=most, replace=False))
