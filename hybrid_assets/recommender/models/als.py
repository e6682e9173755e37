"""Implicit alternating least squares, as the library `implicit` computes it.

Belongs here: calling implicit and reading its factors. Does not: other factorisations.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, interactions
from hybrid_assets.recommender.towers import Ids, TowerPair


def implicit_als(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    threshold: float,
    factors: int,
    epochs: int,
    regularisation: float,
    confidence: float,
    liked_only: bool,
    power: float,
    seed: int,
) -> TowerPair:
    """Factors of who chose what: minimise sum over all u, i of c_ui (p_ui - U_u . V_i)^2 + l (|U|^2 + |V|^2).

    p_ui is 1 where a rating counts, else 0; the confidence c_ui is `confidence` times the rating's weight there and 1
    elsewhere. Solved exactly by Cholesky in one thread, so that the same input gives the same factors.
    Source: Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008, equation 3.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked.
        factors: d, length of the vectors.
        epochs: alternations.
        regularisation: l of the equation.
        confidence: confidence of a rating of weight 1, above 1.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.
        seed: seed of the initial factors.

    Raises:
        ValueError: as `interactions`; or a vector is not finite.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=power)
    with threadpool_limits(1, "blas"):  # implicit's own loop calls BLAS for each row
        model = AlternatingLeastSquares(
            factors=factors,
            iterations=epochs,
            regularization=regularisation,
            alpha=confidence,
            use_cg=False,
            num_threads=1,
            random_state=seed,
        )
        model.fit(data.matrix.astype(np.float32), show_progress=False)
    return TowerPair(data.user_ids, np.array(model.user_factors), data.item_ids, np.array(model.item_factors))
