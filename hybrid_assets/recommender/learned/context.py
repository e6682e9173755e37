"""What a learned fusion knows of a candidate beside its branches: counts, means, years, genres and times of both.

Belongs here: these numbers, from ratings. Does not: candidates and the branches' scores (features.py),
learning from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.facts import genre_shares
from hybrid_assets.recommender.models.sequence_ease import YEAR_SECONDS
from hybrid_assets.recommender.systems import Candidates
from hybrid_assets.recommender.towers import Ids, Index, first_appearance, positions

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# A value a candidate.
Feature: TypeAlias = npt.NDArray[np.float32]
Numbers: TypeAlias = npt.NDArray[np.float64]

# What the ranker knows of user and film beside the branches; its share of a score is named so too.
CONTEXT = "context"
# Ratings that pull a film's mean to the mean of all.
PRIOR_RATINGS = 5.0
# Made near each other: at most so many years apart.
NEAR_YEARS = (1, 4)
# Likes that pull the share of a genre among what a user likes to its share among all ratings.
PRIOR_LIKES = 5.0
# Films that many users rated one soon after the other: how fast that fades with the films between, where it ends, and
# the powers of a film's number of ratings that it is divided by, of the film rated and of the candidate.
SEQUENCE_DECAY = 5.0
SEQUENCE_LAGS = 20
SEQUENCE_POWERS = (0.7, 0.3)

_FILM = ("ratings", "likes", "mean", "residual", "spread", "year")
_USER = ("user_ratings", "user_liked", "user_mean", "user_spread", "user_days", "user_year", "user_popularity")
_PAIR = ("near_half_year", "near_two_years", "before", "age_at_last", "age_at_median", "first_after", "in_sequence")
_YEARS = ("made_within_1", "made_within_4")
GENRE_LIFT = f"{CONTEXT}.genre_lift"
CONTEXT_FEATURES: Sequence[str] = (
    *(f"{CONTEXT}.{what}" for what in (*_FILM, *_USER, *_PAIR, *_YEARS)),
    GENRE_LIFT,
)


@dataclass(frozen=True)
class Films:
    """What everybody's ratings tell of the films.

    Attributes:
        item_ids: (films,) that somebody rated, in order of first appearance.
        threshold: a rating of at least this is liked.
        numbers: (films, 6): ratings, likes, mean (drawn to the mean of all), mean of rating less its user's mean (drawn
            to 0), variance, and year, NaN where it is not known.
        genres: (films, genres) share of each genre, rows summing to 1.
        genre_ratings: (genres,) share of all ratings that are of films of a genre, above 0.
        first: (films,) time of the first rating.
        times: (n,) film and time of each rating in one number, index * span + (time - origin), ascending.
        span: more than the seconds from the first of all ratings to the last.
        origin: time of the first of all ratings.
        sequence: (films, films), `in_sequence`.
    """

    item_ids: Ids
    threshold: float
    numbers: Numbers
    genres: Numbers
    genre_ratings: Numbers
    first: Index
    times: Index
    span: int
    origin: int
    sequence: "csr_matrix"


def films_of(ratings: pl.DataFrame, facts: pl.DataFrame, threshold: float) -> Films:
    """What everybody's ratings tell of the films.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`.
        facts: `film_facts` of all films.
        threshold: a rating of at least this is liked.

    Raises:
        ValueError: a rated film is not among the facts.
    """
    stars = pl.col("rating").cast(pl.Float64)
    item_ids = first_appearance(ratings["movie_id"].to_numpy())
    # compared before the cast: in float64 a rating of 0.7 is below 0.7
    likes = (pl.col("rating") >= threshold).alias("liked")
    rated = ratings.select("user_id", "movie_id", "timestamp", stars, likes).with_columns(
        (pl.col("rating") - pl.col("rating").mean().over("user_id")).alias("residual")
    )
    mean = rated["rating"].mean()
    of_films = (
        pl.DataFrame({"movie_id": item_ids})
        .join(
            rated.group_by("movie_id").agg(
                pl.len().cast(pl.Float64).alias("ratings"),
                pl.col("liked").sum().cast(pl.Float64).alias("likes"),
                ((pl.col("rating").sum() + PRIOR_RATINGS * pl.lit(mean)) / (pl.len() + PRIOR_RATINGS)).alias("mean"),
                (pl.col("residual").sum() / (pl.len() + PRIOR_RATINGS)).alias("residual"),
                pl.col("rating").var(ddof=0).alias("spread"),
                pl.col("timestamp").min().alias("first"),
            ),
            on="movie_id",
            how="left",
            maintain_order="left",
        )
        .join(facts.select("movie_id", "year"), on="movie_id", how="left", maintain_order="left")
    )
    genres, counts = genre_shares(facts, item_ids), of_films["ratings"].to_numpy()
    times = rated["timestamp"].to_numpy().astype(np.int64)
    origin, span = int(times.min()), int(times.max() - times.min()) + 2
    owners = rated["user_id"].to_numpy()
    users = positions(first_appearance(owners), owners)
    items = positions(item_ids, rated["movie_id"].to_numpy())
    return Films(
        item_ids,
        threshold,
        of_films.select(_FILM).to_numpy().astype(np.float64),
        genres,
        counts @ (genres > 0) / counts.sum(),
        of_films["first"].to_numpy().astype(np.int64),
        np.sort(items * span + (times - origin)),
        span,
        origin,
        in_sequence(users, items, times, len(item_ids)),
    )


def context_features(
    films: Films, ratings: pl.DataFrame, pool: Candidates
) -> Callable[[Index, Index], dict[str, Feature]]:
    """What is known of some users and films, and of the two together.

    How often, how well and how differently the film is rated, and its year; how much, how well and for how long the
    user rated, how old and how popular films; how often the film was rated around the user's time, how old it was then,
    and how long after the user's last rating it was first rated; how close in the order of their ratings others rated
    it to the user's films; which share of these was made in years near its own, and how much more than others the
    user likes its genres.

    Args:
        films: of everybody's ratings.
        ratings: `user_id`, `movie_id`, `rating`, `timestamp` of the pool's users, at least one of each. A film that is
            not among `films` counts, with no year and no popularity.
        pool: the users, and the films in the order of `films`.

    Returns:
        (rows,) user index and (rows,) item index -> feature -> (rows,), the CONTEXT_FEATURES in their order.
    """
    from scipy.sparse import csr_matrix

    place = positions(films.item_ids, ratings["movie_id"].to_numpy())
    here = place >= 0
    year, popularity = (
        pl.Series(np.where(here, films.numbers[place, _FILM.index(name)], np.nan)).fill_nan(None)
        for name in ("year", "ratings")
    )
    stars = pl.col("rating").cast(pl.Float64)
    own = pl.DataFrame({"user_id": pool.user_ids}).join(
        ratings.with_columns(
            stars,
            (pl.col("rating") >= films.threshold).alias("liked"),
            year.alias("year"),
            popularity.log1p().alias("popularity"),
        )
        .group_by("user_id")
        .agg(
            pl.len().cast(pl.Float64).alias("user_ratings"),
            pl.col("liked").mean().alias("user_liked"),
            pl.col("rating").mean().alias("user_mean"),
            pl.col("rating").std(ddof=0).alias("user_spread"),
            ((pl.col("timestamp").max() - pl.col("timestamp").min()) / 86400).alias("user_days"),
            pl.col("year").mean().alias("user_year"),
            pl.col("popularity").mean().alias("user_popularity"),
            pl.col("timestamp").min().alias("first"),
            pl.col("timestamp").median().alias("median"),
            pl.col("timestamp").max().alias("last"),
        ),
        on="user_id",
        how="left",
        maintain_order="left",
    )
    numbers = own.select(_USER).to_numpy().astype(np.float64)
    first, last = (own[name].to_numpy().astype(np.int64) for name in ("first", "last"))
    median = own["median"].to_numpy().astype(np.float64)
    rows, place = positions(pool.user_ids, ratings["user_id"].to_numpy())[here], place[here]

    def by_user_and_film(values: Numbers) -> "csr_matrix":
        return csr_matrix((values, (rows, place)), shape=(len(pool.user_ids), len(films.item_ids)))

    rated = by_user_and_film(np.ones(len(rows)))
    likes = ratings.select(pl.col("rating") >= films.threshold).to_series().to_numpy()[here]
    to_genres = _genre_lift(films, by_user_and_film(likes.astype(np.float64)))
    made_near = _made_near(rated, films.numbers[:, _FILM.index("year")])
    half = int(YEAR_SECONDS / 2)

    def features(users: Index, items: Index) -> dict[str, Feature]:
        born = films.numbers[items, _FILM.index("year")]
        begin, end = first[users], last[users]
        listed, row = np.unique(users, return_inverse=True)
        pair = [
            _rated_between(films, items, begin - half, end + half),
            _rated_between(films, items, begin - 4 * half, end + 4 * half),
            _rated_between(films, items, np.full(len(items), films.origin), end),
            1970 + end / YEAR_SECONDS - born,
            1970 + median[users] / YEAR_SECONDS - born,
            (films.first[items] - end) / YEAR_SECONDS,
            (rated[listed] @ films.sequence).toarray()[row, items],
            *(made_near(users, born, apart) for apart in NEAR_YEARS),
            (films.genres[items] * to_genres[users]).sum(axis=1),
        ]
        columns = (*films.numbers[items].T, *numbers[users].T, *pair)
        return {name: column.astype(np.float32) for name, column in zip(CONTEXT_FEATURES, columns, strict=True)}

    return features


def _rated_between(films: Films, items: Index, low: Index, high: Index) -> Index:
    """How many ratings each film has from `low` to `high`."""
    first, last = (items * films.span + (times - films.origin).clip(0, films.span - 1) for times in (low, high + 1))
    return np.asarray(np.searchsorted(films.times, last) - np.searchsorted(films.times, first))


def _made_near(rated: "csr_matrix", born: Numbers) -> Callable[[Index, Numbers, int], Numbers]:
    """Which share of a user's films was made at most so many years from a year.

    Args:
        rated: (users, films) 1 where a user rated a film.
        born: (films,) year of each, NaN where it is not known.

    Returns:
        (rows,) user index, (rows,) year, years apart -> (rows,); NaN where the year is not known.
    """
    rows, place = rated.nonzero()
    known = np.isfinite(born[place])
    span = 10**4  # a year has four digits
    made = np.sort(rows[known] * span + born[place[known]].astype(np.int64))
    counts = np.maximum(np.diff(rated.indptr), 1)

    def share(users: Index, years: Numbers, apart: int) -> Numbers:
        year = np.nan_to_num(years).astype(np.int64)
        low, high = (users * span + (year + side).clip(0, span - 1) for side in (-apart, apart))
        near = np.searchsorted(made, high, side="right") - np.searchsorted(made, low)
        return np.where(np.isfinite(years), near / counts[users], np.nan)

    return share


def _genre_lift(films: Films, liked: "csr_matrix") -> Numbers:
    """How much more than others a user likes a genre: (users, genres); of a film the mean over its genres is told.

    log(s / p), p the genre's share of all ratings and s its share of the user's likes, drawn to p by PRIOR_LIKES.

    Args:
        films: of everybody's ratings.
        liked: (users, films) 1 where a user liked a film.
    """
    likes, all_likes = liked @ (films.genres > 0), np.asarray(liked.sum(axis=1))
    share = (likes + PRIOR_LIKES * films.genre_ratings) / (all_likes + PRIOR_LIKES)
    lift: Numbers = np.log(share / films.genre_ratings)
    return lift


def in_sequence(users: Index, items: Index, times: Index, item_count: int) -> "csr_matrix":
    """How often users rated item i soon before or after item j: (items, items), symmetric but for the division.

    Entry (j, i) = sum over users of exp(-d / SEQUENCE_DECAY) / (n_j^a n_i^b), d <= SEQUENCE_LAGS how many ratings i and
    j are apart in the order of the user's, n the item's ratings plus PRIOR_RATINGS, (a, b) = SEQUENCE_POWERS. Of
    equally old ratings the given order counts; who rated everything at one time has no order, and is left out.

    Args:
        users: (n,) user index of each rating.
        items: (n,) item index.
        times: (n,) when.
        item_count: how many items there are.
    """
    from scipy.sparse import csr_matrix, diags

    ratings = np.bincount(items, minlength=item_count) + PRIOR_RATINGS
    order = np.lexsort((times, users))
    users, items, times = users[order], items[order], times[order]
    in_order = np.isin(users, users[1:][(np.diff(users) == 0) & (np.diff(times) > 0)])
    users, items = users[in_order], items[in_order]
    pairs = []
    for lag in range(1, min(SEQUENCE_LAGS, len(users) - 1) + 1):
        same = users[lag:] == users[:-lag]
        weight = np.full(int(same.sum()), np.exp(-lag / SEQUENCE_DECAY))
        pairs.append((items[:-lag][same], items[lag:][same], weight))
    if not pairs:
        return csr_matrix((item_count, item_count))
    first, second, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
    near = csr_matrix((weights, (first, second)), shape=(item_count, item_count))
    of_rated, of_candidate = (diags(ratings**-power) for power in SEQUENCE_POWERS)
    return csr_matrix(of_rated @ (near + near.T) @ of_candidate)
