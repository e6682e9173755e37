"""Collaborative models: ratings to tower pairs.

Belongs here: one function a model, arrays in and a `TowerPair` out. Does not: fusion, ranking, or Dagster.
To add a model, write such a function here, its settings in catalog.py, and its line in assets/factors.py.
"""

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.towers import Ids, TowerPair

Ratings = npt.NDArray[np.float32]


def first_appearance(ids: Ids) -> Ids:
    """Unique ids in the order in which they first occur: the index order of users and items."""
    unique, first = np.unique(ids, return_index=True)
    return unique[np.argsort(first)]


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
    _check(ratings)
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    liked, counts = np.unique(item_ids[ratings >= threshold], return_counts=True)
    count_of = dict(zip(liked.tolist(), counts.tolist(), strict=True))
    vectors = np.array([[count_of.get(item, 0)] for item in items.tolist()], dtype=np.float32)
    return TowerPair(users, np.ones((len(users), 1), dtype=np.float32), items, vectors)


def pmf(
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
    """Probabilistic Matrix Factorization: minimise sum (r'_ui - sigmoid(U_u . V_i))^2 + l (|U|^2 + |V|^2).

    r' is the rating scaled to [0, 1] between the lowest and the highest of the input, so that the sigmoid of the
    score U_u . V_i is the predicted r'. Cornac's implementation (its default variant, "non_linear"), stochastic
    gradient descent over the rows in the order given.
    Source: Salakhutdinov & Mnih, "Probabilistic Matrix Factorization", NIPS 2007, equation 4 with the logistic mean
    of equation 5; the paper's equation 1, whose text leaves the sigmoid out.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        factors: d, length of the vectors.
        epochs: passes over the ratings.
        learning_rate: step size.
        regularisation: l of the equation.
        seed: seed of the initial factors.

    Raises:
        ValueError: there is no rating, a rating is not finite, or a vector is not (the descent diverged).
    """
    from cornac.data import Dataset
    from cornac.models import PMF

    _check(ratings)
    triples = list(zip(user_ids.tolist(), item_ids.tolist(), ratings.tolist(), strict=True))
    train = Dataset.from_uir(triples, seed=seed)
    model = PMF(k=factors, max_iter=epochs, learning_rate=learning_rate, lambda_reg=regularisation, seed=seed).fit(
        train
    )
    users = np.array(list(train.uid_map), dtype=np.int64)
    items = np.array(list(train.iid_map), dtype=np.int64)
    user_vectors, item_vectors = model.U.astype(np.float32), model.V.astype(np.float32)
    return TowerPair(users, user_vectors, items, item_vectors)


def _check(ratings: Ratings) -> None:
    if len(ratings) == 0:
        raise ValueError("a model needs at least one rating, found none; check the train part")
    if not np.isfinite(ratings).all():
        raise ValueError("a model needs finite ratings, found NaN or infinity; check the ratings table")
