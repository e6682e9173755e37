"""EASE that has read the texts: by hand, against sequence_ease, and what texts are for; its contract is in
test_models.py."""

import numpy as np
import pytest
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.models.text_ease import text_ease

ORDERED = {"threshold": 4.0, "liked_only": False, "power": 1.0, "most_movies": 50, "decay": 2.0}
ORTHOGONAL = np.eye(3, dtype=np.float32)


def test_texts_add_to_what_was_rated_together_by_hand():
    # one user liked 7, 8 and 9 one after the other; their texts are 120 degrees apart once their mean is taken off
    found = text_ease(
        np.ones(3, np.int64), np.array([7, 8, 9]), np.full(3, 4.0, np.float32), timestamps=np.arange(3),
        embeddings=(np.array([9, 8, 7]), ORTHOGONAL), regularisation=0.5, text_weight=0.4, text_width=0.5, **ORDERED,
    )  # fmt: skip
    e, alike = np.exp(-0.5), np.exp((-0.5 - 1) / 0.5)
    rated = np.array([[1, e, e * e], [e, 1, e], [e * e, e, 1]])
    texts = np.where(np.eye(3) == 1, 1.0, alike)
    inverse = np.linalg.inv(rated + 0.4 * texts + 0.5 * np.eye(3))
    weights = np.eye(3) - inverse / np.diag(inverse)
    np.testing.assert_allclose(found.user_vectors @ found.item_vectors.T, [weights.sum(axis=0)], rtol=1e-4)


def test_without_weight_it_is_sequence_ease():
    users, items, ratings = two_tastes()
    known = {"timestamps": np.random.default_rng(1).permutation(len(users)), "regularisation": 50.0, **ORDERED}
    texts = (np.unique(items), np.random.default_rng(2).normal(size=(20, 6)).astype(np.float32))
    found = text_ease(users, items, ratings, embeddings=texts, text_weight=0.0, text_width=0.5, **known)
    plain = sequence_ease(users, items, ratings, **known)
    np.testing.assert_array_equal(found.item_vectors, plain.item_vectors)


def test_a_movie_that_hardly_anybody_rated_is_found_by_its_text():
    """Movie 7 reads like 0 and 1, 8 like 2 and 3; one user rated both, and so their ratings tell nothing apart."""
    users = np.repeat(np.arange(41), [2] * 40 + [2])
    items = np.array([pair for user in range(40) for pair in ((0, 1) if user % 2 == 0 else (2, 3))] + [7, 8])
    ratings, times = np.full(len(users), 5.0, np.float32), np.zeros(len(users), np.int64)
    texts = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
    known = {"timestamps": times, "regularisation": 1.0, **ORDERED}
    plain = sequence_ease(users, items, ratings, **known)
    read = text_ease(
        users,
        items,
        ratings,
        embeddings=(np.array([0, 1, 2, 3, 7, 8]), texts),
        text_weight=0.5,
        text_width=0.3,
        **known,
    )
    assert plain.item_ids.tolist() == read.item_ids.tolist() == [0, 1, 2, 3, 7, 8]
    apart = [pair.user_vectors[0] @ (pair.item_vectors[4] - pair.item_vectors[5]) for pair in (plain, read)]
    assert apart[0] == pytest.approx(0.0, abs=1e-6)
    assert apart[1] > 0.01


def test_a_scored_movie_without_a_text_is_refused():
    users, items, ratings = two_tastes()
    with pytest.raises(ValueError, match="id 519 has no vector"):
        text_ease(
            users, items, ratings, timestamps=np.arange(len(users)), text_weight=0.5, text_width=0.5,
            embeddings=(np.arange(500, 519), np.ones((19, 2), np.float32)), regularisation=50.0, **ORDERED,
        )  # fmt: skip


def test_texts_count_as_much_more_as_both_movies_are_rated_by_hand():
    # movie 7 has three ratings, 8 and 9 one each; without their mean the texts are 120 degrees apart; that of 7 counts
    # by the root of three
    users, items = np.array([1, 2, 3, 4, 5]), np.array([7, 7, 7, 8, 9])
    found = text_ease(
        users,
        items,
        np.full(5, 4.0, np.float32),
        timestamps=np.arange(5),
        embeddings=(np.array([9, 8, 7]), ORTHOGONAL),
        regularisation=0.5,
        text_weight=0.4,
        text_width=0.5,
        **ORDERED,
    )
    alike = np.exp((-0.5 - 1) / 0.5)
    often = np.sqrt([3, 1, 1])
    gram = np.diag([3.0, 1, 1]) + 0.4 * np.where(np.eye(3) == 1, 1.0, alike) * np.outer(often, often)
    inverse = np.linalg.inv(gram + 0.5 * np.eye(3))
    np.testing.assert_allclose(found.item_vectors, (np.eye(3) - inverse / np.diag(inverse)).T, atol=1e-5)
