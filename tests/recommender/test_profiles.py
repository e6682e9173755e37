"""User profiles: both readings of the paper's equation 2, by hand and against the notebook's formula."""

import math

import numpy as np
import pytest

from hybrid_assets.recommender.profiles import liked_weights, recency_weights, user_profiles

ITEMS = np.array([10, 20, 30])
EMBEDDINGS = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)


def test_liked_weights_are_the_ratings_from_the_threshold_on():
    assert liked_weights(np.array([3.5, 4.0, 5.0], dtype=np.float32), 4.0).tolist() == [0, 4, 5]


def test_recency_weights_by_hand():
    users = np.array([1, 2, 1, 1])
    ratings = np.array([5, 4, 2.5, 5], dtype=np.float32)
    weights = recency_weights(users, ratings, np.array([100, 7, 150, 200]))
    # user 1: t = 0, 1/2, 1; user 2 has one rating: t = 1
    assert weights == pytest.approx([1.0, math.e * 4 / 5, math.exp(1 / 2) / 2, math.e])


def test_a_profile_is_the_weighted_mean_at_unit_length():
    users = np.array([2, 1, 1])
    ids, vectors = user_profiles(users, np.array([30, 10, 20]), np.array([4.0, 3.0, 4.0]), ITEMS, EMBEDDINGS)
    assert ids.tolist() == [1, 2]
    # (3 * [1, 0] + 4 * [0, 1]) / 5
    np.testing.assert_allclose(vectors, [[3 / 5, 4 / 5], [0.6, 0.8]], atol=1e-7)
    assert vectors.dtype == np.float32


def test_a_user_who_liked_nothing_has_no_profile():
    ids, vectors = user_profiles(np.array([1, 2]), np.array([10, 20]), np.array([0.0, 5.0]), ITEMS, EMBEDDINGS)
    assert ids.tolist() == [2]
    assert vectors.shape == (1, 2)


def test_a_rated_movie_without_an_embedding_is_named():
    with pytest.raises(ValueError, match="movie 99 is rated but has no embedding"):
        user_profiles(np.array([1]), np.array([99]), np.array([4.0]), ITEMS, EMBEDDINGS)


def test_the_unit_profile_gives_the_notebooks_min_max_scores():
    generator = np.random.default_rng(0)
    embeddings = generator.normal(size=(40, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    items, weights = np.arange(12), generator.random(12) + 0.1
    notebook = (weights @ (embeddings[items] @ embeddings.T)) / weights.sum()
    _, profile = user_profiles(np.zeros(12, dtype=int), items, weights, np.arange(40), embeddings)
    ours = profile[0] @ embeddings.T

    def scaled(scores):
        return (scores - scores.min()) / (scores.max() - scores.min())

    np.testing.assert_allclose(scaled(ours), scaled(notebook), atol=1e-5)
