"""Judging ranked lists: accuracy by relevant test movies, and what accuracy does not see.

Belongs here: from arrays, one value a user and metric, and what is of the set of lists alone (coverage).
Does not: means and intervals over users (intervals.py).

Throughout, `lists` is (users, k), k at least 1: item indices best first, none twice in a list, -1 where a list is
shorter. `relevant` is the CSR (indptr, item indices) of each user's relevant items, at least one each.

Example, one user whose second entry is one of two relevant items:
    >>> lists, relevant = np.array([[7, 3, 5]]), (np.array([0, 2]), np.array([3, 9]))
    >>> precision(lists, relevant), recall(lists, relevant)
    (array([0.33333333]), array([0.5]))
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.towers import Csr, Index, Values, Vectors

Hits = npt.NDArray[np.bool_]

# Share of the train items, most rated first, that popularity bias counts as popular.
POPULAR_SHARE = 0.1
# Numbers that diversity gathers at a time: 32 MiB in float32.
BLOCK_NUMBERS = 2**23
# Strata of movies by how often they are rated, the most rated first.
POPULARITY = ("head", "middle", "tail")
# How much of the user's own distribution is mixed into the list's, so that a genre it lacks costs something finite.
CALIBRATION_MIX = 0.01
# How far from 1 the length of a float32 vector may be that was normalised.
UNIT_TOLERANCE = 1e-3


def hit_matrix(lists: Index, relevant: Csr) -> Hits:
    """Which entries of the lists are relevant: (users, k).

    Time is O((users * k + relevant) log relevant), memory O(users * k + relevant): never users x items.

    Raises:
        ValueError: the shapes do not fit, a user has no relevant item, or a relevant item is negative or repeated.
    """
    indptr, items = relevant
    users = len(lists)
    if lists.ndim != 2 or lists.shape[1] == 0:
        raise ValueError(f"lists must be (users, k) with k at least 1, found shape {lists.shape}")
    if len(indptr) != users + 1 or indptr[0] != 0 or indptr[-1] != len(items):
        raise ValueError(
            f"relevant must be the CSR of {users} users: {users + 1} offsets from 0 to {len(items)} items, "
            f"found {len(indptr)} offsets from {indptr[0]} to {indptr[-1]}"
        )
    counts = np.diff(indptr)
    if (counts <= 0).any():
        raise ValueError(f"user {int(np.argmin(counts))} has no relevant item; leave such users out of the evaluation")
    if items.min(initial=0) < 0:
        owner = int(np.searchsorted(indptr, np.argmin(items), side="right")) - 1
        raise ValueError(f"user {owner} has the relevant item {items.min()}; leave out items that are no candidates")
    if users == 0:
        return np.zeros(lists.shape, dtype=bool)
    # one 64-bit key a (user, item) pair
    width = max(int(items.max()), int(lists.max())) + 1
    wanted = np.sort(np.repeat(np.arange(users), counts) * width + items)
    repeated = wanted[1:][wanted[1:] == wanted[:-1]]
    if len(repeated):
        owner, item = divmod(int(repeated[0]), width)
        raise ValueError(f"user {owner} has item {item} twice among the relevant ones; pass each item once")
    keys = np.arange(users)[:, None] * width + lists
    # the key of a -1 is that of the last item of the user before
    hits: Hits = (wanted[np.searchsorted(wanted, keys).clip(max=len(wanted) - 1)] == keys) & (lists >= 0)
    return hits


def precision(lists: Index, relevant: Csr) -> Values:
    """Precision@k = hits / k; k also where a list is shorter. In [0, 1].

    Source: Herlocker et al., "Evaluating collaborative filtering recommender systems", TOIS 2004.
    """
    return _precision(hit_matrix(lists, relevant))


def recall(lists: Index, relevant: Csr) -> Values:
    """Recall@k = hits / relevant. In [0, 1]; less than 1 where more than k items are relevant.

    Source: as precision.
    """
    return _recall(hit_matrix(lists, relevant), np.diff(relevant[0]))


def ndcg(lists: Index, relevant: Csr) -> Values:
    """NDCG@k = DCG / IDCG, DCG = sum over hits of 1 / log2(rank + 1), IDCG that of min(k, relevant) hits first.

    In [0, 1]. Source: Jarvelin & Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002, with
    binary gains and the discount of Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    return _ndcg(hit_matrix(lists, relevant), np.diff(relevant[0]))


