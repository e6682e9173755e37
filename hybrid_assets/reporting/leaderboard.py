"""How to read the leaderboard table: its metrics and their names in print, which rows are measured, the cutoff.

Belongs here: what plots, page and terminal must say alike. Does not: computing a metric, or drawing one.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class Metric:
    """One metric of the leaderboard, as it is printed and explained.

    Attributes:
        column: its column; `<column>_low` and `<column>_high` hold the bootstrap interval.
        name: its name in print; "@k" stands for the cutoff.
        decimals: digits after the point.
        formula: how it is computed, for one user unless it says otherwise.
        meaning: what it tells, and which direction is better.
    """

    column: str
    name: str
    decimals: int
    formula: str
    meaning: str

    def label(self, k: int) -> str:
        """Name with the cutoff filled in, for example "NDCG@25"."""
        return self.name.replace("@k", f"@{k}")

    def text(self, value: float) -> str:
        """Value with this metric's digits, for example "0.0493"; a minus sign, not a hyphen, where negative."""
        return f"{value:.{self.decimals}f}".replace("-", "\N{MINUS SIGN}")


_METRICS = [
    Metric(
        "ndcg",
        "NDCG@k",
        4,
        "DCG@k ÷ IDCG@k, with DCG@k = Σ over the hits 1 ÷ log₂(rank + 1) "
        "and IDCG@k the DCG of a list that begins with min(k, relevant) hits",
        "How many relevant movies are found and how high they stand. 1 is a perfect list. "
        "This, the standard one, orders the leaderboard.",
    ),
    Metric("precision", "Precision@k", 4, "hits ÷ k", "Share of the list that is relevant. Higher is better."),
    Metric(
        "recall",
        "Recall@k",
        4,
        "hits ÷ relevant",
        "Share of the user's relevant movies that the list contains. Higher is better.",
    ),
    Metric(
        "ndcg_list",
        "list-NDCG@k (paper's)",
        4,
        "DCG@k ÷ the DCG of the same k entries with their hits moved to the front",
        "The paper's own variant. It only says where in the list the hits stand, not how many were missed: "
        "a list whose single hit comes first scores 1. Not comparable with NDCG@k.",
    ),
    Metric("hits", "Hits@k", 0, "relevant movies in the list, summed over users", "Higher is better."),
    Metric(
        "mrr",
        "MRR@k",
        4,
        "1 ÷ rank of the first hit, 0 without one",
        "How soon the first relevant movie comes. Higher is better.",
    ),
    Metric(
        "map",
        "MAP@k",
        4,
        "Σ over the hits (precision at the hit's rank) ÷ min(k, relevant)",
        "Average precision: rewards hits that come early and together. Higher is better.",
    ),
    Metric("hit_rate", "Hit rate@k", 4, "1 with at least one hit, else 0", "Share of users who find anything."),
    Metric(
        "coverage",
        "Coverage@k",
        4,
        "distinct movies in all lists ÷ movies in train",
        "Share of the catalogue that is recommended to somebody. Low coverage: everyone gets the same list.",
    ),
    Metric(
        "novelty",
        "Novelty@k",
        2,
        "mean over the list of log₂(1 ÷ share of users who rated the movie in train)",
        "In bits: how little known the listed movies are. Neither direction is better by itself.",
    ),
    Metric(
        "diversity",
        "Diversity@k",
        3,
        "1 minus the mean cosine similarity between all pairs of listed movies (text embeddings)",
        "How unlike each other the listed movies are. Neither direction is better by itself.",
    ),
    Metric(
        "popularity_bias",
        "Popularity bias@k",
        3,
        "share of the list among the most rated tenth of the movies in train",
        "1: nothing but what everybody watches; a list drawn at random has 0.1.",
    ),
    Metric(
        "miscalibration",
        "Miscalibration@k",
        3,
        "Σ over genres p(g) log(p(g) ÷ q(g)), p the genres of what the user rated in train, q of the list (with 1 % p)",
        "How far a list is from the mix of genres that the user watches, in nats. 0 is the same mix; lower is better.",
    ),
]
METRICS: Mapping[str, Metric] = {metric.column: metric for metric in _METRICS}
PUBLISHED = ("precision", "recall", "ndcg_list")

Row = Mapping[str, Any]


def number(value: float | int | None) -> float | None:
    """Value as a float, or None where it is null, NaN or infinite (none of which can be printed or sent as JSON)."""
    return None if value is None or not math.isfinite(value) else float(value)


def is_measured(row: Row) -> bool:
    """Whether a row of the leaderboard has results; if not, its `state` says why."""
    return number(row["ndcg"]) is not None


def measured(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of the leaderboard that have results, best NDCG first, ties by name."""
    rows = [row for row in leaderboard.iter_rows(named=True) if is_measured(row)]
    return sorted(rows, key=lambda row: (-row["ndcg"], row["system"]))


def ordered(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    """All rows: the measured ones best NDCG first, then the others by name."""
    others = [row for row in leaderboard.iter_rows(named=True) if not is_measured(row)]
    return measured(leaderboard) + sorted(others, key=lambda row: row["system"])


def with_reach(value: float, low: float, high: float) -> str:
    """A figure with half the width of its interval: `0.376 \N{PLUS-MINUS SIGN}0.012`."""
    return f"{value:.3f} {reach(low, high)}"


def reach(low: float, high: float) -> str:
    """Half the width of an interval: `\N{PLUS-MINUS SIGN}0.012`."""
    return f"\N{PLUS-MINUS SIGN}{(high - low) / 2:.3f}"


def interval(row: Row, metric: str) -> tuple[float, float] | None:
    """Bootstrap interval (low, high) of a metric in a row, or None where it has none."""
    low, high = number(row[f"{metric}_low"]), number(row[f"{metric}_high"])
    return None if low is None or high is None else (low, high)


def published(row: Row, metric: str) -> float | None:
    """What the paper published for this system, or None where it has no such row or column."""
    return number(row[f"published_{metric}"]) if metric in PUBLISHED else None


def has_published(rows: Iterable[Row]) -> bool:
    """Whether any of the rows has a published value."""
    return any(published(row, metric) is not None for row in rows for metric in PUBLISHED)


def cutoff(leaderboard: pl.DataFrame) -> int:
    """The k of the leaderboard.

    Raises:
        ValueError: the rows do not share one k, so their metrics cannot stand side by side.
    """
    values = leaderboard["k"].drop_nulls().unique().sort().to_list()
    if len(values) != 1:
        raise ValueError(
            f"leaderboard: column k must hold one cutoff for all systems, found {values or 'none'}; "
            "recompute the metrics of every system with the same evaluation.k"
        )
    return int(values[0])
