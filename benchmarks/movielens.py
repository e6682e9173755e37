"""The ratings, movies and tags that benchmarks measure on: ml-latest-small, fetched where it is not at hand.

HYBRID_ML_LATEST_SMALL names a folder that has it. Not a benchmark itself.
"""

import os

import polars as pl

from hybrid_assets.datasets.reading import find_table, read_movies, read_ratings, read_tags
from hybrid_assets.datasets.sources import locate
from hybrid_assets.environment import raw_cache


def ratings_movies_tags() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """As they were published."""
    folder = locate(
        "ml-latest-small",
        cache=raw_cache(),
        environment=os.environ,
        on_progress=lambda done, total: None,
        say=print,
    )
    ratings, movies, tags = (find_table(folder, name) for name in ("ratings", "movies", "tags"))
    assert tags
    return read_ratings(ratings), read_movies(movies), read_tags(tags, {})
