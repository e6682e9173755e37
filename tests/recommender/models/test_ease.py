"""EASE against its paper's listing, in both of its forms; the contract is in test_models.py."""

import numpy as np
import pytest
from every_model import MODELS
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.ease import by_items, by_users


def random_weights(users: int, items: int) -> np.ndarray:
    generator = np.random.default_rng(7)
    return (generator.random((users, items)) < 0.4) * generator.choice([0.25, 1.0, 1.5], (users, items))


@pytest.mark.parametrize(("users", "items"), [(12, 30), (30, 12)])
def test_both_forms_of_ease_give_the_scores_of_the_papers_listing(users, items):
    weights, regularisation = random_weights(users, items), 3.0
    # Steck 2019, algorithm 1, as printed
    gram = weights.T @ weights
    diagonal = np.diag_indices(items)
    gram[diagonal] += regularisation
    inverse = np.linalg.inv(gram)
    expected = inverse / (-np.diag(inverse))
    expected[diagonal] = 0
    scores = weights @ expected
    for form in (by_items, by_users):
        user_vectors, item_vectors = form(weights, regularisation)
        # of rated movies too
        np.testing.assert_allclose(user_vectors @ item_vectors.T, scores, atol=1e-12)


@pytest.mark.parametrize("swap", [False, True])
def test_ease_inverts_the_smaller_matrix(swap):
    users, items, ratings = two_tastes()
    if swap:
        users, items = items, users
    vectors = MODELS["ease"](users, items, ratings).user_vectors
    assert vectors.shape[1] == (2 * 20 if swap else 20)
    assert np.array_equal(vectors[:, :20], np.eye(20)) == swap


def test_a_regularisation_that_is_lost_in_rounding_is_refused():
    same = np.full((1, 2), 2.0)
    with pytest.raises(ValueError, match="regularisation = 1e-30 is too small"):
        by_items(same, 1e-30)
