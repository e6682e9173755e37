"""What a biased MF score means; the contract is in test_models.py."""

import numpy as np
from every_model import MODELS
from planted_ratings import two_tastes


def test_biased_mf_predicts_the_stars():
    users, items, ratings = two_tastes()
    pair = MODELS["biased_mf"](users, items, ratings)
    rows = {user: row for row, user in enumerate(pair.user_ids.tolist())}
    columns = {item: column for column, item in enumerate(pair.item_ids.tolist())}
    scores = (pair.user_vectors @ pair.item_vectors.T)[[rows[u] for u in users], [columns[i] for i in items]]
    np.testing.assert_allclose(scores, ratings, atol=0.5)
