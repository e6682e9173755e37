"""EASE over what users rated close together: the item-item model with a closed form, told the order of the ratings.

Belongs here: that closed form. Does not: EASE without an order (ease.py), models trained on sequences (sequences.py).
"""

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.models.ease import LARGEST_SIDE
from hybrid_assets.recommender.models.interactions import Ratings, check_ratings, first_appearance, rating_weights
from hybrid_assets.recommender.models.sequences import Index
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, positions


def sequence_ease(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    timestamps: Ids,
    threshold: float,
    regularisation: float,
    decay: float,
    fewest_ratings: int,
    liked_only: bool,
    power: float,
) -> TowerPair:
    """Score of a movie = sum over the user's ratings x_uj B_ji; two movies count together as they were rated close.

    B = I - P diag(P)^-1, P = (G + l I)^-1, G_ij = sum over users x_ui x_uj exp(-|p_ui - p_uj| / decay), with p the
    place of a rating in the user's order of time, by row where times are equal. With an infinite decay G is X'X and
    this is EASE. G is positive semi-definite: so are X'X and the kernel, and so is their product entry by entry
    (Schur). Movies of fewer than `fewest_ratings` ratings have the zero vector: the inverse costs the cube of the rest.
    The order among train ratings is used, and nothing of what was held out between them.
    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv 1905.03375), equation 8,
    with that G in place of X'X.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        timestamps: (n,) when, in Unix seconds.
        threshold: a rating of at least this is liked.
        regularisation: l of the equation, above 0.
        decay: places over which the kernel falls by a factor e, above 0.
        fewest_ratings: movies with fewer are not scored.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.

    Raises:
        ValueError: as `interactions`; or movies are too many for a dense inverse.
    """
    check_ratings(ratings)
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    row, column = positions(users, user_ids), positions(items, item_ids)
    kept = enough_ratings(column, fewest_ratings)
    if len(kept) > LARGEST_SIDE:
        raise ValueError(
            f"sequence_ease inverts a dense matrix of {len(kept):,} movies with at least {fewest_ratings} ratings, at "
            f"most {LARGEST_SIDE:,} are supported; raise fewest_ratings"
        )
    weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
    place = positions(kept, column)
    order = np.lexsort((timestamps, row))
    order = order[place[order] >= 0]
    gram = _gram(row[order], place[order], weights[order], len(kept), decay)
    inverse = np.linalg.inv(gram + regularisation * np.eye(len(kept), dtype=np.float32))
    # row j of the product below is column j of I - P diag(P)^-1, as P is symmetric
    towers = -inverse / np.diag(inverse)[:, None]
    np.fill_diagonal(towers, 0.0)
    user_vectors = np.zeros((len(users), len(kept)), dtype=np.float32)
    user_vectors[row[order], place[order]] = weights[order]
    item_vectors = np.zeros((len(items), len(kept)), dtype=np.float32)
    item_vectors[kept] = towers
    return TowerPair(users, user_vectors, items, item_vectors)


def enough_ratings(items: Index, fewest: int) -> Index:
    """Indices of the items that occur at least `fewest` times, ascending; all of them where none does."""
    counts = np.bincount(items)
    kept = np.flatnonzero(counts >= fewest)
    return kept if len(kept) else np.arange(len(counts))


def _gram(users: Index, items: Index, weights: npt.NDArray[np.float64], item_count: int, decay: float) -> Vectors:
    """G of `sequence_ease`, (items, items), of ratings that stand by user and time."""
    gram: Vectors = np.zeros((item_count, item_count), dtype=np.float32)
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    for start, stop in zip(starts, np.append(starts[1:], len(users)), strict=True):
        place = np.arange(stop - start, dtype=np.float32)
        near = np.exp(-np.abs(place[:, None] - place) / np.float32(decay))
        own, weight = items[start:stop], weights[start:stop].astype(np.float32)
        gram[np.ix_(own, own)] += near * np.outer(weight, weight)
    return gram
