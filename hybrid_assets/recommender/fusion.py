"""Fusion: how the branches' scores of a user become one.

Every fusion is S_ui = sum over branches b of  weight_b * normalise_b(score_b,ui). Belongs here: the normalisations
and the weights' grid search. Does not: computing scores or picking the best k (ranking.py).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hybrid_assets.recommender.profiles import Reading

if TYPE_CHECKING:
    import torch

# (scores of a block, (users, items); row and column of each train rating in it) -> normalised scores, (users,
# items). What it gives for a train rating does not matter: the ranking masks it. `scores` may be overwritten.
Normalise: TypeAlias = "Callable[[torch.Tensor, tuple[torch.Tensor, torch.Tensor]], torch.Tensor]"

# A weight a branch.
Weights: TypeAlias = tuple[float, ...]


def identity(scores: "torch.Tensor", seen: "tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """The score as it is: a branch that ranks alone, or a cosine."""
    return scores


def sigmoid(scores: "torch.Tensor", seen: "tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """1 / (1 + exp(-score)), in (0, 1). Source: the paper, equation 4."""
    return scores.sigmoid_()


def min_max_over_train(scores: "torch.Tensor", seen: "tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """(score - min) / (max - min) over all train movies of that user; 0 where all are equal.

    Source: the paper's published code, for its MF score.
    """
    return _min_max(scores, scores.amin(dim=1, keepdim=True), scores.amax(dim=1, keepdim=True))


def min_max_over_candidates(scores: "torch.Tensor", seen: "tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """(score - min) / (max - min) over that user's unrated train movies; 0 where all are equal.

    Source: the paper's published code, for its content score.
    """
    scores[seen] = float("inf")
    low = scores.amin(dim=1, keepdim=True)
    scores[seen] = float("-inf")
    high = scores.amax(dim=1, keepdim=True)
    scores[seen] = 0.0
    return _min_max(scores, low, high)


def z_score_over_candidates(scores: "torch.Tensor", seen: "tuple[torch.Tensor, torch.Tensor]") -> "torch.Tensor":
    """(score - mean) / standard deviation over that user's unrated train movies; 0 where all are equal."""
    import torch

    free = torch.ones_like(scores)
    free[seen] = 0.0
    count = free.sum(dim=1, keepdim=True).clamp_(min=1.0)
    mean = (scores * free).sum(dim=1, keepdim=True) / count
    scores.sub_(mean)
    deviation = ((scores * free).square_().sum(dim=1, keepdim=True) / count).sqrt_()
    scale = deviation.reciprocal().masked_fill_(deviation <= 1e-12 + 1e-6 * mean.abs(), 0.0)
    return scores.mul_(scale)


def _min_max(scores: "torch.Tensor", low: "torch.Tensor", high: "torch.Tensor") -> "torch.Tensor":
    import torch

    span = high - low
    # the reciprocal of a subnormal span would be infinite
    too_small = span < torch.finfo(span.dtype).tiny
    scale = span.reciprocal().masked_fill_(too_small | ~span.isfinite(), 0.0)
    return scores.sub_(low.nan_to_num(posinf=0.0, neginf=0.0)).mul_(scale)


# For each fusion of two branches, how the collaborative and the content score are normalised before the weighted sum.
FUSIONS: dict[str, tuple[Normalise, Normalise]] = {
    # S = a * sigmoid(MF) + (1 - a) * cos: the paper's equation 4
    "convex": (sigmoid, identity),
    # S = a * minmax(MF) + (1 - a) * minmax(cos): the paper's published code
    "notebook": (min_max_over_train, min_max_over_candidates),
}

# Which reading of equation 2 a fusion takes its user profiles from (profiles.py).
PROFILE_READING: dict[str, Reading] = {"convex": "liked", "notebook": "recency", "zscore": "liked"}

# Weights tried for each branch of `zscore`, against the others' present weights; the first branch starts at 1.
WEIGHT_GRID: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
# ... and most passes over the branches.
WEIGHT_ROUNDS = 2

ALPHA_GRID: tuple[float, ...] = tuple(np.round(np.linspace(0.0, 1.0, 21), 2).tolist())


def normalisations(fusion: str, branches: int) -> list[Normalise]:
    """How each branch's score is normalised, in the branches' order; a single branch is left as it is.

    Args:
        fusion: "zscore" (any number of branches), or a name in FUSIONS (the collaborative branch and the content).
        branches: how many there are.
    """
    if branches == 1:
        return [identity]
    return [z_score_over_candidates] * branches if fusion == "zscore" else list(FUSIONS[fusion])


def best_alpha(
    quality: Callable[[Sequence[Weights]], Sequence[float]], grid: Sequence[float] = ALPHA_GRID
) -> tuple[Weights, list[tuple[Weights, float]]]:
    """Grid search for alpha, the weight of the collaborative branch; the content branch has 1 - alpha.

    Args:
        quality: weightings -> of each, what is to be high, measured on the validation part of train.
        grid: alphas to try, in [0, 1].

    Returns:
        The best weights, alpha and 1 - alpha (the largest alpha of equally good ones: prefer what the ratings say), and
        all that were tried with their quality.
    """
    weightings: list[Weights] = [(alpha, 1.0 - alpha) for alpha in grid]
    tried = list(zip(weightings, quality(weightings), strict=True))
    best, _ = max(tried, key=lambda found: (found[1], found[0][0]))
    return best, tried


def best_weights(
    quality: Callable[[Sequence[Weights]], Sequence[float]],
    branches: int,
) -> tuple[Weights, list[tuple[Weights, float]]]:
    """Coordinate search for the branches' weights: one branch at a time over WEIGHT_GRID, the others held.

    Starts with all weights 1 and ends after WEIGHT_ROUNDS, or when a round changes nothing. Only a better quality
    changes a weight; not all weights become 0.

    Args:
        quality: weightings -> of each, what is to be high, measured on the validation part of train.
        branches: how many weights.

    Returns:
        The best weights, and every set that was tried with its quality.
    """
    best = (1.0,) * branches
    tried: dict[Weights, float] = {}
    for _ in range(WEIGHT_ROUNDS):
        before = best
        for branch in range(branches):
            untried = [best] + [(*best[:branch], weight, *best[branch + 1 :]) for weight in WEIGHT_GRID]
            untried = [weights for weights in dict.fromkeys(untried) if any(weights) and weights not in tried]
            tried |= dict(zip(untried, quality(untried), strict=True))
            best = max(tried, key=lambda weights: (tried[weights], weights == best))
        if best == before:
            break
    return best, list(tried.items())
