"""The paper's qualitative illustration: three users, what they liked and what each system lists for them.

Belongs here: choosing the users and gathering the titles. Does not: how they are shown (page.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

# The user of the paper's section V-B: "dark psychological dramas and crime thrillers".
PAPER_LIKES = ("Donnie Darko (2001)", "Godfather: Part II, The (1974)", "Heat (1995)", "Requiem for a Dream (2000)")
LIKED_SHOWN = 10
LISTED_SHOWN = 10


@dataclass(frozen=True)
class Illustration:
    """One user of the qualitative illustration.

    Attributes:
        user_id: the user.
        reason: why this user was chosen, a sentence.
        train_ratings: how many ratings the user has in train.
        relevant: how many relevant movies the user has in test (rated at least the threshold and present in train).
        liked: title String, rating Float32: the user's favourites in train, best first, then the most recent.
        listed: system -> rank UInt32, title String, relevant Boolean: the top of its list.
    """

    user_id: int
    reason: str
    train_ratings: int
    relevant: int
    liked: pl.DataFrame
    listed: Mapping[str, pl.DataFrame]


def illustrate(
    train_ratings: pl.DataFrame,
    test_ratings: pl.DataFrame,
    movies: pl.DataFrame,
    scores: Mapping[str, pl.DataFrame],
    *,
    relevance_threshold: float,
) -> list[Illustration]:
    """Three users and the top 10 that each system (name -> its scores table) lists for them.

    Chosen among the users with a relevant test movie, no user twice, ties to the lowest user id: the one who likes
    most of the four movies that the paper names (then the one with the fewest train ratings, whose taste they say most
    about), or, where nobody likes any, the one with the most train ratings; the one with the fewest train ratings;
    the one nearest to the median number. Fewer than three where the data has fewer such users. A movie that `movies`
    lacks is shown by its id.
    """
    relevant = _relevant(train_ratings, test_ratings, relevance_threshold)
    counts = train_ratings.group_by("user_id").agg(pl.len().alias("train_ratings"))
    illustrations = []
    for user_id, reason in _choose(train_ratings, relevant, counts, movies, relevance_threshold):
        relevant_movies = relevant.filter(pl.col("user_id") == user_id)["movie_id"]
        of_user = train_ratings.filter(pl.col("user_id") == user_id)
        liked = (
            _titled(of_user, movies)
            .sort("rating", "timestamp", "movie_id", descending=[True, True, False])
            .select("title", "rating")
            .head(LIKED_SHOWN)
        )
        listed = {
            system: _titled(table.filter(pl.col("user_id") == user_id).sort("rank").head(LISTED_SHOWN), movies).select(
                "rank", "title", pl.col("movie_id").is_in(relevant_movies.implode()).alias("relevant")
            )
            for system, table in scores.items()
        }
        illustrations.append(Illustration(user_id, reason, of_user.height, len(relevant_movies), liked, listed))
    return illustrations


def _relevant(train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, relevance_threshold: float) -> pl.DataFrame:
    """user_id, movie_id of the test ratings that can be hit: high enough, and of a movie that train knows."""
    return (
        test_ratings.filter(pl.col("rating") >= relevance_threshold)
        .join(train_ratings.select("movie_id").unique(), on="movie_id", how="semi")
        .select("user_id", "movie_id")
    )


def _choose(
    train_ratings: pl.DataFrame,
    relevant: pl.DataFrame,
    counts: pl.DataFrame,
    movies: pl.DataFrame,
    relevance_threshold: float,
) -> list[tuple[int, str]]:
    candidates = counts.join(relevant.select("user_id").unique(), on="user_id", how="semi")
    if candidates.is_empty():
        return []
    # Some editions of MovieLens keep the year in a column of its own.
    without_year = [title.rsplit(" (", 1)[0] for title in PAPER_LIKES]
    named = movies.filter(pl.col("title").is_in([*PAPER_LIKES, *without_year])).select("movie_id", "title")
    matches = (
        train_ratings.filter(pl.col("rating") >= relevance_threshold)
        .join(named, on="movie_id")
        .group_by("user_id")
        .agg(pl.col("title").unique().sort())
    )
    by_match = candidates.join(matches, on="user_id", how="left").with_columns(
        pl.col("title").list.len().fill_null(0).alias("matches")
    )
    first = by_match.sort("matches", "train_ratings", "user_id", descending=[True, False, False]).row(0, named=True)
    if first["matches"]:
        likes = f"{first['matches']} of the {len(PAPER_LIKES)} movies that the paper's example names"
        chosen = [(first["user_id"], f"Likes {likes}: {'; '.join(first['title'])}.")]
    else:
        busiest = candidates.sort("train_ratings", "user_id", descending=[True, False]).row(0, named=True)
        reason = "The most ratings in train. Nobody here likes any of the movies that the paper's example names."
        chosen = [(busiest["user_id"], reason)]
    rest = candidates.filter(pl.col("user_id") != chosen[0][0]).sort("train_ratings", "user_id")
    if rest.height:
        chosen.append((rest["user_id"][0], "The fewest ratings in train among users with a relevant test movie."))
    if rest.height > 1:
        from_median = (pl.col("train_ratings") - candidates["train_ratings"].median()).abs()
        typical = rest[1:].sort(from_median, "train_ratings", "user_id")["user_id"][0]
        chosen.append((typical, "Nearest to the median number of ratings in train."))
    return chosen


def _titled(table: pl.DataFrame, movies: pl.DataFrame) -> pl.DataFrame:
    """The table with each movie's title, in the table's order."""
    titled = table.join(
        movies.select("movie_id", "title").unique("movie_id", keep="first", maintain_order=True),
        on="movie_id",
        how="left",
        maintain_order="left",
    )
    return titled.with_columns(pl.col("title").fill_null(pl.format("movie {}", "movie_id")))
