"""Nearest neighbours, by hand."""

import numpy as np
import pytest

from hybrid_assets.recommender.explain import closest_liked, nearest

IDS = np.array([7, 8, 9])
VECTORS = np.array([[1, 0], [3, 4], [0, 2]], dtype=np.float32)


def test_the_nearest_come_first_without_the_movie_itself():
    ids, cosines = nearest(IDS, VECTORS, 7, 5)
    assert ids.tolist() == [8, 9]
    assert cosines.tolist() == pytest.approx([3 / 5, 0])


def test_a_movie_without_a_vector_is_refused():
    with pytest.raises(ValueError, match="movie 4 has no vector"):
        nearest(IDS, VECTORS, 4, 1)


def test_each_listed_movie_gets_the_liked_ones_closest_to_it():
    assert closest_liked(IDS, VECTORS, np.array([8, 4]), np.array([7, 9, 5]), 2) == [[9, 7], []]