def ndcg_list(lists: Index, relevant: Csr) -> Values:
    """List-NDCG@k, the paper's own: the ideal is the same list with its hits first; 0 without a hit. In [0, 1].

    It says only where in the list the hits stand, not how many there are. Source: the paper's published code.
    """
    return _ndcg_list(hit_matrix(lists, relevant))


def reciprocal_rank(lists: Index, relevant: Csr) -> Values:
    """1 / rank of the first hit; 0 without a hit. In [0, 1]. Its mean is MRR@k.

    Source: Voorhees, "The TREC-8 question answering track report", 1999.
    """
    return _reciprocal_rank(hit_matrix(lists, relevant))


def average_precision(lists: Index, relevant: Csr) -> Values:
    """Sum over hits of precision@rank, divided by min(k, relevant). In [0, 1]. Its mean is MAP@k.

    min(k, relevant) and not relevant, so that a list of nothing but hits has 1 also where more than k items are
    relevant. Source: Aiolli, "Efficient top-n recommendation for very large scale binary rated datasets", RecSys 2013
    (the measure of the Million Song Dataset Challenge).
    """
    return _average_precision(hit_matrix(lists, relevant), np.diff(relevant[0]))


def hit(lists: Index, relevant: Csr) -> Values:
    """1 where the list holds at least one hit, else 0. Its mean is the hit rate@k.

    Source: Deshpande & Karypis, "Item-based top-N recommendation algorithms", TOIS 2004.
    """
    return _hit(hit_matrix(lists, relevant))


def novelty(lists: Index, item_counts: Index, train_users: int) -> Values:
    """Mean self-information of a list in bits: mean of -log2(p), p = share of train users that rated the item.

    In [0, log2(train_users)]; 0 for an empty list. Source: Zhou et al., "Solving the apparent diversity-accuracy
    dilemma of recommender systems", PNAS 2010.

    Args:
        lists: as above.
        item_counts: (items,) train ratings of each item, in [1, train_users] for every item that is listed.
        train_users: how many users train has, evaluated or not.

    Raises:
        ValueError: a listed item has no train rating or more than there are users.
    """
    listed = _is_listed(lists, len(item_counts))
    wrong = np.flatnonzero(listed & ((item_counts < 1) | (item_counts > train_users)))
    if len(wrong):
        raise ValueError(
            f"item {wrong[0]} is listed and has {item_counts[wrong[0]]} train ratings, expected 1 to {train_users}, "
            "the number of train users; list train items only, and count each user once"
        )
    return _list_mean(np.log2(train_users / np.maximum(item_counts, 1)), lists)


def popularity_bias(lists: Index, item_counts: Index) -> Values:
    """Share of a list that is among the most rated tenth of the train items. In [0, 1]; 0 for an empty list.

    The tenth is rounded up; of items with equally many ratings those with the smaller index come first. Source: the
    short head of Abdollahpouri et al., "Managing popularity bias in recommender systems with personalized
    re-ranking", FLAIRS 2019, cut at a tenth of the items.

    Args:
        lists: as above.
        item_counts: (items,) train ratings of each item.
    """
    popular = np.zeros(len(item_counts))
    most = int(np.ceil(POPULAR_SHARE * len(item_counts)))
    popular[np.argsort(-item_counts, kind="stable")[:most]] = 1.0
    return _list_mean(popular, lists)


