"""Biased matrix factorization, as Cornac computes it: predicted stars with user and item biases.

Belongs here: calling Cornac and reading its factors. Does not: other factorisations.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, cornac_dataset
from hybrid_assets.recommender.towers import Ids, TowerPair, first_appearance


def biased_mf(
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
    """Predicted rating m + b_u + b_i + U_u . V_i; the mean and the biases are two more dimensions of the vectors.

    Stochastic gradient descent in one thread, so that the same input gives the same factors.
    Source: Koren, Bell & Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer 2009,
    equations 4 and 5.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        factors: length of the vectors less two.
        epochs: passes over the ratings.
        learning_rate: step size.
        regularisation: weight of the squared norms of factors and biases.
        seed: seed of the initial factors.

    Raises:
        ValueError: there is no rating, a rating is not finite, or a vector is not (the descent diverged).
    """
    from cornac.models import MF

    model = MF(
        k=factors, max_iter=epochs, learning_rate=learning_rate, lambda_reg=regularisation, num_threads=1, seed=seed
    ).fit(cornac_dataset(user_ids, item_ids, ratings, seed))
    user_bias, item_bias = model.u_biases[:, None] + model.global_mean, model.i_biases[:, None]
    return TowerPair(
        first_appearance(user_ids),
        np.hstack([model.u_factors, user_bias, np.ones_like(user_bias)]).astype(np.float32),
        first_appearance(item_ids),
        np.hstack([model.i_factors, np.ones_like(item_bias), item_bias]).astype(np.float32),
    )
