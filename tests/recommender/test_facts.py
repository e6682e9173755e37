"""Years read from titles, genres as shares of each movie."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.facts import film_facts, genre_shares

MOVIES = pl.DataFrame({"movie_id": [5, 1, 9, 7], "genres": ["Drama|Comedy", "Drama", "", "(no genres listed)"]})


def test_each_movie_has_its_genres_alike_and_none_is_a_genre():
    # columns in the order of the names: (no genres listed), Comedy, Drama
    shares = genre_shares(MOVIES, np.array([1, 5, 7, 9]))
    assert shares.tolist() == [[0, 0, 1], [0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]


def test_a_movie_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="movie 4 is not in movies"):
        genre_shares(MOVIES, np.array([1, 4]))


def test_years_are_read_from_titles():
    movies = pl.DataFrame(
        {"movie_id": range(5), "title": ["A (1999)", "B (1999) ", "(500) Days", "1984", None], "genres": None}
    )
    assert film_facts(movies)["year"].to_list() == [1999.0, 1999.0, None, None, None]
