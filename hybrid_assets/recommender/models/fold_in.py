"""Fold-in: the vector of somebody whom a model has not seen, from some ratings, without training it again.

The item vectors stay as they are; only the user's own part of the model's problem is solved. Belongs here: that
solution for each algorithm, one function each, a new model's too. Does not: content profiles (profiles.py), lists for
such a user (newcomers.py).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings, check_ratings, interactions, rating_weights
from hybrid_assets.recommender.models.sequence_ease import most_rated
from hybrid_assets.recommender.towers import Ids, TowerPair, Values, Vectors, finder, positions

# (movies, (n,); their ratings, (n,)) -> the user's vector, (d,). Movies that the model does not know are of no account.
UserOf: TypeAlias = Callable[[Ids, Ratings], Vectors]

# Unrated movies that BPR's fold-in compares each rated one with.
UNRATED_DRAWN = 500


@dataclass(frozen=True)
class Fitted:
    """A model and the ratings that it was fitted on.

    Attributes:
        pair: its vectors.
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,).
    """

    pair: TowerPair
    user_ids: Ids
    item_ids: Ids
    ratings: Ratings


class CannotFoldIn(ValueError):
    """A model has no fold-in; the message names the algorithms that do."""


def fold_in(algorithm: str, fitted: Fitted, **settings: Any) -> UserOf:
    """What gives a new user's vector in a fitted model's space.

    What does not depend on the user is computed here, once; the returned function takes milliseconds.

    Args:
        algorithm: as in the catalog.
        fitted: the model, and the ratings it was fitted on, in training order.
        settings: those that it was fitted with, `threshold` among them; what is of no account here is ignored.

    Raises:
        CannotFoldIn: the algorithm has none.
        ValueError: the model was fitted on other ratings.
    """
    if algorithm not in FOLD_INS:
        raise CannotFoldIn(
            f"a {algorithm} model cannot take in a new user without being trained again; these can: "
            f"{', '.join(sorted(FOLD_INS))}"
        )
    check_ratings(fitted.ratings)
    function = FOLD_INS[algorithm]
    taken = inspect.signature(function).parameters
    solve = function(fitted, **{name: value for name, value in settings.items() if name in taken})
    find = finder(fitted.pair.item_ids)

    def user_of(movies: Ids, ratings: Ratings) -> Vectors:
        if len(ratings):
            check_ratings(ratings)
        place = find(movies)
        return solve(place[place >= 0], ratings[place >= 0]).astype(np.float32)

    return user_of


# Below, `place` is the index of each rated movie in the model's items; the functions that take it return (d,) float64.
Solve: TypeAlias = Callable[[Ids, Ratings], Values]


def most_popular(fitted: Fitted) -> Solve:
    """The one vector of all users."""
    return lambda place, ratings: np.ones(1)


def ease(fitted: Fitted, *, threshold: float, regularisation: float, liked_only: bool, power: float) -> Solve:
    """EASE's user vector is the row x of rating weights, or what gives the same scores of unrated movies.

    With fewer users than items the second half of the item vectors is x_i / (l P_ii) (models/ease.py, `by_users`), and
    from x P = (x - x X' (K + l I)^-1 X) / l the score of a movie with x_i = 0 is that of x X' (K + l I)^-1 there. Of
    a training user this is the trained half plus that user's own unit vector, which adds x_ui / (l P_ii): 0
    wherever the user has not rated. So the scores of unrated movies are exactly the trained ones. Those of rated movies
    lack x_ui (1 - 1 / (l P_ii)): the item vectors name x_ui for training users alone.
    """
    pair = fitted.pair
    by_users = len(pair.user_ids) < len(pair.item_ids)
    data = interactions(
        fitted.user_ids, fitted.item_ids, fitted.ratings, threshold=threshold, liked_only=liked_only, power=power
    )
    _same_order(pair, data.user_ids, data.item_ids)
    users = len(pair.user_ids)
    inverse = pair.user_vectors[:, users:].astype(np.float64) / -regularisation if by_users else None

    def solve(place: Ids, ratings: Ratings) -> Values:
        weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
        if inverse is None:
            return _row(place, weights, pair)
        overlap = np.asarray(data.matrix[:, place] @ weights)
        return np.concatenate([np.zeros(users), overlap @ inverse])

    return solve


def sequence_ease(fitted: Fitted, *, threshold: float, most_movies: int, liked_only: bool, power: float) -> Solve:
    """The row of rating weights over the movies that have a vector; a new user's ratings need no order."""
    kept = most_rated(positions(fitted.pair.item_ids, fitted.item_ids), most_movies)

    def solve(place: Ids, ratings: Ratings) -> Values:
        weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
        own = positions(kept, place)
        return _row(own[own >= 0], weights[own >= 0], fitted.pair)

    return solve


def item_knn(fitted: Fitted, *, threshold: float, liked_only: bool, power: float) -> Solve:
    """Item-kNN's user vector is the row of rating weights itself."""
    return lambda place, ratings: _row(
        place, rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power), fitted.pair
    )


