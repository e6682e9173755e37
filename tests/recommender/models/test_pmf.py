"""What a PMF score means; the contract is in test_models.py."""

import numpy as np
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.pmf import pmf


def test_the_sigmoid_of_a_pmf_score_is_the_rating_between_the_lowest_and_the_highest():
    users, items, ratings = two_tastes()
    pair = pmf(users, items, ratings, factors=8, epochs=300, learning_rate=0.02, regularisation=0.001, seed=42)
    rows = {user: row for row, user in enumerate(pair.user_ids.tolist())}
    columns = {item: column for column, item in enumerate(pair.item_ids.tolist())}
    scores = (pair.user_vectors @ pair.item_vectors.T)[[rows[u] for u in users], [columns[i] for i in items]]
    predicted = 1 / (1 + np.exp(-scores))
    # one star is 0, five stars are 1
    np.testing.assert_allclose(predicted, (ratings - 1) / 4, atol=0.1)