def popularity_strata(item_counts: Index) -> Index:
    """Movies by their train ratings, places in POPULARITY: (items,).

    Each stratum holds a third of the train ratings: the head is the few movies that together have the first third, the
    tail the many that share the last. So about as much can be found in each. A movie on a border belongs to the
    stratum in which it begins; of movies with equally many ratings those with the smaller index come first.
    """
    order = np.argsort(-item_counts, kind="stable")
    before = np.cumsum(item_counts[order]) - item_counts[order]
    strata = np.empty(len(item_counts), dtype=np.int64)
    strata[order] = np.minimum(3 * before // max(int(item_counts.sum()), 1), 2)
    return strata


def diversity(lists: Index, item_vectors: Vectors) -> Values:
    """Intra-list diversity: mean of 1 - cosine over all pairs of a list; 0 for a list of fewer than two. In [0, 2].

    Over n unit vectors, sum of the pairs' cosines = (|sum e|^2 - n) / 2, so no pair is visited.
    Source: Ziegler et al., "Improving recommendation lists through topic diversification", WWW 2005.

    Args:
        lists: as above.
        item_vectors: (items, d) unit length.

    Raises:
        ValueError: the vector of an item is not of unit length; so also one that is missing, given as zeros or NaN.
    """
    lengths = np.sqrt(np.einsum("id,id->i", item_vectors, item_vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE))
    if len(wrong):
        raise ValueError(
            f"the vector of item {wrong[0]} has length {lengths[wrong[0]]:.4g}, expected 1 ({len(wrong)} such items); "
            "diversity needs a unit vector of every item: embed the missing ones, normalise the others"
        )
    result: Values = np.zeros(len(lists))
    step = max(1, BLOCK_NUMBERS // (lists.shape[1] * item_vectors.shape[1]))
    for start in range(0, len(lists), step):
        block = lists[start : start + step]
        listed = block >= 0
        n = listed.sum(axis=1)
        # a product with the mask, as -1 gathers the last item's vector
        total = np.matmul(listed[:, None, :].astype(np.float32), item_vectors[block])[:, 0].astype(np.float64)
        cosines = (np.einsum("ud,ud->u", total, total) - n) / 2
        result[start : start + step] = np.where(n > 1, 1 - cosines / np.maximum(n * (n - 1) / 2, 1), 0.0)
    return result.clip(0.0, 2.0)


def miscalibration(lists: Index, rated: Csr, genres: Values) -> Values:
    """How far the genres of a list are from those of what the user rated in train: Kullback-Leibler divergence, nats.

    sum_g p(g) log(p(g) / q~(g)), p the mean of the genre shares of what the user rated, q that of the list, q~ = 0.99
    q + 0.01 p. In [0, log(100)]: 0 is a list of the same genres in the same shares; an empty list has log(100).
    Source: Steck, "Calibrated recommendations", RecSys 2018; all ratings weighing alike.

    Args:
        lists: as above.
        rated: CSR of what each user rated in train, at least one each.
        genres: (items, genres) shares of each item, rows summing to 1 (facts.genre_shares).

    Raises:
        ValueError: a user has rated nothing.
    """
    from scipy.sparse import csr_matrix

    indptr, items = rated
    counts = np.diff(indptr)
    if (counts == 0).any():
        raise ValueError(f"user {np.flatnonzero(counts == 0)[0]} has no train rating, so no genres of one's own")
    own = csr_matrix((np.ones(len(items)), items, indptr), shape=(len(lists), len(genres))) @ genres / counts[:, None]
    rows, places = np.nonzero(lists >= 0)
    listed = np.bincount(rows, minlength=len(lists))
    entries = csr_matrix((np.ones(len(rows)), (rows, lists[rows, places])), shape=(len(lists), len(genres)))
    of_list = entries @ genres / np.maximum(listed, 1)[:, None]
    mixed = (1 - CALIBRATION_MIX) * of_list + CALIBRATION_MIX * own
    ratio = np.divide(own, mixed, out=np.ones_like(own), where=own > 0)
    divergence: Values = (own * np.log(ratio)).sum(axis=1)
    return divergence.clip(min=0.0)


def coverage(lists: Index, items: int) -> float:
    """Catalogue coverage: share of the items that are in at least one list. In [0, 1].

    Source: Ge et al., "Beyond accuracy: evaluating recommender systems by coverage and serendipity", RecSys 2010.

    Args:
        lists: as above.
        items: how many items could have been listed, at least 1.

    Raises:
        ValueError: there is no item, or a list holds an index that is not below `items`.
    """
    return float(_is_listed(lists, items).mean())


def user_metrics(
    lists: Index,
    relevant: Csr,
    *,
    user_ids: Index,
    train_ratings: Index,
    item_counts: Index,
    train_users: int,
    item_vectors: Vectors,
    rated: Csr,
    genres: Values,
) -> pl.DataFrame:
    """Every metric of every evaluated user, one row each, in the order given.

    Relevant and hits also apart by the popularity of the movie (popularity_strata).

    Args:
        lists: (users, k) of the evaluated users.
        relevant: their relevant items.
        user_ids: (users,) their ids.
        train_ratings: (users,) how many train ratings each has.
        item_counts: (items,) train ratings of each item.
        train_users: how many users train has, evaluated or not.
        item_vectors: (items, d) unit vectors in which diversity is measured.
        rated: what each of them rated in train.
        genres: (items, genres) shares.

    Raises:
        ValueError: as hit_matrix, novelty, diversity and miscalibration.
    """
    hits, counts = hit_matrix(lists, relevant), np.diff(relevant[0])
    strata = popularity_strata(item_counts)
    owner = np.repeat(np.arange(len(lists)), counts)
    of_relevant = np.bincount(owner * 3 + strata[relevant[1]], minlength=3 * len(lists)).reshape(-1, 3)
    of_hits = [(hits & (strata[lists] == place)).sum(axis=1) for place in range(3)]
    return pl.DataFrame(
        {
            "user_id": user_ids,
            "train_ratings": train_ratings.astype(np.uint32),
            "relevant": counts.astype(np.uint32),
            "hits": hits.sum(axis=1).astype(np.uint32),
            "precision": _precision(hits),
            "recall": _recall(hits, counts),
            "ndcg": _ndcg(hits, counts),
            "ndcg_list": _ndcg_list(hits),
            "reciprocal_rank": _reciprocal_rank(hits),
            "average_precision": _average_precision(hits, counts),
            "hit": _hit(hits),
            "novelty": novelty(lists, item_counts, train_users),
            "diversity": diversity(lists, item_vectors),
            "popularity_bias": popularity_bias(lists, item_counts),
            "miscalibration": miscalibration(lists, rated, genres),
            **{f"relevant_{name}": of_relevant[:, place].astype(np.uint32) for place, name in enumerate(POPULARITY)},
            **{f"hits_{name}": of_hits[place].astype(np.uint32) for place, name in enumerate(POPULARITY)},
        }
    )


# The formulas, over hits: finding the hits is most of the work, and user_metrics does it once for all of them.


def _precision(hits: Hits) -> Values:
    shares: Values = hits.sum(axis=1) / hits.shape[1]
    return shares


def _recall(hits: Hits, counts: Index) -> Values:
    shares: Values = hits.sum(axis=1) / counts
    return shares


def _ndcg(hits: Hits, counts: Index) -> Values:
    k = hits.shape[1]
    gains: Values = _dcg(hits) / _ideal_dcg(k)[np.minimum(counts, k)]
    return gains


def _ndcg_list(hits: Hits) -> Values:
    dcg, ideal = _dcg(hits), _ideal_dcg(hits.shape[1])[hits.sum(axis=1)]
    # without a hit the DCG is 0, whatever it is divided by
    shares: Values = dcg / np.where(ideal > 0, ideal, 1.0)
    return shares


def _reciprocal_rank(hits: Hits) -> Values:
    first: Values = hits.any(axis=1) / (hits.argmax(axis=1) + 1)
    return first


def _average_precision(hits: Hits, counts: Index) -> Values:
    k = hits.shape[1]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    averages: Values = (hits * at_rank).sum(axis=1) / np.minimum(counts, k)
    return averages


def _hit(hits: Hits) -> Values:
    return np.where(hits.any(axis=1), 1.0, 0.0)


def _discounts(k: int) -> Values:
    discounts: Values = 1.0 / np.log2(np.arange(2, k + 2))
    return discounts


def _dcg(hits: Hits) -> Values:
    # Added rank by rank as _ideal_dcg is, so that a perfect list has exactly 1; a matrix product's last digit
    # would also depend on which row a user has.
    dcg: Values = np.cumsum(hits * _discounts(hits.shape[1]), axis=1)[:, -1]
    return dcg


def _ideal_dcg(k: int) -> Values:
    """DCG of a list of k that begins with n hits and has no other, for n = 0..k."""
    return np.concatenate([[0.0], np.cumsum(_discounts(k))])


def _is_listed(lists: Index, items: int) -> npt.NDArray[np.bool_]:
    """Which of the items are in at least one list: (items,)."""
    if items < 1 or lists.max(initial=-1) >= items:
        raise ValueError(
            f"the lists hold item index {lists.max(initial=-1)} and there are {items} items; "
            "pass the lists and the items of the same candidates"
        )
    listed = np.zeros(items, dtype=bool)
    listed[lists[lists >= 0]] = True
    return listed


def _list_mean(values: Values, lists: Index) -> Values:
    """Mean of the values of each list's items, 0 for an empty list: (users,)."""
    listed = lists >= 0
    means: Values = np.where(listed, values[lists], 0.0).sum(axis=1) / np.maximum(listed.sum(axis=1), 1)
    return means
