"""Ratings with a planted answer: who likes what is known, so that a model or a fusion has to find it."""

import numpy as np
import polars as pl


def two_tastes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 users: even ones give movies 0-9 five stars and 10-19 one star, odd ones the reverse; 1 in 4 is unrated."""
    generator = np.random.default_rng(0)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(40), np.arange(20), indexing="ij"))
    rating = np.where((user % 2 == 0) == (item < 10), 5.0, 1.0)
    kept = generator.random(len(user)) < 0.75
    return user[kept] + 100, item[kept] + 500, rating[kept].astype(np.float32)


def tastes(users: int = 60, items: int = 60) -> pl.DataFrame:
    """Users like movies of their kind (id modulo 3) and rate some others low."""
    generator = np.random.default_rng(0)
    rows = [
        (user, item, 5.0 if user % 3 == item % 3 else 2.0, 10**9 + int(generator.integers(10**8)))
        for user in range(users)
        for item in generator.permutation(items)[:24].tolist()
    ]
    return pl.DataFrame(rows, schema=["user_id", "movie_id", "rating", "timestamp"], orient="row")


def facts(ratings: pl.DataFrame) -> pl.DataFrame:
    """Years and genres of the rated movies, which tell nothing of what `tastes` plants."""
    ids = ratings["movie_id"].unique().sort()
    return pl.DataFrame({"movie_id": ids, "year": 1990.0 + ids % 20, "genres": [f"{i % 5}|{i % 7}" for i in ids]})
