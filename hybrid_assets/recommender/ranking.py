"""The ranking engine: tower pairs in, the best k unrated movies of each user out.

One engine for every system: for each block of users one matrix product a branch, the fusion, the mask of what the
user has already rated, and top k, on torch. Memory is bounded by a block: users x items is not held,
but for up to HELD_BYTES while weights are searched for.
Belongs here: that loop. Does not: normalisations and weights (fusion.py), judging the lists (metrics.py).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hybrid_assets.recommender.fusion import Normalise, identity
from hybrid_assets.recommender.towers import Csr, Index, Vectors, scored_alone

if TYPE_CHECKING:
    import torch


# Scores of one block and branch, 4 MiB in float32: what stays in the cache between product, mask and top k ...
BLOCK_SCORES = 2**20
# ... and the fewest users for which a matrix product is worth its while.
BLOCK_USERS = 64
# Scores of all users that are held while weights are searched for; more are computed again for each set of weights.
HELD_BYTES = 2**30


@dataclass(frozen=True)
class Branch:
    """One branch of a system, aligned to the users and items that are ranked.

    Attributes:
        name: what its columns are called.
        user_vectors: (users, d).
        item_vectors: (items, d).
        normalise: what is done to its scores before they are weighted.
        weight: its factor in the fused sum.
    """

    name: str
    user_vectors: Vectors
    item_vectors: Vectors
    normalise: Normalise = identity
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """The best k candidates of each user, best first.

    Attributes:
        items: (users, k) item index, -1 where a user has fewer than k candidates.
        scores: (users, k) fused score, -inf there.
        branch_scores: branch -> (users, k) its own score, before normalisation; NaN there.
        branch_parts: branch -> (users, k) what it adds to the fused score (its weighted, normalised score); the parts
            sum to `scores`; NaN there.
    """

    items: Index
    scores: Vectors
    branch_scores: dict[str, Vectors]
    branch_parts: dict[str, Vectors]


def rank(
    branches: Sequence[Branch],
    seen: Csr,
    k: int,
    *,
    block_users: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Ranking:
    """Rank all items for all users: S = sum_b weight_b * normalise_b(U_b V_b^T), rated items left out.

    Equal scores are ordered by item index, so that the result does not depend on the block size.

    Args:
        branches: at least one, all over the same users and items.
        seen: CSR of what each user has rated, which is never listed: indptr (users + 1,), item index (ratings,).
        k: length of the lists, at least 1.
        block_users: users a block; None: as many as fit BLOCK_SCORES, at least BLOCK_USERS.
        progress: called with (users done, users) after each block.

    Raises:
        ValueError: no branch, k < 1, shapes that do not fit, or a score that is NaN or plus infinity.
    """
    import torch

    users, items = _shape(branches, seen, k)
    width = min(k, items)
    listed = np.full((users, k), -1, dtype=np.int64)
    fused = np.full((users, k), -np.inf, dtype=np.float32)
    own = {b.name: np.full((users, k), np.nan, dtype=np.float32) for b in branches}
    parts = {b.name: np.full((users, k), np.nan, dtype=np.float32) for b in branches}
    weights = [branch.weight for branch in branches]
    for here, rated, raw, normalised in _blocks(branches, seen, block_users):
        best, place = _best(_fused(normalised, weights), rated, width)
        found = torch.isfinite(best)
        fused[here, :width] = best.numpy()
        listed[here, :width] = place.masked_fill(~found, -1).numpy()
        for branch, score, part in zip(branches, raw, normalised, strict=True):
            listed_score = score.gather(1, place).masked_fill_(~found, np.nan)
            listed_part = part.gather(1, place).mul_(branch.weight).masked_fill_(~found, np.nan)
            own[branch.name][here, :width] = listed_score.numpy()
            parts[branch.name][here, :width] = listed_part.numpy()
        if progress:
            progress(here.stop, users)
    return Ranking(listed, fused, own, parts)


def rank_each(branches: Sequence[Branch], seen: Csr, k: int) -> Callable[[Sequence[Sequence[float]]], Index]:
    """The lists of `rank` under any weightings in place of the branches' own; scores are computed once if they fit.

    Args:
        branches: as for `rank`; their weights are of no account.
        seen: as for `rank`.
        k: length of the lists, at least 1.

    Returns:
        weightings, a weight a branch each -> (weightings, users, k) item index, -1 where a user has fewer than k
        candidates. It raises ValueError where a score is NaN or plus infinity.

    Raises:
        ValueError: no branch, k < 1, or shapes that do not fit.
    """
    import torch

    users, items = _shape(branches, seen, k)
    width = min(k, items)

    def scores() -> "Iterator[tuple[slice, tuple[torch.Tensor, torch.Tensor], list[torch.Tensor]]]":
        for here, rated, raw, normalised in _blocks(branches, seen, None):
            # what is not normalised is overwritten by the next block
            yield (
                here,
                rated,
                [part.clone() if part is own else part for part, own in zip(normalised, raw, strict=True)],
            )

    fits = 4 * users * items * len(branches) <= HELD_BYTES
    held = list(scores()) if fits else None

    def lists(weightings: Sequence[Sequence[float]]) -> Index:
        listed = np.full((len(weightings), users, k), -1, dtype=np.int64)
        for here, rated, normalised in held if held is not None else scores():
            for row, weights in enumerate(weightings):
                total = _fused(normalised, weights)
                best, place = _best(total.clone() if total is normalised[0] else total, rated, width)
                listed[row, here, :width] = place.masked_fill(~torch.isfinite(best), -1).numpy()
        return listed

    return lists


def _blocks(
    branches: Sequence[Branch], seen: Csr, block_users: int | None
) -> "Iterator[tuple[slice, tuple[torch.Tensor, torch.Tensor], list[torch.Tensor], list[torch.Tensor]]]":
    """For each block of users: which, row and column of what they rated, each branch's scores and normalised scores.

    A normalised score may be the score itself, and the scores of a block last until the next one.
    """
    import torch

    users, items = len(branches[0].user_vectors), len(branches[0].item_vectors)
    block_users = min(users, block_users or max(BLOCK_USERS, BLOCK_SCORES // max(items, 1)))
    indptr, seen_items = seen
    towers = [(b.user_vectors, *scored_alone(b.item_vectors, users)) for b in branches]
    # fresh memory for every block would cost more than the top k
    products = [torch.empty((block_users, items)) for _ in branches]
    for start in range(0, users, max(block_users, 1)):
        stop = min(start + block_users, users)
        rows = np.repeat(np.arange(stop - start), np.diff(indptr[start : stop + 1]))
        columns = seen_items[indptr[start] : indptr[stop]]
        rated = (torch.from_numpy(rows), torch.from_numpy(columns))
        raw = [
            _product(user_vectors[start:stop], scored, item_vectors, product[: stop - start])
            for (user_vectors, scored, item_vectors), product in zip(towers, products, strict=True)
        ]
        normalised = [
            score if branch.normalise is identity else branch.normalise(score.clone(), rated)
            for branch, score in zip(branches, raw, strict=True)
        ]
        yield slice(start, stop), rated, raw, normalised


def _product(
    user_vectors: Vectors, scored: Index | None, item_vectors: Vectors, product: "torch.Tensor"
) -> "torch.Tensor":
    """Scores of all items in place of what `product` held; 0 for those that are not `scored`."""
    import torch

    users, items = torch.from_numpy(user_vectors), torch.from_numpy(item_vectors).T
    if scored is None:
        return torch.mm(users, items, out=product)
    return product.zero_().index_copy_(1, torch.from_numpy(scored), torch.mm(users, items))


def _fused(normalised: "Sequence[torch.Tensor]", weights: Sequence[float]) -> "torch.Tensor":
    """The weighted sum; a single score of weight 1 is not copied."""
    if len(normalised) == 1 and weights[0] == 1.0:
        return normalised[0]
    total = normalised[0] * weights[0]
    for part, weight in zip(normalised[1:], weights[1:], strict=True):
        total.add_(part, alpha=weight)
    return total


def _best(
    total: "torch.Tensor", rated: "tuple[torch.Tensor, torch.Tensor]", width: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """Score and index of the best unrated items; `total` is overwritten."""
    import torch

    total[rated] = float("-inf")
    best, place = _top(total, width)
    if not (best < torch.inf).all():  # NaN is not less either
        raise ValueError("a score is infinite or not a number; a branch has vectors that are too large or not finite")
    return best, place


def _top(scores: "torch.Tensor", k: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The k largest of each row, equal ones by ascending column. torch.topk alone leaves their order open."""
    import torch

    one_more = min(k + 1, scores.shape[1])
    best, place = scores.topk(one_more, dim=1)
    equal_neighbours = best[:, 1:] == best[:, :-1]
    best, place = best[:, :k], place[:, :k]
    if not equal_neighbours.any():
        return best, place
    tied_at_the_end = equal_neighbours[:, k - 1 :].any(dim=1).nonzero()[:, 0]
    if len(tied_at_the_end):
        values, order = scores[tied_at_the_end].sort(dim=1, descending=True, stable=True)
        best[tied_at_the_end], place[tied_at_the_end] = values[:, :k], order[:, :k]
    by_column = place.argsort(dim=1)
    best, place = best.gather(1, by_column), place.gather(1, by_column)
    by_score = torch.sort(best, dim=1, descending=True, stable=True).indices
    return best.gather(1, by_score), place.gather(1, by_score)


def _shape(branches: Sequence[Branch], seen: Csr, k: int) -> tuple[int, int]:
    if not branches:
        raise ValueError("a ranking needs at least one branch")
    if k < 1:
        raise ValueError(f"k must be at least 1, found {k}")
    users, items = len(branches[0].user_vectors), len(branches[0].item_vectors)
    for branch in branches:
        found = (len(branch.user_vectors), len(branch.item_vectors))
        if found != (users, items):
            raise ValueError(f"branch {branch.name!r} covers {found} users and items, the first ({users}, {items})")
    if len(seen[0]) != users + 1:
        raise ValueError(f"seen: indptr needs {users + 1} entries for {users} users, found {len(seen[0])}")
    return users, items
