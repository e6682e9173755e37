"""Small real datasets for tests: the MovieLens sample, and 20 users of it with two tags of our own."""

from pathlib import Path

import polars as pl

from hybrid_assets.datasets.reading import find_table, read_movies, read_ratings
from hybrid_assets.datasets.sources import locate

USERS = 20


def sample(cache: Path) -> Path:
    """Folder of the MovieLens sample, which every install has."""
    return locate("sample", cache=cache, environment={}, on_progress=lambda done, total: None, say=print)


def write_small_dataset(folder: Path, cache: Path) -> None:
    """The 20 users of `sample` with the fewest ratings, as CSV files with MovieLens's columns."""
    source = sample(cache)
    ratings = read_ratings(find_table(source, "ratings"))
    movies = read_movies(find_table(source, "movies"))
    few = ratings.group_by("user_id").len().sort("len", "user_id").head(USERS)
    ratings = ratings.filter(pl.col("user_id").is_in(few["user_id"].implode()))
    movies = movies.filter(pl.col("movie_id").is_in(ratings["movie_id"].implode()))
    names = {"user_id": "userId", "movie_id": "movieId"}
    folder.mkdir(parents=True)
    ratings.rename(names).write_csv(folder / "ratings.csv")
    movies.rename({"movie_id": "movieId"}).write_csv(folder / "movies.csv")
    tags = pl.DataFrame(
        {"userId": [1, 2], "movieId": movies["movie_id"][:2], "tag": ["Quirky", "heist"], "timestamp": 1}
    )
    tags.write_csv(folder / "tags.csv")
