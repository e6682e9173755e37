"""EASE: the item-item model with a closed form, as a tower pair of items or 2 x users dimensions.

Belongs here: both forms of the closed form. Does not: models that are trained step by step.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.models.interactions import Ratings, interactions
from hybrid_assets.recommender.towers import Ids, TowerPair

Matrix = npt.NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)

# The closed form holds a few float64 matrices of this side: 3.2 GB each.
LARGEST_SIDE = 20_000


def ease(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    threshold: float,
    regularisation: float,
    liked_only: bool,
    power: float,
) -> TowerPair:
    """Score of a movie = sum over the user's ratings x_uj B_ji, with B the best zero-diagonal item-item matrix.

    B = I - P diag(P)^-1, P = (X'X + l I)^-1 minimises |X - X B|^2 + l |B|^2 subject to diag(B) = 0.
    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv 1905.03375), equation 8,
    over weighted ratings (interactions.py). Exact for all movies, rated ones too: `notebook` scales by them, and a new
    movie borrows their vectors.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked.
        regularisation: l of the equation, above 0.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.

    Raises:
        ValueError: as `interactions`; or users and items are both too many for a dense inverse.
    """
    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=power)
    if min(data.matrix.shape) > LARGEST_SIDE:
        users, items = data.matrix.shape
        raise ValueError(
            f"ease inverts a dense matrix of min(users, items) = {min(users, items):,} rows, at most "
            f"{LARGEST_SIDE:,} are supported; take sequence_ease, which scores the `most_movies` most rated, or als"
        )
    weights: Matrix = data.matrix.toarray()
    form = by_users if len(data.user_ids) < len(data.item_ids) else by_items
    user_vectors, item_vectors = form(weights, regularisation)
    return TowerPair(data.user_ids, user_vectors.astype(np.float32), data.item_ids, item_vectors.astype(np.float32))


def regularised_inverse(gram: npt.NDArray[Real], regularisation: float) -> npt.NDArray[Real]:
    """(G + l I)^-1 of a symmetric, positive semi-definite G, by Cholesky: a third of the time of a general inverse.

    Args:
        gram: G, (n, n).
        regularisation: l, above 0.

    Raises:
        ValueError: l is lost in the rounding of G, so that the sum is not positive definite.
    """
    from scipy.linalg import LinAlgError, inv

    try:
        inverse: npt.NDArray[Real] = inv(
            gram + gram.dtype.type(regularisation) * np.eye(len(gram), dtype=gram.dtype),
            assume_a="pos",
            check_finite=False,
        )
    except LinAlgError as error:
        raise ValueError(
            f"regularisation = {regularisation:g} is too small beside these ratings to invert their matrix; raise it"
        ) from error
    return inverse


def by_items(weights: Matrix, regularisation: float) -> tuple[Matrix, Matrix]:
    """User vectors X and item vectors the columns of B: (users, items) and (items, items)."""
    return weights, columns_of_b(weights.T @ weights, regularisation)


def columns_of_b(gram: npt.NDArray[Real], regularisation: float) -> npt.NDArray[Real]:
    """The columns of B = I - P diag(P)^-1 as rows, P = (G + l I)^-1: (n, n), 0 on the diagonal.

    Args:
        gram: G, (n, n).
        regularisation: l, above 0.

    Raises:
        ValueError: l is lost in the rounding of G.
    """
    inverse = regularised_inverse(gram, regularisation)
    columns: npt.NDArray[Real] = -inverse / np.diag(inverse)[:, None]  # P is symmetric
    np.fill_diagonal(columns, 0.0)
    return columns


def by_users(weights: Matrix, regularisation: float) -> tuple[Matrix, Matrix]:
    """The same scores in 2 x users dimensions: (users, 2 users) and (items, 2 users).

    With K = X X', the push-through identity X P = (K + l I)^-1 X and Woodbury's
    l P_ii = 1 - x_i' (K + l I)^-1 x_i give
    (X B)_ui = x_ui - [(K + l I)^-1 X]_ui / P_ii. The second term, all there is where a movie is unrated, is the product
    of a row of -l (K + l I)^-1 and the column x_i / (l P_ii): the second half of the dimensions. The first half, u's
    unit vector and the column x_i, adds x_ui. They are kept apart for fold-in, which has no row of X to name.
    """
    inverse = regularised_inverse(weights @ weights.T, regularisation)
    scaled_diagonal = 1.0 - np.einsum("ui,ui->i", weights, inverse @ weights)
    user_vectors: Matrix = np.hstack([np.eye(len(weights)), -regularisation * inverse])
    item_vectors: Matrix = np.vstack([weights, weights / scaled_diagonal]).T
    return user_vectors, item_vectors
