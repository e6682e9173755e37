"""Most popular: the same list for everybody, the floor for every other system.

Belongs here: counting likes. Does not: anything personal.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, check_ratings
from hybrid_assets.recommender.towers import Ids, TowerPair, first_appearance, positions


def most_popular(user_ids: Ids, item_ids: Ids, ratings: Ratings, *, threshold: float) -> TowerPair:
    """Score of a movie = how many users rated it at least `threshold`; the same for every user.

    One dimension: every user's vector is [1], an item's is [count].

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) the ratings.
        threshold: a rating of at least this counts.

    Raises:
        ValueError: there is no rating, or one is not finite.
    """
    check_ratings(ratings)
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    counts = np.bincount(positions(items, item_ids[ratings >= threshold]), minlength=len(items))
    ones = np.ones((len(users), 1), dtype=np.float32)
    return TowerPair(users, ones, items, counts[:, None].astype(np.float32))
