"""Probabilistic Matrix Factorization, the paper's collaborative branch, as Cornac computes it.

Belongs here: calling Cornac and reading its factors. Does not: other factorisations.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, cornac_dataset
from hybrid_assets.recommender.towers import Ids, TowerPair, first_appearance


def pmf(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    factors: int,
    epochs: int,
    learning_rate: float,
    regularisation: float,
    seed: int,
) -> TowerPair:
    """Probabilistic Matrix Factorization: minimise sum (r'_ui - sigmoid(U_u . V_i))^2 + l (|U|^2 + |V|^2).

    r' is the rating scaled to [0, 1] between the lowest and the highest of the input, so that the sigmoid of the
    score U_u . V_i is the predicted r'. Cornac's implementation (its default variant, "non_linear"), stochastic
    gradient descent over the rows in the order given.
    Source: Salakhutdinov & Mnih, "Probabilistic Matrix Factorization", NIPS 2007, equation 4 with the logistic mean
    of equation 5; the paper's equation 1, whose text leaves the sigmoid out.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        factors: d, length of the vectors.
        epochs: passes over the ratings.
        learning_rate: step size.
        regularisation: l of the equation.
        seed: seed of the initial factors.

    Raises:
        ValueError: there is no rating, a rating is not finite, or a vector is not (the descent diverged).
    """
    from cornac.models import PMF

    model = PMF(k=factors, max_iter=epochs, learning_rate=learning_rate, lambda_reg=regularisation, seed=seed).fit(
        cornac_dataset(user_ids, item_ids, ratings, seed)
    )
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    return TowerPair(users, model.U.astype(np.float32), items, model.V.astype(np.float32))
