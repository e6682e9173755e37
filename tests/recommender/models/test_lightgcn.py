"""LightGCN's propagation, by hand; the contract is in test_models.py."""

import numpy as np
from every_model import pairwise

from hybrid_assets.recommender.models.lightgcn import lightgcn


def test_lightgcn_without_layers_is_plain_factorization_and_layers_mix_neighbours():
    users, items = np.array([1, 1, 2]), np.array([5, 6, 6])
    ratings = np.full(3, 5.0, dtype=np.float32)
    # a step that changes nothing: what is left is the propagation of the initial factors
    still = {**pairwise, "learning_rate": 1e-12, "epochs": 1, "factors": 3}
    own, mixed = (lightgcn(users, items, ratings, layers=layers, **still) for layers in (0, 1))
    adjacent = np.array([[1.0, 1.0], [0.0, 1.0]])  # users 1, 2 and movies 5, 6
    strength = adjacent / np.sqrt(np.outer(adjacent.sum(axis=1), adjacent.sum(axis=0)))
    np.testing.assert_allclose(
        mixed.user_vectors, (own.user_vectors + strength @ own.item_vectors) / 2, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        mixed.item_vectors, (own.item_vectors + strength.T @ own.user_vectors) / 2, rtol=1e-5, atol=1e-7
    )