def user_knn(fitted: Fitted, *, threshold: float, neighbours: int, liked_only: bool, power: float) -> Solve:
    """Cosines to the users most alike, ties with the last of them too, 0 to all others: what training computes."""
    # user-kNN's item vectors are the users' rows of weights, turned
    rows = fitted.pair.item_vectors.astype(np.float64)
    length = np.linalg.norm(rows, axis=0)
    scale = 1.0 / np.where(length > 0, length, 1.0)

    def solve(place: Ids, ratings: Ratings) -> Values:
        weights = rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
        own = np.linalg.norm(weights)
        cosine = (weights @ rows[place]) * scale / (own if own > 0 else 1.0)
        if neighbours < len(cosine):
            cosine[cosine < np.partition(cosine, -neighbours)[-neighbours]] = 0.0
        return np.asarray(cosine)

    return solve


def als(
    fitted: Fitted,
    *,
    threshold: float,
    regularisation: float,
    confidence: float,
    liked_only: bool,
    power: float,
) -> Solve:
    """U_u = (V'V + V'(C_u - I)V + l I)^-1 V' C_u p_u: the exact solution for the item vectors as they are.

    Training ends with the item vectors' half of an alternation, so a training user's own vector was solved for those
    of one half before; the two agree as far as training has converged.
    Source: Hu, Koren & Volinsky, ICDM 2008, equation 4.
    """
    items = fitted.pair.item_vectors.astype(np.float64)
    everywhere = items.T @ items + regularisation * np.eye(items.shape[1])

    def solve(place: Ids, ratings: Ratings) -> Values:
        weights = confidence * rating_weights(ratings, threshold=threshold, liked_only=liked_only, power=power)
        counts = weights > 0
        rated, weights = items[place[counts]], weights[counts]
        if len(rated) == 0:
            return np.zeros(items.shape[1])
        return np.asarray(np.linalg.solve(everywhere + (rated.T * (weights - 1.0)) @ rated, rated.T @ weights))

    return solve


def biased_mf(fitted: Fitted, *, regularisation: float) -> Solve:
    """Ridge regression of r - m - b_i on the item factors and a constant: the user's factors and bias.

    Minimises sum over the n ratings of (r - m - b_i - b_u - U_u . V_i)^2 + l (|U_u|^2 + b_u^2): each step of Cornac's
    descent shrinks by l, so that the weight of the norm is n l. Agrees with training as far as the descent converged.
    """
    vectors = fitted.pair.item_vectors.astype(np.float64)
    factors, bias = vectors[:, :-2], vectors[:, -1]
    mean = float(fitted.ratings.astype(np.float64).mean())

    def solve(place: Ids, ratings: Ratings) -> Values:
        rows = np.hstack([factors[place], np.ones((len(place), 1))])
        normal = rows.T @ rows + max(regularisation * len(place), 1e-9) * np.eye(rows.shape[1])
        own = np.linalg.solve(normal, rows.T @ (ratings - mean - bias[place]))
        return np.concatenate([own[:-1], [own[-1] + mean, 1.0]])

    return solve


