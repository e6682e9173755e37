"""Ratings as a weighted user-item matrix: what the models of implicit feedback share.

Belongs here: the check of the input, which ratings count and how much. Does not: any model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.towers import Ids, first_appearance, positions

if TYPE_CHECKING:
    from cornac.data import Dataset
    from scipy.sparse import csr_matrix

Ratings = npt.NDArray[np.float32]
# Called now and then with what is done, and of how much (None: nobody knows).
Progress: TypeAlias = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Interactions:
    """A weighted user-item matrix.

    Attributes:
        user_ids: (users,) in order of first appearance in the ratings.
        item_ids: (items,) likewise.
        matrix: (users, items) float64, one stored number a rating that counts.
    """

    user_ids: Ids
    item_ids: Ids
    matrix: "csr_matrix"


def check_ratings(ratings: Ratings) -> None:
    """Refuse what no model can be fitted on.

    Raises:
        ValueError: there is no rating, or one is not finite.
    """
    if len(ratings) == 0:
        raise ValueError("a model needs at least one rating, found none; check the train part")
    if not np.isfinite(ratings).all():
        raise ValueError("a model needs finite ratings, found NaN or infinity; check the ratings table")


def cornac_dataset(user_ids: Ids, item_ids: Ids, ratings: Ratings, seed: int) -> "Dataset":
    """The ratings as Cornac's models take them, users and items in order of first appearance.

    Raises:
        ValueError: there is no rating, or one is not finite.
    """
    from cornac.data import Dataset

    check_ratings(ratings)
    return Dataset.from_uir(list(zip(user_ids.tolist(), item_ids.tolist(), ratings.tolist(), strict=True)), seed=seed)


def interactions(
    user_ids: Ids, item_ids: Ids, ratings: Ratings, *, threshold: float, liked_only: bool, power: float
) -> Interactions:
    """Ratings as weights x_ui = (rating / threshold)^power, of all ratings or of those of at least `threshold`.

    Power 0 counts every rating as 1; a higher one tells what was liked from what was only seen, and keeps that it
    was seen. A rating below 0 counts as 0. Users and items all of whose ratings count nothing keep their place.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked and weighs at least 1; above 0 where `power` is.
        liked_only: whether ratings below the threshold weigh 0.
        power: at least 0.

    Raises:
        ValueError: there is no rating, one is not finite, or `threshold` is not above 0 and `power` is.
    """
    from scipy.sparse import csr_matrix

    check_ratings(ratings)
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
    counts = weights > 0
    rows, columns = positions(users, user_ids), positions(items, item_ids)
    matrix = csr_matrix((weights[counts], (rows[counts], columns[counts])), shape=(len(users), len(items)))
    return Interactions(users, items, matrix)


def rating_weights(ratings: Ratings, *, threshold: float, liked_only: bool, power: float) -> npt.NDArray[np.float64]:
    """The weight of each rating, as `interactions` defines it, 0 for one that does not count: (n,).

    Raises:
        ValueError: `threshold` is not above 0 and `power` is.
    """
    if power > 0 and threshold <= 0:
        raise ValueError(
            f"power = {power:g} weighs ratings by rating / relevance_threshold, which is {threshold:g}; "
            "set evaluation.relevance_threshold above 0, or power = 0"
        )
    values = ratings.astype(np.float64)
    weights = (values.clip(min=0.0) / threshold) ** power if power > 0 else np.ones(len(values))
    # in float32, as everywhere: a rating of 0.7 is one of at least 0.7
    return np.where(ratings >= np.float32(threshold), weights, 0.0) if liked_only else weights
