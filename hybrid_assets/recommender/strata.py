"""Metrics apart for users who rated few or many movies, and for movies that few or many rated.

Belongs here: who falls into which stratum, and the means of each. Does not: a user's metrics (metrics.py),
means over all users (intervals.py).
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from hybrid_assets.recommender.intervals import mean_with_interval
from hybrid_assets.recommender.metrics import POPULARITY, popularity_strata
from hybrid_assets.recommender.towers import Index

ACTIVITY = ("few", "middle", "many")
BY_ACTIVITY, BY_POPULARITY = "user activity", "movie popularity"
SCHEMA = {
    "system": pl.String,
    "by": pl.String,
    "stratum": pl.String,
    "members": pl.UInt32,
    "fewest": pl.UInt32,
    "most": pl.UInt32,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.UInt32,
}


def activity_strata(train_ratings: Index) -> Index:
    """Terciles of users by their train ratings, places in ACTIVITY: (users,).

    Users with equally many stay together, in the lower stratum; where all have equally many, all are `few`.
    """
    if len(train_ratings) == 0:
        return np.empty(0, dtype=np.int64)
    edges = np.quantile(train_ratings, [1 / 3, 2 / 3], method="inverted_cdf")
    return np.searchsorted(edges, train_ratings, side="left").astype(np.int64)


def strata_table(
    user_metrics: Mapping[str, pl.DataFrame], item_counts: Index, *, seed: int, resamples: int, confidence: float
) -> pl.DataFrame:
    """NDCG@k by the users' activity and recall@k by the movies' popularity, of every system.

    Args:
        user_metrics: system -> its table (metrics.user_metrics).
        item_counts: (items,) train ratings of each movie.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        confidence: coverage of the intervals, in (0, 1).

    Returns:
        `system`; `by`, BY_ACTIVITY or BY_POPULARITY; `stratum`; its `members` (evaluated users, or movies of train)
        with `fewest` to `most` train ratings; `metric`, "ndcg" or "recall"; its mean `value` over `users` with its
        percentile bootstrap interval `low` to `high`. Recall of a stratum of movies is hits / relevant movies, both
        of that stratum, over users with a relevant one. Null where a stratum is empty.
    """
    movies = popularity_strata(item_counts)
    rows = []
    for system, table in user_metrics.items():
        activity = table["train_ratings"].to_numpy().astype(np.int64)
        users = activity_strata(activity)
        found = [
            (BY_ACTIVITY, name, activity[users == place], "ndcg", table["ndcg"].to_numpy()[users == place])
            for place, name in enumerate(ACTIVITY)
        ]
        for place, name in enumerate(POPULARITY):
            relevant, hits = (table[f"{what}_{name}"].to_numpy().astype(np.float64) for what in ("relevant", "hits"))
            some = relevant > 0
            found.append((BY_POPULARITY, name, item_counts[movies == place], "recall", hits[some] / relevant[some]))
        for by, name, counts, metric, values in found:
            mean, low, high = mean_with_interval(values, seed=seed, resamples=resamples, confidence=confidence)
            row: dict[str, object] = {"system": system, "by": by, "stratum": name, "members": len(counts)}
            row |= {"metric": metric, "value": mean, "low": low, "high": high, "users": len(values)}
            if len(counts):
                row |= {"fewest": int(counts.min()), "most": int(counts.max())}
            rows.append(row)
    return pl.DataFrame(rows, schema=SCHEMA)