def pmf(fitted: Fitted, *, regularisation: float) -> Solve:
    """The user's minimum of PMF's objective, sum of (r' - sigmoid(U_u . V_i))^2 + l |U_u|^2 over the n ratings.

    By L-BFGS from 0. Cornac takes a fixed number of steps of normalised length, so it ends near this point, not on it.
    """
    from scipy.optimize import minimize

    items = fitted.pair.item_vectors.astype(np.float64)
    low, high = float(fitted.ratings.min()), float(fitted.ratings.max())

    def solve(place: Ids, ratings: Ratings) -> Values:
        rows = items[place]
        # as Cornac scales: where all ratings are equal, to 1
        target = (ratings.astype(np.float64) - low) / (high - low) if high > low else np.ones(len(ratings))

        def objective(user: Values) -> tuple[float, Values]:
            predicted = _sigmoid(rows @ user)
            error = target - predicted
            value = 0.5 * (error @ error + regularisation * len(rows) * (user @ user))
            return float(value), -rows.T @ (error * predicted * (1 - predicted)) + regularisation * len(rows) * user

        return np.asarray(minimize(objective, np.zeros(items.shape[1]), jac=True, method="L-BFGS-B").x)

    return solve


def bpr(fitted: Fitted, *, regularisation: float, seed: int) -> Solve:
    """The user's maximum of BPR's objective, mean of ln sigmoid(x_ui - x_uj) - l / 2 |U_u|^2; strictly concave.

    Over rated i and at most UNRATED_DRAWN unrated j, drawn with the seed. By L-BFGS from 0; Cornac's descent draws
    its pairs, so it ends near this point, not on it.
    """
    from scipy.optimize import minimize

    vectors = fitted.pair.item_vectors.astype(np.float64)
    factors, bias = vectors[:, :-1], vectors[:, -1]

    def solve(place: Ids, ratings: Ratings) -> Values:
        unrated = np.setdiff1d(np.arange(len(factors)), place)
        if len(unrated) > UNRATED_DRAWN:
            unrated = np.random.default_rng(seed).choice(unrated, UNRATED_DRAWN, replace=False)
        pairs = max(len(place) * len(unrated), 1)

        def objective(user: Values) -> tuple[float, Values]:
            scores = factors @ user + bias
            lead = scores[place][:, None] - scores[unrated][None, :]
            pull = _sigmoid(-lead)
            gradient = pull.sum(axis=1) @ factors[place] - pull.sum(axis=0) @ factors[unrated]
            value = np.logaddexp(0.0, -lead).sum() / pairs + 0.5 * regularisation * (user @ user)
            return float(value), regularisation * user - gradient / pairs

        found = minimize(objective, np.zeros(factors.shape[1]), jac=True, method="L-BFGS-B").x
        return np.append(found, 1.0)

    return solve


def _row(place: Ids, weights: Values, pair: TowerPair) -> Values:
    row = np.zeros(pair.item_vectors.shape[1])
    row[place] = weights
    return row


def _same_order(pair: TowerPair, user_ids: Ids, item_ids: Ids) -> None:
    if not (np.array_equal(pair.user_ids, user_ids) and np.array_equal(pair.item_ids, item_ids)):
        raise ValueError("the model was fitted on other ratings than it is given here; materialize its factors again")


def _sigmoid(scores: Values) -> Values:
    from scipy.special import expit

    return np.asarray(expit(scores))


# Algorithm -> its fold-in. A new model's line goes here, where it has one.
FOLD_INS: dict[str, Callable[..., Solve]] = {
    "als": als,
    "biased_mf": biased_mf,
    "bpr": bpr,
    "ease": ease,
    "item_knn": item_knn,
    "most_popular": most_popular,
    "pmf": pmf,
    "sequence_ease": sequence_ease,
    "text_ease": sequence_ease,
    "user_knn": user_knn,
}
