"""Ranking candidates by what was learned, whatever learned it.

Belongs here: what a learned fusion is, and the lists and shares that it gives. Does not: learning one (stacking.py,
gate.py), candidates and their features (features.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.learned.context import Feature
from hybrid_assets.recommender.learned.features import Block, Known, candidate_blocks, content_features
from hybrid_assets.recommender.ranking import Ranking

# Name -> what is known of some candidates, as content_features and candidate_blocks give it.
Features: TypeAlias = Mapping[str, Feature]
Scores: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearnedFusion:
    """How candidates are scored by what was learned.

    Attributes:
        branches: the models, then the encoders, that it was trained on.
        score: features of some candidates -> (rows,).
        shares: the same -> branch, or another part of the score -> (rows,), which sum to the score.
        parts: names of the shares that are not a branch's.
    """

    branches: tuple[str, ...]
    score: Callable[[Features], Scores]
    shares: Callable[[Features], Mapping[str, Scores]]
    parts: tuple[str, ...] = ()


def learned_ranking(fusion: LearnedFusion, known: Known, size: int, k: int, *, explained: int) -> Ranking:
    """The k best of each user's candidates by a learned fusion. Equal scores keep the order of the models' z-sum.

    Args:
        fusion: what was learned.
        known: who gets a list, and what is known then.
        size: candidates of each user; a list is no longer.
        k: length of the lists.
        explained: of how many, from the first on, the parts of the score are computed (by trees they cost more than
            the ranking); those of the others are NaN.

    Raises:
        ValueError: it was trained on other branches.
    """
    branches = (*known.models, *known.contents)
    if fusion.branches != branches:
        raise ValueError(f"what was learned knows the branches {fusion.branches}, expected {branches}; train it again")
    pool = known.pool
    users = len(pool.user_ids)
    listed = np.full((users, k), -1, dtype=np.int64)
    fused = np.full((users, k), -np.inf, dtype=np.float32)
    own = {name: np.full((users, k), np.nan, dtype=np.float32) for name in branches}
    adds = {name: np.full((users, k), np.nan, dtype=np.float32) for name in (*branches, *fusion.parts)}
    texts = content_features(known.ratings, pool, known.contents, known.films.threshold)

    def fill(block: Block) -> None:
        if len(block.users) == 0:
            return
        features = block.features | texts(block.users, block.items)
        scores = fusion.score(features)
        order = np.lexsort((-scores, block.users))
        counts = np.bincount(block.users, minlength=users)
        place = np.arange(len(order)) - (np.cumsum(counts) - counts)[block.users[order]]
        order, place = order[place < k], place[place < k]
        row = block.users[order]
        listed[row, place] = block.items[order]
        fused[row, place] = scores[order]
        for name in branches:
            own[name][row, place] = features[f"{name}.score"][order]
        first = place < explained
        if first.any():
            told = fusion.shares({name: values[order[first]] for name, values in features.items()})
            for name, values in told.items():
                adds[name][row[first], place[first]] = values

    candidate_blocks(known, size, fill)
    return Ranking(listed, fused, own, adds)
