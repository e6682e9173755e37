"""User profiles: both readings of the paper's equation 2, by hand and against the notebook's formula."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender.profiles import liked_weights, recency_weights, user_profiles
from hybrid_assets.recommender.tables import encoder_towers, fold_of

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


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_profiles_are_those_of_a_plain_loop_and_have_unit_length(seed):
    generator = np.random.default_rng(seed)
    embeddings = generator.normal(size=(6, 4)).astype(np.float32)
    users, items, weights = generator.integers(0, 5, 15), generator.integers(0, 6, 15), generator.random(15)
    ids, vectors = user_profiles(users, items * 10, weights, np.arange(6) * 10, embeddings)
    assert ids.tolist() == sorted(set(users.tolist()))
    for user, vector in zip(ids, vectors, strict=True):
        mean = sum(weights[row] * embeddings[items[row]] for row in np.flatnonzero(users == user))
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_nobody_with_a_profile_is_an_empty_table():
    ids, vectors = user_profiles(np.array([1, 2]), np.array([10, 20]), np.zeros(2), ITEMS, EMBEDDINGS)
    assert (ids.shape, vectors.shape) == ((0,), (0, 2))


def test_the_towers_of_an_encoder_are_those_of_one_fold_and_reading():
    profiles = pl.DataFrame(
        {
            "fold": ["train", "train", "fit"],
            "reading": ["liked", "recency", "liked"],
            "user_id": [1, 2, 3],
            "vector": np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32),
        }
    ).lazy()
    embeddings = pl.LazyFrame({"movie_id": ITEMS, "vector": EMBEDDINGS})
    for fold, reading, user in (("train", "liked", 1), ("train", "recency", 2), ("fit", "liked", 3)):
        pair = encoder_towers(profiles, embeddings, fold, reading)
        assert pair.user_ids.tolist() == [user]
        assert pair.item_ids.tolist() == ITEMS.tolist()
    nobody = encoder_towers(profiles, embeddings, "fit", "recency")
    assert nobody.user_vectors.shape == (0, 2), "nobody has a profile: still a tower pair"


def test_the_fold_fit_leaves_the_validation_part_out():
    train = pl.DataFrame({"movie_id": [1, 2, 3], "validation": [False, True, False]})
    assert fold_of(train, "train")["movie_id"].to_list() == [1, 2, 3]
    assert fold_of(train, "fit")["movie_id"].to_list() == [1, 3]
