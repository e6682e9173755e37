"""From users to a figure and how sure one can be of it: totals, means and bootstrap intervals.

Belongs here: aggregation over users. Does not: the metrics of a user (metrics.py), comparing two systems.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.metrics import coverage
from hybrid_assets.recommender.towers import Index, Values

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

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
    "miscalibration": "miscalibration",
}
METRICS = ("hits", *MEAN_OF, "coverage")
# Draws of a user, over resamples, that are held at a time: 16 MiB an array.
BLOCK_DRAWS = 2**21


def summarise(
    user_metrics: pl.DataFrame,
    lists: Index,
    items: int,
    *,
    seed: int,
    resamples: int,
    confidence: float,
) -> pl.DataFrame:
    """Each metric over all evaluated users, with its bootstrap interval over users.

    `hits` is a total, `coverage` the share of the items that are in at least one list, the rest are means. All
    metrics share the resamples, and with one seed so do all systems with the same users: they vary together.

    The interval is the percentile interval (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter
    13). That of coverage is then moved, so that the resamples' mean lies on the value, and cut to [0, 1]: a resample
    holds about 63 % of the users, the others being drawn again instead, so it covers fewer items than as many
    different users do, and the percentile interval as it is lies below the value. Its width tells how
    coverage varies with who the users are.

    Args:
        user_metrics: one row a user (metrics.user_metrics).
        lists: (users, k) their lists, -1 where one is shorter.
        items: how many items could have been listed.
        seed: of the resampling.
        resamples: number of resamples.
        confidence: coverage of the interval, in (0, 1).

    Returns:
        `metric` in the order of METRICS, `value`, `low`, `high`, `users`.

    Raises:
        ValueError: there is no user, the lists are not those of the users, or an item index is not below `items`.
    """
    from scipy.stats import bootstrap

    users = user_metrics.height
    if users == 0:
        raise ValueError(
            "no user has a relevant test movie, so nothing can be measured; lower evaluation.relevance_threshold, "
            "or give users more ratings"
        )
    if len(lists) != users:
        raise ValueError(f"user_metrics has {users} users and there are {len(lists)} lists; pass those of the users")
    columns = user_metrics.select("hits", *MEAN_OF.values()).to_numpy().astype(np.float64)
    listing = _listing(lists)

    def figures(rows: Index, axis: int = -1) -> Values:
        """The metrics over the users in `rows` (resamples, users), an index each: (metrics, resamples)."""
        drawn = _times_drawn(rows, users)
        totals = drawn @ columns
        totals[:, 1:] /= users
        return np.vstack([totals.T, _covered(listing, drawn) / items])

    everyone = np.arange(users)
    value = figures(everyone[None])[:, 0]
    value[-1] = coverage(lists, items)
    low, high = value.copy(), value.copy()
    # One user's only resample is that user, and scipy wants two.
    if users > 1:
        # Users are resampled by index, as coverage is not a function of one number a user.
        result = bootstrap(
            (everyone,),
            figures,
            n_resamples=resamples,
            batch=max(1, BLOCK_DRAWS // users),
            vectorized=True,
            confidence_level=confidence,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        low, high = result.confidence_interval
        shift = value[-1] - result.bootstrap_distribution[-1].mean()
        low[-1], high[-1] = np.clip([low[-1] + shift, high[-1] + shift], 0.0, 1.0)
    return pl.DataFrame(
        {"metric": METRICS, "value": value, "low": low, "high": high, "users": np.full(len(METRICS), users)},
        schema_overrides={"users": pl.UInt32},
    )


def mean_interval(values: Values, *, seed: int, resamples: int, confidence: float) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (users,) values; of a single value, that value twice."""
    from scipy.stats import bootstrap

    if len(values) == 1:
        return float(values[0]), float(values[0])
    interval = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BLOCK_DRAWS // len(values)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def mean_with_interval(
    values: Values, *, seed: int, resamples: int, confidence: float
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Mean of (users,) values, and `mean_interval`; None each without a user."""
    if len(values) == 0:
        return None, None, None
    return float(values.mean()), *mean_interval(values, seed=seed, resamples=resamples, confidence=confidence)


def _times_drawn(rows: Index, users: int) -> Values:
    """How often each user is in each row: (resamples, users)."""
    cells = rows + users * np.arange(len(rows))[:, None]
    return np.bincount(cells.ravel(), minlength=rows.size).reshape(rows.shape).astype(np.float64)


def _listing(lists: Index) -> "csr_matrix":
    """Who has which item in the list: (items listed at all, users) of 1 and 0."""
    from scipy.sparse import csr_matrix

    users, _ = np.nonzero(lists >= 0)
    listed, rows = np.unique(lists[lists >= 0], return_inverse=True)
    return csr_matrix((np.ones(len(users), dtype=np.float32), (rows, users)), shape=(len(listed), len(lists)))


def _covered(listing: "csr_matrix", drawn: Values) -> npt.NDArray[np.int64]:
    """How many items are in the list of at least one drawn user: (resamples,)."""
    covered: npt.NDArray[np.int64] = ((listing @ (drawn.T > 0).astype(np.float32)) > 0).sum(axis=0)
    return covered
