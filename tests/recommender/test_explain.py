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
    assert closest_liked(IDS, VECTORS, np.array([8, 4]), np.array([5, 7, 9]), 2) == [[9, 7], []]


def test_a_vector_of_zeros_is_like_nothing():
    vectors = np.array([[1, 0], [0, 0], [3, 4]], dtype=np.float32)
    assert closest_liked(IDS, vectors, np.array([7, 8]), np.array([8, 9]), 2) == [[9], []]


def test_equal_cosines_stand_by_place_and_the_length_of_a_vector_is_of_no_account():
    vectors = np.array([[1, 1], [2, 0], [0, 3], [9, 9]], dtype=np.float32)
    ids, cosines = nearest(np.array([4, 3, 2, 1]), vectors, 4, 3)
    assert ids.tolist() == [1, 3, 2]
    assert cosines.tolist() == pytest.approx([1, 1 / 2**0.5, 1 / 2**0.5])


def test_at_most_k_are_given_and_never_the_movie_itself():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(12, 5)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for movie in range(12):
        others = sorted((i for i in range(12) if i != movie), key=lambda i: -(unit[i] @ unit[movie]))
        assert nearest(np.arange(12), vectors, movie, 4)[0].tolist() == others[:4]


def test_who_liked_nothing_gets_no_neighbours():
    assert closest_liked(IDS, VECTORS, np.array([8, 7]), np.array([], dtype=np.int64), 2) == [[], []]
