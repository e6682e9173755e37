"""User-kNN and item-kNN, by hand; the contract is in test_models.py."""

import numpy as np
import pytest

from hybrid_assets.recommender.models.neighbours import item_knn, user_knn


def test_neighbours_are_those_of_the_highest_cosine():
    # users 1 and 2 agree on both films, user 3 shares one with them; user 3 alone brings film 30
    users, items = np.array([1, 1, 2, 2, 2, 3, 3]), np.array([10, 20, 10, 20, 40, 10, 30])
    ratings = np.full(7, 5.0, dtype=np.float32)
    alike = {"threshold": 4.0, "liked_only": False, "power": 0.0}
    pair = user_knn(users, items, ratings, neighbours=1, **alike)
    scores = dict(zip(pair.item_ids.tolist(), (pair.user_vectors @ pair.item_vectors.T)[0].tolist(), strict=True))
    assert scores == pytest.approx({10: 2 / 6**0.5, 20: 2 / 6**0.5, 40: 2 / 6**0.5, 30: 0.0})
    pair = item_knn(users, items, ratings, neighbours=3, **alike)
    scores = dict(zip(pair.item_ids.tolist(), (pair.user_vectors @ pair.item_vectors.T)[0].tolist(), strict=True))
    # cos(40, 10) + cos(40, 20) and cos(30, 10) + cos(30, 20)
    assert (scores[40], scores[30]) == pytest.approx((1 / 3**0.5 + 1 / 2**0.5, 1 / 3**0.5))
