"""Genres as shares of each movie."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.genres import genre_shares

MOVIES = pl.DataFrame({"movie_id": [5, 1, 9, 7], "genres": ["Drama|Comedy", "Drama", "", "(no genres listed)"]})


def test_each_movie_has_its_genres_alike_and_none_is_a_genre():
    # columns in the order of the names: (no genres listed), Comedy, Drama
    shares = genre_shares(MOVIES, np.array([1, 5, 7, 9]))
    assert shares.tolist() == [[0, 0, 1], [0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]


def test_a_movie_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="movie 4 is not in movies"):
        genre_shares(MOVIES, np.array([1, 4]))
