"""Neighbourhood models: what similar users chose, and movies like those the user chose.

Belongs here: item-kNN and user-kNN by cosine. Does not: learned similarities (ease.py).
"""

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.models.interactions import Ratings, interactions
from hybrid_assets.recommender.towers import Ids, TowerPair

Matrix = npt.NDArray[np.float64]

# The item-item table of item_knn is dense: 1.6 GB in float32 at this many items.
MOST_ITEMS = 20_000


def item_knn(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    threshold: float,
    neighbours: int,
    liked_only: bool,
    power: float,
) -> TowerPair:
    """Score of a movie = sum over the user's ratings x_uj of cos(x_j, x_i), where j is among i's nearest movies.

    Tower pair of as many dimensions as items: a user's row of weights, and each item's row of the item-item table.
    Source: Deshpande & Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked.
        neighbours: how many nearest movies of a movie count, ties with the last of them too.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.

    Raises:
        ValueError: as `interactions`; or there are too many items for a dense table.
    """
    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=power)
    if len(data.item_ids) > MOST_ITEMS:
        raise ValueError(
            f"item_knn holds a dense item-item table, at most {MOST_ITEMS:,} items are supported and there are "
            f"{len(data.item_ids):,}; take sequence_ease, which scores the `most_movies` most rated, or als"
        )
    weights: Matrix = data.matrix.toarray()
    table = _nearest_cosines(weights.T, neighbours)
    return TowerPair(data.user_ids, weights.astype(np.float32), data.item_ids, table.astype(np.float32))


def user_knn(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    threshold: float,
    neighbours: int,
    liked_only: bool,
    power: float,
) -> TowerPair:
    """Score of a movie = sum of cos(x_u, x_v) x_vi over the users v nearest to u.

    Tower pair of as many dimensions as users: a user's cosines to the neighbours, and each item's column of weights.
    Source: Herlocker et al., "An algorithmic framework for performing collaborative filtering", SIGIR 1999.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked.
        neighbours: how many nearest users count, ties with the last of them too.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.

    Raises:
        ValueError: as `interactions`; or there are too many users for a dense table.
    """
    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=power)
    if len(data.user_ids) > MOST_ITEMS:
        raise ValueError(
            f"user_knn holds a dense user-user table, at most {MOST_ITEMS:,} users are supported and there are "
            f"{len(data.user_ids):,}; take als"
        )
    weights: Matrix = data.matrix.toarray()
    table = _nearest_cosines(weights, neighbours)
    return TowerPair(data.user_ids, table.astype(np.float32), data.item_ids, weights.T.astype(np.float32))


def _nearest_cosines(rows: Matrix, neighbours: int) -> Matrix:
    """Cosine of each row to its nearest other rows, 0 to all others: (rows, rows)."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.where(length > 0, length, 1.0)
    cosine: Matrix = unit @ unit.T
    np.fill_diagonal(cosine, 0.0)
    if neighbours < len(rows):
        last = np.partition(cosine, -neighbours, axis=1)[:, -neighbours, None]
        cosine[cosine < last] = 0.0
    return cosine
