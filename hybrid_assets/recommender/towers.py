"""Tower pairs: the one shape in which every branch, collaborative or content, is ranked.

A tower pair is a table of user vectors and a table of item vectors whose dot product is the branch's score.
Belongs here: that shape and its alignment to ids. Does not: how a model fills it, or how scores become a ranking.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]
# For how many users it pays to look for items whose vector is zero.
MANY_USERS = 64
# The items of each user: indptr, (users + 1,), and item index, (rows,).
Csr = tuple[Index, Index]


@dataclass(frozen=True)
class TowerPair:
    """User vectors and item vectors of one branch; score(u, i) = user_vectors[u] . item_vectors[i].

    Attributes:
        user_ids: (users,) unique ids.
        user_vectors: (users, d) float32, finite.
        item_ids: (items,) unique ids.
        item_vectors: (items, d) float32, finite.

    Raises:
        ValueError: shapes do not fit each other, an id is repeated, or a vector is not finite.
    """

    user_ids: Ids
    user_vectors: Vectors
    item_ids: Ids
    item_vectors: Vectors

    def __post_init__(self) -> None:
        for side, ids, vectors in (
            ("user", self.user_ids, self.user_vectors),
            ("item", self.item_ids, self.item_vectors),
        ):
            if vectors.ndim != 2 or len(ids) != len(vectors):
                raise ValueError(f"{side} tower: {len(ids)} ids need as many vectors, found shape {vectors.shape}")
            if len(np.unique(ids)) != len(ids):
                raise ValueError(f"{side} tower: an id occurs twice; ids must be unique")
            if not np.isfinite(vectors).all():
                bad = ids[~np.isfinite(vectors).all(axis=1)][0]
                raise ValueError(f"{side} tower: the vector of {side} {bad} is not finite; retrain the model")
        if self.user_vectors.shape[1] != self.item_vectors.shape[1]:
            raise ValueError(
                f"user vectors have {self.user_vectors.shape[1]} dimensions and item vectors "
                f"{self.item_vectors.shape[1]}; their dot product needs the same number"
            )


def first_appearance(ids: Ids) -> Ids:
    """Unique ids in the order in which they first occur: the index order of users and items."""
    unique, first = np.unique(ids, return_index=True)
    return unique[np.argsort(first)]


def positions(ids: Ids, wanted: Ids) -> Ids:
    """Index in the unique `ids` of each wanted id, -1 where it is not there."""
    return finder(ids)(wanted)


def finder(ids: Ids) -> Callable[[Ids], Ids]:
    """`positions` in ids that are looked up many times: they are sorted once."""
    if len(ids) == 0:
        return lambda wanted: np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(ids)
    ascending = ids[order]

    def find(wanted: Ids) -> Ids:
        place = np.searchsorted(ascending, wanted).clip(max=len(ids) - 1)
        return np.where(ascending[place] == wanted, order[place], -1)

    return find


def unit(vectors: Vectors) -> Vectors:
    """Each vector scaled to unit length, (n, d); one of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return scaled


def scored_alone(item_vectors: Vectors, users: int) -> tuple[Index | None, Vectors]:
    """The items whose scores are to be computed for so many users, None for all, and the vectors of these.

    The others' vectors are zero, and so are their scores: sequence_ease.py scores the most rated movies alone.
    """
    if users < MANY_USERS:
        return None, item_vectors
    scored = np.flatnonzero(item_vectors.any(axis=1))
    return (None, item_vectors) if len(scored) == len(item_vectors) else (scored, item_vectors[scored])


def align(ids: Ids, vectors: Vectors, wanted: Ids, missing: Literal["zero", "refuse"]) -> Vectors:
    """Vectors in the order of `wanted` ids: (len(wanted), d); those given themselves where they stand in it already.

    Args:
        ids: (n,) unique ids of `vectors`.
        vectors: (n, d).
        wanted: ids to look up.
        missing: what to do with an id that has no vector: "zero" gives it the zero vector, so that its score is 0;
            "refuse" raises.

    Raises:
        ValueError: an id has no vector and `missing` is "refuse".
    """
    if vectors.dtype == np.float32 and np.array_equal(ids, wanted):  # as nearly always of models
        return vectors
    rows = positions(ids, wanted)
    found = rows >= 0
    if found.all():  # one copy in place of three
        every: Vectors = vectors[rows].astype(np.float32, copy=False)
        return every
    if missing == "refuse":
        raise ValueError(f"id {wanted[~found][0]} has no vector; materialize the branch again")
    aligned: Vectors = np.zeros((len(wanted), vectors.shape[1]), dtype=np.float32)
    aligned[found] = vectors[rows[found]]
    return aligned
