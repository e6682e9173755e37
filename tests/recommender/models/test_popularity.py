"""The most popular movies, by hand; the contract is in test_models.py."""

import numpy as np
from every_model import MODELS


def test_most_popular_puts_the_most_liked_first_and_counts_only_likes():
    users = np.array([1, 2, 3, 1, 2, 1, 2, 3])
    items = np.array([7, 7, 7, 8, 8, 9, 9, 9])
    ratings = np.array([4, 5, 4, 5, 5, 3.5, 1, 5], dtype=np.float32)
    pair = MODELS["most_popular"](users, items, ratings)
    assert dict(zip(pair.item_ids.tolist(), pair.item_vectors[:, 0].tolist(), strict=True)) == {7: 3, 8: 2, 9: 1}
