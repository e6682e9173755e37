"""Bayesian Personalized Ranking, as Cornac computes it.

Belongs here: calling Cornac and reading its factors. Does not: other factorisations.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, cornac_dataset
from hybrid_assets.recommender.towers import Ids, TowerPair, first_appearance


def bpr(
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
    """Factors that rank: maximise sum of ln sigmoid(x_ui - x_uj) - l |W|^2 over rated i and unrated j.

    x_ui = U_u . V_i + b_i, so the vectors have one dimension more than `factors`: the user's is 1, the item's b_i.
    Every rating counts alike. One thread, so that the same input gives the same factors.
    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        factors: length of the vectors less one.
        epochs: passes; each draws as many triples as there are ratings.
        learning_rate: step size.
        regularisation: l of the equation.
        seed: seed of the initial factors and of the draws.

    Raises:
        ValueError: there is no rating, a rating is not finite, or a vector is not (the descent diverged).
    """
    from cornac.models import BPR

    model = BPR(
        k=factors, max_iter=epochs, learning_rate=learning_rate, lambda_reg=regularisation, num_threads=1, seed=seed
    ).fit(cornac_dataset(user_ids, item_ids, ratings, seed))
    ones = np.ones((len(model.u_factors), 1))
    return TowerPair(
        first_appearance(user_ids),
        np.hstack([model.u_factors, ones]).astype(np.float32),
        first_appearance(item_ids),
        np.hstack([model.i_factors, model.i_biases[:, None]]).astype(np.float32),
    )
