"""EASE over what users rated close together: the item-item model with a closed form, told when ratings were made.

Belongs here: that closed form. Does not: EASE without an order (ease.py), models trained on sequences (sequences.py).
"""

from collections.abc import Callable

import numpy as np

from hybrid_assets.recommender.models.ease import LARGEST_SIDE, columns_of_b
from hybrid_assets.recommender.models.interactions import Ratings, check_ratings, rating_weights
from hybrid_assets.recommender.towers import Ids, Index, TowerPair, Values, Vectors, first_appearance, positions

YEAR_SECONDS = 365.25 * 86400


def sequence_ease(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    timestamps: Ids,
    threshold: float,
    regularisation: float,
    decay: float,
    most_movies: int,
    liked_only: bool,
    power: float,
    arrival_weight: float,
    arrival_width: float,
    also: Callable[[Ids], Vectors] | None = None,
) -> TowerPair:
    """Score of a movie = sum over the user's ratings x_uj B_ji; two movies count together as they were rated close.

    B = I - P diag(P)^-1, P = (G + A + l I)^-1, G_ij = sum over users x_ui x_uj exp(-|p_ui - p_uj| / decay), with p the
    place of a rating in the order of time among the user's ratings of scored movies, the mean of their places where
    times are equal. A_ij = sqrt(G_ii G_jj) arrival_weight exp(-|a_i - a_j| / arrival_width), a when a movie was first
    rated: what came at about the same time counts as if it had been rated together, more where both are rated more.
    Without A, and with an infinite decay or where all times are equal, G is X'X and this is EASE. G and A are positive
    semi-definite: so are X'X and the kernels, and so are products entry by entry (Schur). All but the `most_movies`
    most rated have the zero vector: the inverse costs the cube of their number. The times of train ratings are used,
    and nothing of what was held out between them.
    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019 (arXiv 1905.03375), equation 8,
    with G + A in place of X'X.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        timestamps: (n,) when, in Unix seconds.
        threshold: a rating of at least this is liked.
        regularisation: l of the equation, above 0.
        decay: places over which the kernel falls by a factor e, above 0.
        most_movies: how many movies are scored, at most LARGEST_SIDE.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.
        arrival_weight: of movies that were first rated at about the same time, at least 0.
        arrival_width: years over which that falls by a factor e, above 0.
        also: ids of the scored movies -> what else they are alike in (text_ease.py), which counts as A's kernel does.

    Raises:
        ValueError: as `interactions`; or more movies are to be scored than a dense inverse is supported for.
    """
    check_ratings(ratings)
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    row, column = positions(users, user_ids), positions(items, item_ids)
    kept = most_rated(column, most_movies)
    if len(kept) > LARGEST_SIDE:
        raise ValueError(
            f"sequence_ease inverts a dense matrix of most_movies = {most_movies:,} rows, at most {LARGEST_SIDE:,} are "
            "supported; lower it"
        )
    weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
    place = positions(kept, column)
    order = np.lexsort((timestamps, row))
    order = order[place[order] >= 0]
    when = _places(row[order], timestamps[order])
    gram = _gram(row[order], place[order], weights[order], when, len(kept), decay)
    alike = np.float32(arrival_weight) * near(_first_rated(place, timestamps, len(kept)), arrival_width)
    if also:
        alike += also(items[kept])
    often = np.sqrt(np.diag(gram))
    gram += alike * np.outer(often, often)
    user_vectors = np.zeros((len(users), len(kept)), dtype=np.float32)
    user_vectors[row[order], place[order]] = weights[order]
    item_vectors = np.zeros((len(items), len(kept)), dtype=np.float32)
    item_vectors[kept] = columns_of_b(gram, regularisation)
    return TowerPair(users, user_vectors, items, item_vectors)


def most_rated(items: Index, most: int) -> Index:
    """Indices of the `most` items that occur most often, ascending; of equally frequent ones the first."""
    return np.sort(np.argsort(-np.bincount(items), kind="stable")[:most])


def near(years: Values, width: float) -> Vectors:
    """exp(-|difference| / width) of each two; 0 where one of them is not known."""
    of_each = years.astype(np.float32)
    kernel: Vectors = of_each[:, None] - of_each
    np.abs(kernel, out=kernel)
    kernel /= np.float32(-width)
    np.exp(kernel, out=kernel)
    unknown = np.isnan(of_each)
    kernel[unknown], kernel[:, unknown] = 0.0, 0.0
    return kernel


def _first_rated(items: Index, timestamps: Ids, item_count: int) -> Values:
    """When each item was first rated, in years from the first of all ratings; those of item -1 do not count."""
    first = np.full(item_count, np.inf)
    np.minimum.at(first, items[items >= 0], (timestamps - timestamps.min())[items >= 0])
    return first / YEAR_SECONDS


def _places(users: Index, times: Ids) -> Values:
    """Place of each of some ratings that stand by user and time, equal ones at the mean of their places: (n,)."""
    first = np.flatnonzero(np.append(True, (np.diff(users) != 0) | (np.diff(times) != 0)))
    count = np.diff(np.append(first, len(users)))
    return np.repeat(first + (count - 1) / 2, count)


def _gram(users: Index, items: Index, weights: Values, places: Values, item_count: int, decay: float) -> Vectors:
    """G of `sequence_ease`, (items, items), of ratings that stand by user."""
    gram: Vectors = np.zeros(item_count * item_count, dtype=np.float32)
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    for start, stop in zip(starts, np.append(starts[1:], len(users)), strict=True):
        place = (places[start:stop] - start).astype(np.float32)
        near = np.exp(-np.abs(place[:, None] - place) / np.float32(decay))
        own, weight = items[start:stop], weights[start:stop].astype(np.float32)
        # one index in place of two takes two thirds of the time
        gram[(own[:, None] * item_count + own).ravel()] += (near * np.outer(weight, weight)).ravel()
    return gram.reshape(item_count, item_count)
