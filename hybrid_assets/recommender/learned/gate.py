"""A learned gate: how much each branch counts for a candidate, by what is known of its user and film.

The score of a candidate is the sum over branches b of g_b(x) z_b, with z_b the branch's standardised score and
g_b(x) = w_b . x linear in a few known numbers x. Belongs here: what the gate sees, training it, scoring by it. Does
not: candidates and their features (features.py), trees (stacking.py).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.learned.context import CONTEXT
from hybrid_assets.recommender.learned.examples import STANDS_FOR
from hybrid_assets.recommender.learned.learned_ranking import Features, LearnedFusion, Scores

# What the gate sees of a candidate, each but the first centred and scaled to 1 over what it was trained on.
ALWAYS = "always"
INPUTS = (ALWAYS, "user_ratings", "film_ratings", "film_age", "disagreement")
Matrix = npt.NDArray[np.float64]
# l of the loss: so small that it decides only between weights that the ratings leave open.
REGULARISATION = 1e-4
# Where the steps end; of the mean loss of a user.
LARGEST_GRADIENT = 1e-6
# By how much the loss may lie above its minimum. Where candidates differ widely the steps end before the gradient is as
# small as asked for: what they could still gain is less than the loss is rounded by.
LARGEST_EXCESS = 1e-8


def gate_inputs(features: Features, branches: Sequence[str]) -> Matrix:
    """What the gate sees of candidates, (rows, INPUTS).

    1; the logarithm of 1 + how many ratings the user, and the film, has; the film's age in years at the user's last
    rating, NaN where the year is not known; how much the branches disagree, the standard deviation of their
    standardised scores.
    """
    standard = np.stack([features[f"{name}.z"] for name in branches])
    columns = (
        np.ones(standard.shape[1]),
        np.log1p(features[f"{CONTEXT}.user_ratings"]),
        np.log1p(features[f"{CONTEXT}.ratings"]),
        features[f"{CONTEXT}.age_at_last"],
        standard.std(axis=0),
    )
    return np.stack(columns, axis=1).astype(np.float64)


def train_gate(taught: pl.DataFrame, branches: Sequence[str]) -> pl.DataFrame:
    """The gate that gives what was held out the highest likelihood among each user's candidates.

    Minimises  -1/U sum over users u, hits i of u  log softmax_u(S)_i / |hits of u|  +  l |w|^2,  with S = sum_b g_b z_b
    linear in w and l = REGULARISATION: a multinomial logit, strictly convex, so that there is one answer, which
    Newton's steps find. In the softmax a row counts as often as it stands for: drawn_negatives.
    Source of the loss: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007 (ListNet,
    top one). A gate over the branches is what the paper names as future work.

    Args:
        taught: `fold`, `user_id`, `hit`, `stands_for` and features of examples (drawn_negatives); a user's
            stand together.
        branches: names of the branches.

    Returns:
        `branch`, `input`, `weight`, and the `mean` and `deviation` that the input is centred and scaled by.

    Raises:
        ValueError: there is no example.
        RuntimeError: the steps did not come near the minimum.
    """
    from scipy.optimize import minimize

    if taught.is_empty():
        raise ValueError(
            "no user likes a candidate in any held-out fold, so the gate has nothing to learn from; lower "
            "evaluation.relevance_threshold, raise stacker.candidates, or choose another fusion"
        )
    features = {name: taught[name].to_numpy() for name in taught.columns if "." in name}
    seen = gate_inputs(features, branches)
    stands_for = taught[STANDS_FOR].to_numpy().astype(np.float64)
    share = stands_for[:, None] * np.isfinite(seen)
    share /= np.maximum(share.sum(axis=0), 1.0)
    mean = (share * np.nan_to_num(seen)).sum(axis=0)
    deviation = np.sqrt((share * np.nan_to_num(seen - mean) ** 2).sum(axis=0))
    mean[0], deviation[0] = 0.0, 1.0
    deviation[deviation <= 1e-12] = np.inf
    terms, drawn_from = _terms(seen, mean, deviation, features, branches), np.log(stands_for)

    sizes = taught.group_by("fold", "user_id", maintain_order=True).len()["len"].to_numpy().astype(np.int64)
    starts = np.cumsum(sizes) - sizes
    users, ridge = len(sizes), 2 * REGULARISATION
    hits = taught["hit"].to_numpy().astype(np.float64)
    target = hits / np.repeat(np.add.reduceat(hits, starts), sizes) / users

    def log_softmax(weights: Matrix) -> Scores:
        scores = terms @ weights + drawn_from
        scores -= np.repeat(np.maximum.reduceat(scores, starts), sizes)
        log_chance: Scores = scores - np.repeat(np.log(np.add.reduceat(np.exp(scores), starts)), sizes)
        return log_chance

    def loss(weights: Matrix) -> tuple[float, Matrix]:
        log_chance = log_softmax(weights)
        gradient = terms.T @ (np.exp(log_chance) / users - target) + ridge * weights
        return float(ridge / 2 * weights @ weights - target @ log_chance), gradient

    def curvature(weights: Matrix) -> Matrix:
        expected = terms * np.exp(log_softmax(weights))[:, None]
        mean_of_users = np.add.reduceat(expected, starts)
        hessian: Matrix = (expected.T @ terms - mean_of_users.T @ mean_of_users) / users
        hessian += ridge * np.eye(terms.shape[1])
        return hessian

    start, options = np.zeros(terms.shape[1]), {"gtol": LARGEST_GRADIENT}
    found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options=options)
    excess = float(found.jac @ np.linalg.solve(found.hess, found.jac) / 2)
    if excess > LARGEST_EXCESS:
        raise RuntimeError(f"the gate's weights were not found: {found.message} ({excess:.1e} above the minimum)")
    return pl.DataFrame(
        {
            "branch": np.repeat(list(branches), len(INPUTS)),
            "input": list(INPUTS) * len(branches),
            "weight": found.x,
            "mean": np.tile(mean, len(branches)),
            "deviation": np.tile(deviation, len(branches)),
        }
    )


def gated_fusion(gate: pl.DataFrame, branches: Sequence[str]) -> LearnedFusion:
    """The gate's score, and what each branch adds to it: g_b(x) z_b.

    Args:
        gate: what `train_gate` returned.
        branches: names of the branches, models first.

    Raises:
        ValueError: the gate was trained on other branches.
    """
    trained_on = gate["branch"].unique(maintain_order=True).to_list()
    if trained_on != list(branches):
        raise ValueError(f"the gate knows the branches {trained_on}, expected {list(branches)}; train it again")
    weights = gate["weight"].to_numpy().reshape(len(branches), len(INPUTS))
    mean, deviation = (gate[name].to_numpy()[: len(INPUTS)] for name in ("mean", "deviation"))

    def shares(features: Features) -> dict[str, Scores]:
        inputs = _scaled(gate_inputs(features, branches), mean, deviation)
        return {name: (inputs @ own) * features[f"{name}.z"] for name, own in zip(branches, weights, strict=True)}

    def score(features: Features) -> Scores:
        total: Scores = np.sum(list(shares(features).values()), axis=0)
        return total

    return LearnedFusion(tuple(branches), score, shares)


def _scaled(inputs: Matrix, mean: Matrix, deviation: Matrix) -> Matrix:
    scaled: Matrix = np.nan_to_num((inputs - mean) / deviation)
    return scaled


def _terms(inputs: Matrix, mean: Matrix, deviation: Matrix, features: Features, branches: Sequence[str]) -> Matrix:
    """What each weight is multiplied with: (rows, branches x INPUTS)."""
    scaled = _scaled(inputs, mean, deviation)
    return np.concatenate([scaled * features[f"{name}.z"][:, None] for name in branches], axis=1)
