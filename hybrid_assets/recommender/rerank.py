"""Re-ranking: ranked lists put into another order, for more variety or less of what everybody knows.

Belongs here: from lists to lists of the same movies. Does not: making the lists (ranking.py, learned/),
what the new order costs and brings (metrics.py).

Both methods take a penalty in [0, 1] off the score: score - weight / (1 - weight) * span * penalty, where span is the
distance of the user's highest listed score to the lowest. That is the same order as (1 - weight) * relevance - weight *
penalty with relevance min-max scaled over the list, so a weight means the same for every system; and the branches'
parts of a score stay what they are.
"""

import numpy as np
import numpy.typing as npt

from hybrid_assets.recommender.ranking import Ranking
from hybrid_assets.recommender.towers import Index, Vectors

# What the penalty takes off a score, among its parts.
RERANK = "rerank"
# Users whose pairwise cosines are held at a time.
BLOCK_USERS = 64

Penalties = npt.NDArray[np.float64]


def mmr(ranking: Ranking, item_vectors: Vectors, weight: float) -> Ranking:
    """Maximal Marginal Relevance: entry by entry the one with the highest score less what it is like those before.

    The penalty is the highest cosine to an entry that already stands above, at least 0.
    Source: Carbonell & Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998, whose lambda is 1 - weight.

    Args:
        ranking: lists of any length.
        item_vectors: (items, d) unit vectors.
        weight: in [0, 1); 0 keeps the order.

    Raises:
        ValueError: the weight is not in [0, 1).
    """
    factor = _factor(ranking, weight)
    users, k = ranking.items.shape
    order = np.tile(np.arange(k), (users, 1))
    penalty: Penalties = np.zeros((users, k))
    for start in range(0, users, BLOCK_USERS):
        block = slice(start, start + BLOCK_USERS)
        items, scores = ranking.items[block], ranking.scores[block].astype(np.float64)
        left = items >= 0
        vectors = item_vectors[items]
        cosine = vectors @ vectors.transpose(0, 2, 1)
        row = np.arange(len(items))
        nearest: Penalties = np.zeros(items.shape)
        for place in range(k):
            worth = np.where(left, scores - factor[block] * nearest, -np.inf)
            chosen = worth.argmax(axis=1)
            here = row[left[row, chosen]]
            chosen = chosen[here]
            order[start + here, place] = chosen
            penalty[start + here, place] = nearest[here, chosen]
            left[here, chosen] = False
            nearest[here] = np.maximum(nearest[here], cosine[here, chosen])
    return _reordered(ranking, order, factor * penalty)


def less_popular(ranking: Ranking, item_counts: Index, weight: float) -> Ranking:
    """Score less the logarithm of how often the movie is rated, 0 for one rating to 1 for the most rated movie.

    Source: the post-hoc correction of Menon et al., "Long-tail learning via logit adjustment", ICLR 2021: score minus
    tau times the logarithm of the prior.

    Args:
        ranking: lists of any length.
        item_counts: (items,) train ratings of each movie, at least 1.
        weight: in [0, 1); 0 keeps the order.

    Raises:
        ValueError: the weight is not in [0, 1), or a movie has no rating.
    """
    if item_counts.min(initial=1) < 1:
        raise ValueError(f"movie {int(item_counts.argmin())} has no rating in train; list movies of train only")
    factor = _factor(ranking, weight)
    popularity = np.log(item_counts) / max(np.log(item_counts.max(initial=1)), np.finfo(np.float64).tiny)
    listed = ranking.items >= 0
    penalty: Penalties = factor * np.where(listed, popularity[ranking.items], 0.0)
    worth = np.where(listed, ranking.scores - penalty, -np.inf)
    order = np.argsort(-worth, axis=1, kind="stable")
    return _reordered(ranking, order, np.take_along_axis(penalty, order, axis=1))


def _factor(ranking: Ranking, weight: float) -> Penalties:
    """What a penalty of 1 takes off the scores of each user: (users, 1)."""
    if not 0 <= weight < 1:
        raise ValueError(f"the weight of a re-ranking must be in [0, 1), found {weight}")
    listed = ranking.items >= 0
    scores = ranking.scores.astype(np.float64)
    span = scores.max(axis=1, where=listed, initial=-np.inf) - scores.min(axis=1, where=listed, initial=np.inf)
    # where all scores are equal, the penalty alone decides, on a scale of its own
    return np.asarray(weight / (1 - weight) * np.where(span > 0, span, 1.0))[:, None]


def _reordered(ranking: Ranking, order: Index, taken_off: Penalties) -> Ranking:
    """The entries in the order of `order` (users, k), each score less what is taken off in the new order."""

    def turned(values: Vectors) -> Vectors:
        return np.take_along_axis(values, order, axis=1)

    items = np.take_along_axis(ranking.items, order, axis=1)
    old = turned(ranking.scores)
    scores = (old - taken_off).astype(np.float32)
    with np.errstate(invalid="ignore"):
        # -inf where there is no entry
        part = np.where(items >= 0, scores - old, np.nan).astype(np.float32)
    parts = {name: turned(values) for name, values in ranking.branch_parts.items()} | {RERANK: part}
    return Ranking(items, scores, {name: turned(values) for name, values in ranking.branch_scores.items()}, parts)
