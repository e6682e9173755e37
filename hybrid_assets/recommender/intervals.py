"""From users to a figure and how sure one can be of it: means and bootstrap intervals.

Belongs here: aggregation over users. Does not: the metrics of a user (metrics.py), comparing two systems.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.metrics import Index

# Metric of a system -> the column of user_metrics it is the mean of.
MEAN_OF = {
    "precision": "precision",
    "recall": "recall",
    "ndcg": "ndcg",
    "ndcg_list": "ndcg_list",
    "mrr": "reciprocal_rank",
    "map": "average_precision",
    "hit_rate": "hit",
    "novelty": "novelty",
    "diversity": "diversity",
    "popularity_bias": "popularity_bias",
}
METRICS = ("hits", *MEAN_OF, "coverage")


def bootstrap_counts(users: int, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """How often each user is drawn in each resample with replacement: (resamples, users), rows sum to `users`.

    Shared by all metrics of a system, and by all systems with the same users, so that they vary together.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(users, np.full(users, 1 / users), size=resamples).astype(np.float32)


def summarise(
    user_metrics: pl.DataFrame, lists: Index, items: int, *, resamples: int, confidence: float, seed: int
) -> pl.DataFrame:
    """Each metric over all evaluated users, with its percentile bootstrap interval over users.

    `hits` is a total, `coverage` the share of the items that are in at least one list, the rest are means.
    Source of the interval: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3. It is not
    scipy.stats.bootstrap because that resamples one statistic at a time, and coverage is no mean.

    Args:
        user_metrics: one row a user (metrics.user_metrics).
        lists: (users, k) their lists, -1 where one is shorter.
        items: how many items could have been listed.
        resamples: number of resamples.
        confidence: coverage of the interval, in (0, 1).
        seed: of the resampling.

    Returns:
        `metric`, `value`, `low`, `high`, `users`.

    Raises:
        ValueError: there is no user.
    """
    users = user_metrics.height
    if users == 0:
        raise ValueError(
            "no user has a relevant test movie, so nothing can be measured; lower evaluation.relevance_threshold, "
            "or give users more ratings"
        )
    drawn = bootstrap_counts(users, resamples, seed)
    values = user_metrics.select(MEAN_OF.values()).to_numpy()
    means = drawn @ values / users
    hits = user_metrics["hits"].to_numpy().astype(np.float64)
    samples = {
        "hits": (hits.sum(), drawn @ hits),
        **{metric: (values[:, place].mean(), means[:, place]) for place, metric in enumerate(MEAN_OF)},
        "coverage": (_coverage(lists, items), _resampled_coverage(lists, items, drawn)),
    }
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    rows = [
        (metric, float(value), *np.quantile(resampled, ends).tolist(), users)
        for metric, (value, resampled) in samples.items()
    ]
    schema = {"metric": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "users": pl.UInt32}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _coverage(lists: Index, items: int) -> float:
    return len(np.unique(lists[lists >= 0])) / items


def _resampled_coverage(lists: Index, items: int, drawn: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Share of items listed for at least one drawn user, for each resample."""
    from scipy.sparse import csr_matrix

    user, _ = np.nonzero(lists >= 0)
    listed, column = np.unique(lists[lists >= 0], return_inverse=True)
    incidence = csr_matrix((np.ones(len(user), dtype=np.float32), (column, user)), shape=(len(listed), len(lists)))
    covered: npt.NDArray[np.float64] = np.empty(len(drawn))
    for start in range(0, len(drawn), 256):
        block = (drawn[start : start + 256] > 0).astype(np.float32)
        covered[start : start + len(block)] = ((incidence @ block.T) > 0).sum(axis=0) / items
    return covered
