"""What the ranker of a stacked system knows of a candidate: the branches' scores, and of user and film.

Belongs here: candidates and their features, from ratings and branches fitted on these and no others. Does not: the
branches themselves (models/, profiles.py), learning from the features (stacking.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.ranking import Index
from hybrid_assets.recommender.systems import Candidates, candidates, pairs_to_csr
from hybrid_assets.recommender.tables import profiles_of
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align, positions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# A value a candidate.
Feature: TypeAlias = npt.NDArray[np.float32]

# What the ranker knows of user and film beside the branches; its share of a score is named so too.
CONTEXT = "context"
YEAR_SECONDS = 365.25 * 86400
# Users whose scores of all items are held at a time.
BLOCK_USERS = 64
# How many liked movies the nearness to "what the user liked most like this" is averaged over.
CLOSEST = 3
# Ratings that pull a film's mean to the mean of all.
PRIOR_RATINGS = 5.0
# Films that many users rated one soon after the other: how fast that fades with the films between, where it ends, and
# the powers of a film's number of ratings that it is divided by, of the film rated and of the candidate.
SEQUENCE_DECAY = 5.0
SEQUENCE_LAGS = 20
SEQUENCE_POWERS = (0.7, 0.3)


@dataclass(frozen=True)
class Known:
    """What is known when lists are made: ratings, and models fitted on these ratings and no others.

    Attributes:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`.
        models: collaborative branches by name, at least one.
        years: `movie_id`, `year`; null where it is not known.
        threshold: a rating of at least this is liked.
    """

    ratings: pl.DataFrame
    models: Mapping[str, TowerPair]
    years: pl.DataFrame
    threshold: float


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


def film_years(movies: pl.DataFrame) -> pl.DataFrame:
    """`movie_id` and `year`, the last bracketed four digits at the end of `title`; null without.

    >>> film_years(pl.DataFrame({"movie_id": [1, 2], "title": ["2001 (1968)", "Heat"]}))["year"].to_list()
    [1968.0, None]
    """
    return movies.select("movie_id", pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64).alias("year"))


def centred_content(ratings: pl.DataFrame, item_ids: Ids, embeddings: Vectors, threshold: float) -> TowerPair:
    """Cosine of a film to the mean of what the user liked, in embeddings without their common direction.

    What all texts share says nothing about a user; without it cosines differ more between films. Centred on the mean
    of the films in `ratings`, whose tower this is.
    """
    rated = ratings["movie_id"].unique(maintain_order=True).to_numpy()
    vectors = align(item_ids, embeddings, rated, missing="refuse")
    centred = vectors - vectors.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit: Vectors = centred / np.maximum(length, np.finfo(np.float32).tiny)
    return TowerPair(*profiles_of(ratings, "liked", threshold, rated, unit), rated, unit)


def feature_names(models: Sequence[str], contents: Sequence[str]) -> list[str]:
    """Names of the features, `<branch or context>.<what>`, in their order."""
    branches = [f"{name}.{what}" for name in (*models, *contents) for what in ("score", "z")]
    return [*branches, *(f"{name}.closest" for name in contents), *_context_names()]


def _context_names() -> list[str]:
    return [f"{CONTEXT}.{what}" for what in (*_FILM, *_USER, *_PAIR)]


_FILM = ("ratings", "likes", "mean", "residual", "spread", "year")
_USER = ("user_ratings", "user_liked", "user_mean", "user_spread", "user_days", "user_year", "user_popularity")
_PAIR = ("near_half_year", "near_two_years", "before", "age_at_last", "age_at_median", "first_after", "in_sequence")


def candidate_blocks(known: Known, size: int) -> Iterator[Block]:
    """Each user's candidates and what the models and the context tell of them, in blocks of users.

    Candidates are the `size` unrated movies with the highest sum of the models' scores, standardised over that user's
    unrated movies. Features: each model's score, raw and standardised; how often, how well and how differently the
    film is rated, and its year; how much, how well and for how long the user rated, how old and how popular films; how
    often the film was rated around the user's time, how old it was then, and how long after the user's last rating it
    was first rated; how close in the order of their ratings others rated it to the user's films. All from `known`.
    """
    pool = candidates(known.ratings)
    towers = _aligned(known.models, pool)
    context = _Context.of(known, pool)
    for users in _blocks_of_users(pool):
        rated = _rated(pool, users)
        raw = {name: vectors[users] @ items.T for name, (vectors, items) in towers.items()}
        standard = {name: _standardised(scores, rated) for name, scores in raw.items()}
        total = np.sum(list(standard.values()), axis=0)
        total[rated] = -np.inf
        best = np.argsort(-total, axis=1, kind="stable")[:, :size]
        row, place = np.nonzero(np.isfinite(np.take_along_axis(total, best, axis=1)))
        item = best[row, place]
        features = {
            f"{name}.{what}": scores[row, item].astype(np.float32)
            for name in towers
            for what, scores in (("score", raw[name]), ("z", standard[name]))
        }
        yield Block(users[row], item, features | context.features(users[row], item))


def content_features(
    ratings: pl.DataFrame, contents: Mapping[str, TowerPair], threshold: float
) -> Callable[[Index, Index], dict[str, Feature]]:
    """What the texts tell of candidates: each branch's score, raw and standardised, and `closest`.

    `closest` is the mean cosine to the CLOSEST of the user's liked films that are most like it; NaN without any.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, that the branches were made from.
        contents: content branches by name (`centred_content`).
        threshold: a rating of at least this is liked.

    Returns:
        (rows,) user index, ascending, and (rows,) item index -> feature -> (rows,).
    """
    pool = candidates(ratings)
    towers = _aligned(contents, pool)
    of_liked = ratings.filter(pl.col("rating") >= threshold)
    liked = pairs_to_csr(
        positions(pool.user_ids, of_liked["user_id"].to_numpy()),
        positions(pool.item_ids, of_liked["movie_id"].to_numpy()),
        len(pool.user_ids),
    )

    def features(users: Index, items: Index) -> dict[str, Feature]:
        found = {
            f"{name}.{what}": np.empty(len(users), dtype=np.float32)
            for name in towers
            for what in ("score", "z", "closest")
        }
        for block in _blocks_of_users(pool):
            rows = slice(*np.searchsorted(users, [block[0], block[-1] + 1]))
            if rows.start == rows.stop:
                continue
            rated = _rated(pool, block)
            own, item = users[rows] - block[0], items[rows]
            for name, (vectors, item_vectors) in towers.items():
                scores = vectors[block] @ item_vectors.T
                found[f"{name}.score"][rows] = scores[own, item]
                found[f"{name}.z"][rows] = _standardised(scores, rated)[own, item]
                found[f"{name}.closest"][rows] = _closest(item_vectors, liked, users[rows], item)
        return found

    return features


def _aligned(pairs: Mapping[str, TowerPair], pool: Candidates) -> dict[str, tuple[Vectors, Vectors]]:
    return {
        name: (
            align(pair.user_ids, pair.user_vectors, pool.user_ids, missing="zero"),
            align(pair.item_ids, pair.item_vectors, pool.item_ids, missing="refuse"),
        )
        for name, pair in pairs.items()
    }


def _blocks_of_users(pool: Candidates) -> Iterator[Index]:
    for start in range(0, len(pool.user_ids), BLOCK_USERS):
        yield np.arange(start, min(start + BLOCK_USERS, len(pool.user_ids)))


def _rated(pool: Candidates, users: Index) -> npt.NDArray[np.bool_]:
    """What each of some users in a row has rated: (users, items)."""
    indptr, seen = pool.seen
    rated = np.zeros((len(users), len(pool.item_ids)), dtype=bool)
    rated[np.repeat(users - users[0], np.diff(indptr)[users]), seen[indptr[users[0]] : indptr[users[-1] + 1]]] = True
    return rated


def _standardised(scores: Vectors, rated: npt.NDArray[np.bool_]) -> Vectors:
    """(score - mean) / standard deviation over each row's unrated movies; 0 where all are equal."""
    free = ~rated
    count = np.maximum(free.sum(axis=1, keepdims=True), 1)
    mean = (scores * free).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt((((scores - mean) * free) ** 2).sum(axis=1, keepdims=True) / count)
    standard: Vectors = (scores - mean) / np.where(deviation > 1e-12, deviation, np.inf)
    return standard


def _closest(vectors: Vectors, liked: tuple[Index, Index], users: Index, items: Index) -> npt.NDArray[np.float64]:
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


@dataclass(frozen=True)
class _Context:
    """Counts and means of users and films, by index."""

    film: npt.NDArray[np.float64]  # (films, len(_FILM))
    user: npt.NDArray[np.float64]  # (users, len(_USER))
    first: npt.NDArray[np.int64]  # (films,) time of the first rating
    start: npt.NDArray[np.int64]  # (users,) time of the first, median and last rating
    middle: npt.NDArray[np.float64]
    end: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int64]  # film and time of each rating in one number, ascending
    span: int
    origin: int
    rated: "csr_matrix"  # (users, films)
    sequence: "csr_matrix"  # (films, films)

    @classmethod
    def of(cls, known: Known, pool: Candidates) -> "_Context":
        from scipy.sparse import csr_matrix

        ratings = known.ratings.select("user_id", "movie_id", "rating", "timestamp")
        ratings = ratings.with_columns(pl.col("rating").cast(pl.Float64)).join(
            known.years, on="movie_id", how="left", maintain_order="left"
        )
        liked = pl.col("rating") >= known.threshold
        by_user = ratings.with_columns(
            (pl.col("rating") - pl.col("rating").mean().over("user_id")).alias("residual"),
            pl.len().over("movie_id").log1p().alias("popularity"),
        )
        mean = ratings["rating"].mean()
        film = pl.DataFrame({"movie_id": pool.item_ids}).join(
            by_user.group_by("movie_id").agg(
                pl.len().cast(pl.Float64).alias("ratings"),
                liked.sum().cast(pl.Float64).alias("likes"),
                ((pl.col("rating").sum() + PRIOR_RATINGS * pl.lit(mean)) / (pl.len() + PRIOR_RATINGS)).alias("mean"),
                (pl.col("residual").sum() / (pl.len() + PRIOR_RATINGS)).alias("residual"),
                pl.col("rating").var(ddof=0).alias("spread"),
                pl.col("year").first(),
                pl.col("timestamp").min().alias("first"),
            ),
            on="movie_id",
            how="left",
            maintain_order="left",
        )
        user = pl.DataFrame({"user_id": pool.user_ids}).join(
            by_user.group_by("user_id").agg(
                pl.len().cast(pl.Float64).alias("user_ratings"),
                liked.mean().alias("user_liked"),
                pl.col("rating").mean().alias("user_mean"),
                pl.col("rating").std(ddof=0).alias("user_spread"),
                ((pl.col("timestamp").max() - pl.col("timestamp").min()) / 86400).alias("user_days"),
                pl.col("year").mean().alias("user_year"),
                pl.col("popularity").mean().alias("user_popularity"),
                pl.col("timestamp").min().alias("start"),
                pl.col("timestamp").median().alias("middle"),
                pl.col("timestamp").max().alias("end"),
            ),
            on="user_id",
            how="left",
            maintain_order="left",
        )
        times = ratings["timestamp"].to_numpy().astype(np.int64)
        origin, span = int(times.min()), int(times.max() - times.min()) + 2
        users = positions(pool.user_ids, ratings["user_id"].to_numpy())
        items = positions(pool.item_ids, ratings["movie_id"].to_numpy())
        shape = (len(pool.user_ids), len(pool.item_ids))
        return cls(
            film.drop("movie_id", "first").to_numpy().astype(np.float64),
            user.drop("user_id", "start", "middle", "end").to_numpy().astype(np.float64),
            film["first"].to_numpy().astype(np.int64),
            user["start"].to_numpy().astype(np.int64),
            user["middle"].to_numpy().astype(np.float64),
            user["end"].to_numpy().astype(np.int64),
            np.sort(items * span + (times - origin)),
            span,
            origin,
            csr_matrix((np.ones(len(users)), (users, items)), shape=shape),
            in_sequence(users, items, times, shape[1]),
        )

    def features(self, users: Index, items: Index) -> dict[str, Feature]:
        """The context of each pair."""
        year = self.film[items, _FILM.index("year")]
        start, end, middle = self.start[users], self.end[users], self.middle[users]
        half = int(YEAR_SECONDS / 2)
        pair = [
            self._rated_between(items, start - half, end + half),
            self._rated_between(items, start - 4 * half, end + 4 * half),
            self._rated_between(items, np.full(len(items), self.origin), end),
            1970 + end / YEAR_SECONDS - year,
            1970 + middle / YEAR_SECONDS - year,
            (self.first[items] - end) / YEAR_SECONDS,
            self._near_in_sequence(users, items),
        ]
        columns = (*self.film[items].T, *self.user[users].T, *pair)
        return {name: column.astype(np.float32) for name, column in zip(_context_names(), columns, strict=True)}

    def _rated_between(self, items: Index, low: Index, high: Index) -> npt.NDArray[np.float64]:
        """How many ratings each film has from `low` to `high`."""
        first, last = (items * self.span + (times - self.origin).clip(0, self.span - 1) for times in (low, high + 1))
        counts = np.searchsorted(self.keys, last) - np.searchsorted(self.keys, first)
        return np.asarray(counts, dtype=np.float64)

    def _near_in_sequence(self, users: Index, items: Index) -> npt.NDArray[np.float64]:
        """Sum of `in_sequence` over what each user has rated."""
        own, row = np.unique(users, return_inverse=True)
        return np.asarray((self.rated[own] @ self.sequence).toarray()[row, items], dtype=np.float64)


def in_sequence(users: Index, items: Index, times: Index, item_count: int) -> "csr_matrix":
    """How often users rated item i soon before or after item j: (items, items), symmetric but for the division.

    Entry (j, i) = sum over users of exp(-d / SEQUENCE_DECAY) / (n_j^a n_i^b), d <= SEQUENCE_LAGS how many ratings i and
    j are apart in the order of the user's, n the item's ratings plus PRIOR_RATINGS, (a, b) = SEQUENCE_POWERS. Of
    equally old ratings the given order counts.

    Args:
        users: (n,) user index of each rating.
        items: (n,) item index.
        times: (n,) when.
        item_count: how many items there are.
    """
    from scipy.sparse import csr_matrix, diags

    order = np.lexsort((times, users))
    users, items = users[order], items[order]
    pairs = []
    for lag in range(1, min(SEQUENCE_LAGS, len(users) - 1) + 1):
        same = users[lag:] == users[:-lag]
        weight = np.full(int(same.sum()), np.exp(-lag / SEQUENCE_DECAY))
        pairs.append((items[:-lag][same], items[lag:][same], weight))
    if not pairs:
        return csr_matrix((item_count, item_count))
    first, second, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
    near = csr_matrix((weights, (first, second)), shape=(item_count, item_count))
    ratings = np.bincount(items, minlength=item_count) + PRIOR_RATINGS
    of_rated, of_candidate = (diags(ratings**-power) for power in SEQUENCE_POWERS)
    return csr_matrix(of_rated @ (near + near.T) @ of_candidate)
