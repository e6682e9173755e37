"""User profiles: each user as one vector in an encoder's space, so that content is a tower pair too.

Belongs here: the two readings of the paper's equation 2, and texts without what all of them share. Does not: encoding,
fusion.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.towers import Ids, Vectors, align, positions, unit

Reading = Literal["liked", "recency"]
Weights = npt.NDArray[np.float64]


def liked_weights(ratings: npt.NDArray[np.float32], threshold: float) -> Weights:
    """Weight of each train rating in the profile: the rating where it is at least `threshold`, else 0.

    Source: the paper, equation 2 and its text ("a confidence weight based on the rating").
    """
    return np.where(ratings >= threshold, ratings, 0.0).astype(np.float64)


def recency_weights(user_ids: Ids, ratings: npt.NDArray[np.float32], timestamps: npt.NDArray[np.int64]) -> Weights:
    """Weight exp(t) * rating / 5 of each train rating, t in [0, 1] its place between the user's first and last.

    t = (timestamp - min) / (max - min) over the user's own ratings, 1 where these are equal.
    Source: the paper's published code.
    """
    _, user = np.unique(user_ids, return_inverse=True)
    first = np.full(user.max(initial=-1) + 1, np.iinfo(np.int64).max)
    last = np.full(len(first), np.iinfo(np.int64).min)
    np.minimum.at(first, user, timestamps)
    np.maximum.at(last, user, timestamps)
    span = (last - first)[user]
    t = np.where(span > 0, (timestamps - first[user]) / np.maximum(span, 1), 1.0)
    weights: Weights = (np.exp(t) * ratings / 5.0).astype(np.float64)
    return weights


def user_profiles(
    user_ids: Ids, item_ids: Ids, weights: Weights, embedded_ids: Ids, embeddings: Vectors
) -> tuple[Ids, Vectors]:
    """Profile E_u = sum_i w_ui e_i / Z_u, scaled to unit length, so that E_u . e_i is their cosine.

    Source: the paper, equation 2. The scale Z_u cancels: neither the cosine of the text nor the per-user min-max
    of the notebook depends on the length of the profile.

    Args:
        user_ids: (n,) user of each train rating.
        item_ids: (n,) movie of each train rating.
        weights: (n,) non-negative; a user whose weights are all 0 has no profile.
        embedded_ids: (m,) movies that have an embedding.
        embeddings: (m, d) unit length.

    Returns:
        Users that have a profile, ascending, and their (users, d) float32 unit vectors.

    Raises:
        ValueError: a rated movie has no embedding.
    """
    from scipy.sparse import csr_matrix

    users, user = np.unique(user_ids, return_inverse=True)
    item = positions(embedded_ids, item_ids)
    if (item < 0).any():
        lost = item_ids[item < 0][0]
        raise ValueError(f"movie {lost} is rated but has no embedding; materialize the encoder's embeddings again")
    rated, column = np.unique(item, return_inverse=True)
    matrix = csr_matrix((weights, (user, column)), shape=(len(users), len(rated)))
    sums = matrix @ embeddings[rated].astype(np.float64)
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    has_profile = length[:, 0] > 1e-12
    return users[has_profile], (sums[has_profile] / length[has_profile]).astype(np.float32)


def centred(item_ids: Ids, embeddings: Vectors, rated: Ids) -> Vectors:
    """Unit vectors of the rated films without their common direction: (len(rated), d).

    What all texts share says nothing about a user; without it cosines differ more between films.

    Args:
        item_ids: (m,) movies that have a text.
        embeddings: (m, d) unit vectors of their texts.
        rated: ids of the films that somebody rated, whose mean is taken off.

    Raises:
        ValueError: a rated film has no text.
    """
    vectors = align(item_ids, embeddings, rated, missing="refuse")
    return unit(vectors - vectors.mean(axis=0))
