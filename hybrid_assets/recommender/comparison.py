"""Is one system better than another: paired over users, corrected for how many pairs are compared.

Belongs here: differences of per-user values, their tests and intervals. Does not: computing the values (metrics.py),
a system's own interval (intervals.py), words and pictures (reporting/).
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import polars as pl

from hybrid_assets.recommender.intervals import mean_interval
from hybrid_assets.recommender.towers import Values

SCHEMA = {
    "system": pl.String,
    "other": pl.String,
    "value": pl.Float64,
    "other_value": pl.Float64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "effect": pl.Float64,
    "p_t": pl.Float64,
    "p_wilcoxon": pl.Float64,
    "p_t_holm": pl.Float64,
    "p_wilcoxon_holm": pl.Float64,
    "users": pl.UInt32,
}


def compare(values: Mapping[str, Values], *, seed: int, resamples: int, confidence: float) -> pl.DataFrame:
    """Every system against every other, the better one first, each pair once.

    Args:
        values: system -> (users,) a metric of each user, the same users in the same order for all.
        seed: of the resampling.
        resamples: number of bootstrap resamples.
        confidence: coverage of the intervals, in (0, 1).

    Returns:
        `system`, `other`, their means `value` and `other_value`; `difference` of the means with its percentile
        bootstrap interval over users `low` to `high`; `effect`, Cohen's d of paired differences (mean / standard
        deviation, 0 where all differences are 0); `p_t` of the paired t-test and `p_wilcoxon` of Wilcoxon's signed
        ranks, two-sided, 1 where no user differs; the same corrected over all pairs by Holm (`_holm`); `users`.

        The t-test and the bootstrap ask about the mean; Wilcoxon's ranks (with Pratt's zeros; where there are
        zeros or ties by the normal approximation, coarse below some 15 users) bear skewed differences.
        Sources: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Stat. 1979; Pratt,
        "Remarks on zeros and ties in the Wilcoxon signed rank procedures", JASA 1959.

    Raises:
        ValueError: the systems do not have the same number of users, there is none, or a value is not finite.
    """
    from statsmodels.stats.multitest import multipletests

    counts = {name: len(of_users) for name, of_users in values.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"a paired comparison needs the same users for every system, found {counts}")
    if 0 in counts.values():
        raise ValueError("a comparison needs at least one user, found none")
    for name, of_users in values.items():
        if not np.isfinite(of_users).all():
            raise ValueError(f"{name} has a value that is not finite; materialize its user_metrics again")
    means = {name: float(of_users.mean()) for name, of_users in values.items()}
    best_first = sorted(values, key=lambda name: (-means[name], name))
    rows = [
        {"system": one, "other": two, "value": means[one], "other_value": means[two]}
        | _paired(values[one] - values[two], seed, resamples, confidence)
        for one, two in combinations(best_first, 2)
    ]
    for test in ("p_t", "p_wilcoxon"):
        corrected = multipletests([row[test] for row in rows], method="holm")[1] if rows else []
        for row, p in zip(rows, corrected, strict=True):
            row[f"{test}_holm"] = float(p)
    return pl.DataFrame(rows, schema=SCHEMA)


def _paired(difference: Values, seed: int, resamples: int, confidence: float) -> dict[str, str | float]:
    from scipy.stats import ttest_1samp, wilcoxon

    users = len(difference)
    mean = float(difference.mean())
    result: dict[str, str | float] = {"difference": mean, "users": users}
    spread = float(difference.std(ddof=1)) if users > 1 else 0.0
    spread = spread if spread > 1e-12 * abs(mean) else 0.0  # what rounding leaves
    # where every user differs by the same amount, neither the t statistic nor Cohen's d is a number
    result["effect"] = mean / spread if spread > 0 else 0.0
    result["p_t"] = float(ttest_1samp(difference, 0.0).pvalue) if spread > 0 else 1.0
    sizes = np.abs(difference)
    # with ties the exact distribution is enumerated, seconds for each pair of a dozen users
    method = "asymptotic" if sizes.min() == 0 or len(np.unique(sizes)) < users else "auto"
    result["p_wilcoxon"] = (
        float(wilcoxon(difference, zero_method="pratt", method=method).pvalue) if difference.any() else 1.0
    )
    low, high = mean_interval(difference, seed=seed, resamples=resamples, confidence=confidence)
    result |= {"low": low, "high": high}
    return result
