"""Judging ranked lists: accuracy by relevant test movies, and what accuracy does not see.

Belongs here: one value a user and metric, from arrays. Does not: means and intervals over users (intervals.py).
Throughout, `lists` is (users, k), item indices best first, -1 where a list is shorter, and `relevant` is the CSR
(indptr, item indices) of each user's relevant items, at least one each.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.towers import Vectors

Index = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]
Csr = tuple[Index, Index]

# Share of the train items, most rated first, that popularity bias counts as popular.
POPULAR_SHARE = 0.1
DIVERSITY_BLOCK = 512


def hit_matrix(lists: Index, relevant: Csr) -> npt.NDArray[np.bool_]:
    """Which entries of the lists are relevant: (users, k).

    Raises:
        ValueError: the shapes do not fit, or a user has no relevant item; leave such users out.
    """
    indptr, items = relevant
    if len(indptr) != len(lists) + 1:
        raise ValueError(f"relevant covers {len(indptr) - 1} users and there are {len(lists)} lists")
    counts = np.diff(indptr)
    if (counts == 0).any():
        raise ValueError(f"user {int(np.argmin(counts))} has no relevant item; leave such users out of the evaluation")
    width = max(int(items.max(initial=0)), int(lists.max(initial=0))) + 1
    wanted = np.sort(np.repeat(np.arange(len(lists)), counts) * width + items)
    keys = np.arange(len(lists))[:, None] * width + lists
    place = np.searchsorted(wanted, keys).clip(max=max(len(wanted) - 1, 0))
    return (wanted[place] == keys) & (lists >= 0) if len(wanted) else np.zeros(lists.shape, dtype=bool)


def precision(lists: Index, relevant: Csr) -> Values:
    """Precision@k = hits / k; k also where a list is shorter."""
    return hit_matrix(lists, relevant).sum(axis=1) / lists.shape[1]


def recall(lists: Index, relevant: Csr) -> Values:
    """Recall@k = hits / relevant."""
    return hit_matrix(lists, relevant).sum(axis=1) / np.diff(relevant[0])


def ndcg(lists: Index, relevant: Csr) -> Values:
    """NDCG@k = DCG / IDCG, DCG = sum over hits of 1 / log2(rank + 1), IDCG that of min(k, relevant) hits first.

    Source: Jarvelin & Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, binary gains.
    """
    k = lists.shape[1]
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(k))])[np.minimum(np.diff(relevant[0]), k)]
    return hit_matrix(lists, relevant) @ _discounts(k) / ideal


def ndcg_list(lists: Index, relevant: Csr) -> Values:
    """List-NDCG@k, the paper's own: the ideal is the same list with its hits first; 0 without a hit.

    It says only where in the list the hits stand, not how many there are. Source: the paper's published code.
    """
    hits = hit_matrix(lists, relevant)
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(lists.shape[1]))])[hits.sum(axis=1)]
    dcg = hits @ _discounts(lists.shape[1])
    return np.divide(dcg, ideal, out=np.zeros_like(dcg), where=ideal > 0)


def reciprocal_rank(lists: Index, relevant: Csr) -> Values:
    """1 / rank of the first hit; 0 without a hit. Its mean is MRR@k."""
    hits = hit_matrix(lists, relevant)
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def average_precision(lists: Index, relevant: Csr) -> Values:
    """Sum over hits of precision@rank, divided by min(k, relevant). Its mean is MAP@k."""
    hits = hit_matrix(lists, relevant)
    k = lists.shape[1]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    return np.where(hits, at_rank, 0.0).sum(axis=1) / np.minimum(np.diff(relevant[0]), k)


def hit(lists: Index, relevant: Csr) -> Values:
    """1 where the list holds at least one hit. Its mean is the hit rate@k."""
    return hit_matrix(lists, relevant).any(axis=1).astype(np.float64)


def novelty(lists: Index, item_counts: Index, train_users: int) -> Values:
    """Mean self-information of a list in bits: mean of -log2(p), p = share of train users that rated the item.

    Source: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS 2010.

    Args:
        lists: as above.
        item_counts: (items,) train ratings of each item, at least 1.
        train_users: how many users train has.
    """
    information = -np.log2(item_counts / train_users)
    return _list_mean(information, lists)


def popularity_bias(lists: Index, item_counts: Index) -> Values:
    """Share of a list that is among the most rated tenth of the train items (rounded up; equals by item index)."""
    popular = np.zeros(len(item_counts))
    most = int(np.ceil(POPULAR_SHARE * len(item_counts)))
    popular[np.argsort(-item_counts, kind="stable")[:most]] = 1.0
    return _list_mean(popular, lists)


def diversity(lists: Index, item_vectors: Vectors) -> Values:
    """Intra-list diversity: mean of 1 - cosine over all pairs of a list; 0 for a list of fewer than two.

    Over n unit vectors, sum of the pairs' cosines = (|sum e|^2 - n) / 2, so no pair is visited.
    Source: Ziegler et al., "Improving recommendation lists through topic diversification", WWW 2005.

    Args:
        lists: as above.
        item_vectors: (items, d) unit length.
    """
    result: Values = np.zeros(len(lists))
    padded = np.vstack([item_vectors, np.zeros((1, item_vectors.shape[1]), dtype=np.float32)])
    for start in range(0, len(lists), DIVERSITY_BLOCK):
        block = lists[start : start + DIVERSITY_BLOCK]
        n = (block >= 0).sum(axis=1)
        total = padded[block].sum(axis=1, dtype=np.float64)
        pairs = n * (n - 1) / 2
        cosines = ((total**2).sum(axis=1) - n) / 2
        result[start : start + len(block)] = np.where(n > 1, 1 - cosines / np.maximum(pairs, 1), 0.0)
    return result.clip(0.0, 2.0)


def user_metrics(
    lists: Index,
    relevant: Csr,
    *,
    user_ids: Index,
    train_ratings: Index,
    item_counts: Index,
    train_users: int,
    item_vectors: Vectors,
) -> pl.DataFrame:
    """Every metric of every evaluated user, one row each.

    Args:
        lists: (users, k) of the evaluated users.
        relevant: their relevant items.
        user_ids: (users,) their ids.
        train_ratings: (users,) how many train ratings each has.
        item_counts: (items,) train ratings of each item.
        train_users: how many users train has, evaluated or not.
        item_vectors: (items, d) unit vectors in which diversity is measured.
    """
    return pl.DataFrame(
        {
            "user_id": user_ids,
            "train_ratings": train_ratings.astype(np.uint32),
            "relevant": np.diff(relevant[0]).astype(np.uint32),
            "hits": hit_matrix(lists, relevant).sum(axis=1).astype(np.uint32),
            "precision": precision(lists, relevant),
            "recall": recall(lists, relevant),
            "ndcg": ndcg(lists, relevant),
            "ndcg_list": ndcg_list(lists, relevant),
            "reciprocal_rank": reciprocal_rank(lists, relevant),
            "average_precision": average_precision(lists, relevant),
            "hit": hit(lists, relevant),
            "novelty": novelty(lists, item_counts, train_users),
            "diversity": diversity(lists, item_vectors),
            "popularity_bias": popularity_bias(lists, item_counts),
        }
    )


def _discounts(k: int) -> Values:
    return 1.0 / np.log2(np.arange(2, k + 2))


def _list_mean(values: Values, lists: Index) -> Values:
    listed = lists >= 0
    total = np.where(listed, values[lists], 0.0).sum(axis=1)
    return total / np.maximum(listed.sum(axis=1), 1)
