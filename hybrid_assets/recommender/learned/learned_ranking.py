"""Ranking candidates by what was learned, whatever learned it.

Belongs here: what a learned fusion is, and the lists and shares that it gives. Does not: learning one (stacking.py,
gate.py), candidates and their features (features.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.cores import side_by_side
from hybrid_assets.recommender.learned.context import Feature
from hybrid_assets.recommender.learned.features import rows_by_block
from hybrid_assets.recommender.ranking import Ranking
from hybrid_assets.recommender.systems import Candidates
from hybrid_assets.recommender.towers import Index, positions

# Name -> what is known of some candidates, as content_features and shortlists give it.
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


def learned_ranking(
    fusion: LearnedFusion,
    candidates: pl.DataFrame,
    pool: Candidates,
    told: Callable[[Index, Index], Features],
    k: int,
    *,
    explained: int,
) -> Ranking:
    """The k best of each user's candidates by a learned fusion. Equal scores keep the order of the models' z-sum.

    Args:
        fusion: what was learned.
        candidates: `shortlists` of the pool; a list is no longer than what they hold of a user.
        pool: who gets a list, and all films.
        told: what the texts tell of candidates, `content_features` of the pool.
        k: length of the lists.
        explained: of how many, from the first on, the parts of the score are computed (by trees they cost more than
            the ranking); those of the others are NaN.

    Raises:
        ValueError: it was trained on other branches.
    """
    users = len(pool.user_ids)
    listed = np.full((users, k), -1, dtype=np.int64)
    fused = np.full((users, k), -np.inf, dtype=np.float32)
    own = {name: np.full((users, k), np.nan, dtype=np.float32) for name in fusion.branches}
    adds = {name: np.full((users, k), np.nan, dtype=np.float32) for name in (*fusion.branches, *fusion.parts)}
    user = positions(pool.user_ids, candidates["user_id"].to_numpy())
    item = positions(pool.item_ids, candidates["movie_id"].to_numpy())
    known = {name: candidates[name].to_numpy() for name in candidates.columns if "." in name}

    def fill(rows: slice) -> None:
        of_row, item_of_row = user[rows], item[rows]
        features = {**{name: values[rows] for name, values in known.items()}, **told(of_row, item_of_row)}
        _check_branches(fusion, features)
        scores = fusion.score(features)
        order = np.lexsort((-scores, of_row))
        counts = np.bincount(of_row, minlength=users)
        place = np.arange(len(order)) - (np.cumsum(counts) - counts)[of_row[order]]
        order, place = order[place < k], place[place < k]
        row = of_row[order]
        listed[row, place] = item_of_row[order]
        fused[row, place] = scores[order]
        for name in fusion.branches:
            own[name][row, place] = features[f"{name}.score"][order]
        first = place < explained
        if first.any():
            parts = fusion.shares({name: values[order[first]] for name, values in features.items()})
            for name, values in parts.items():
                adds[name][row[first], place[first]] = values

    side_by_side(fill, rows_by_block(user))
    return Ranking(listed, fused, own, adds)


def _check_branches(fusion: LearnedFusion, features: Features) -> None:
    found = [name.removesuffix(".score") for name in features if name.endswith(".score")]
    if set(found) != set(fusion.branches):
        raise ValueError(f"what was learned knows the branches {fusion.branches}, expected {found}; train it again")
