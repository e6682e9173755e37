"""What the paired comparisons say: a sentence about hybrids, and a matrix of who is better than whom.

Belongs here: words and cells from the table `comparisons`. Does not: the tests (recommender/comparison.py), markup.
"""

from dataclasses import dataclass

import polars as pl

LEVEL = 0.01


@dataclass(frozen=True)
class Duel:
    """One cell of the matrix, read as row against column.

    Attributes:
        text: difference of the means, row minus column; empty on the diagonal.
        detail: corrected p-value and effect size.
        outcome: "better", "worse", "open" (not significant at LEVEL) or "self".
    """

    text: str
    detail: str
    outcome: str


def p_value(row: dict[str, float]) -> float:
    """The larger of the two corrected p-values: a difference counts only where both tests find it."""
    return max(row["p_t_holm"], row["p_wilcoxon_holm"])


def hybrid_verdict(comparisons: pl.DataFrame, k: int) -> str | None:
    """Whether the best hybrid beats the best purely collaborative system; None where there is not one of each."""
    kinds = pl.concat(
        [
            comparisons.select("system", "kind", "value"),
            comparisons.select(
                pl.col("other").alias("system"),
                pl.col("other_kind").alias("kind"),
                pl.col("other_value").alias("value"),
            ),
        ]
    ).sort("value", "system", descending=[True, False])
    best_of = {kind: system for system, kind in kinds.select("system", "kind").reverse().iter_rows()}
    if not {"hybrid", "collaborative"} <= best_of.keys():
        return None
    hybrid, collaborative = best_of["hybrid"], best_of["collaborative"]
    pair = comparisons.filter(
        pl.col("system").is_in([hybrid, collaborative]) & pl.col("other").is_in([hybrid, collaborative])
    ).row(0, named=True)
    sign = 1 if pair["system"] == hybrid else -1
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    wins = sign > 0 and p_value(pair) < LEVEL
    return (
        f"The best hybrid ({hybrid}) {'beats' if wins else 'does not beat'} the best purely collaborative system "
        f"({collaborative}) with p < {LEVEL:g}: NDCG@{k} differs by {sign * pair['difference']:+.4f} "
        f"({low:+.4f} to {high:+.4f}), p {_compared(p_value(pair))} over {pair['users']} users, Holm-corrected for "
        f"{comparisons.height} pairs."
    )


def duel_matrix(comparisons: pl.DataFrame) -> tuple[list[str], list[list[Duel]]]:
    """Systems, best first, and for each row system against each column system."""
    means = dict(comparisons.select("system", "value").iter_rows())
    means |= dict(comparisons.select("other", "other_value").iter_rows())
    systems = sorted(means, key=lambda name: (-means[name], name))
    cells = {}
    for row in comparisons.iter_rows(named=True):
        p = p_value(row)
        for one, two, sign in ((row["system"], row["other"], 1), (row["other"], row["system"], -1)):
            outcome = "open" if p >= LEVEL else "better" if sign * row["difference"] > 0 else "worse"
            text = f"{sign * row['difference']:+.4f}".replace("-", "\N{MINUS SIGN}")
            cells[one, two] = Duel(text, f"p {_compared(p)}, d {sign * row['effect']:+.2f}", outcome)
    return systems, [[cells.get((one, two), Duel("", "", "self")) for two in systems] for one in systems]


def _compared(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"
