"""What the strata say: a sentence and the cells of a table.

Belongs here: words from the table `strata`. Does not: who falls into which stratum (recommender/strata.py), markup.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from hybrid_assets.reporting.leaderboard import METRICS


@dataclass(frozen=True)
class Stratum:
    """One column of the table.

    Attributes:
        title: the metric and the stratum.
        range: its members and their train ratings.
    """

    title: str
    range: str


@dataclass(frozen=True)
class Cell:
    """A mean with its interval as text; both empty where nobody is in the stratum.

    Attributes:
        value: the mean.
        interval: its ends.
        best: whether it is the highest of its column and not 0.
    """

    value: str
    interval: str
    best: bool


def strata_columns(strata: pl.DataFrame, k: int) -> list[Stratum]:
    """The strata in the order of the table; of users first, then of movies."""
    columns = []
    for row in strata.unique(["by", "stratum"], keep="first", maintain_order=True).iter_rows(named=True):
        what = "users" if row["by"].startswith("user") else "movies"
        metric = METRICS[row["metric"]].label(k)
        span = "none" if not row["members"] else f"{row['members']:,} with {row['fewest']:,} to {row['most']:,} ratings"
        title = f"{metric}, {what} with {row['stratum']} ratings" if what == "users" else f"{metric}, {row['stratum']}"
        columns.append(Stratum(title, span))
    return columns


def strata_cells(strata: pl.DataFrame, systems: Sequence[str]) -> list[tuple[str, list[Cell]]]:
    """A row for each of the systems that has strata, in the order given."""
    best = strata.group_by("by", "stratum").agg(pl.col("value").max())
    highest = {(by, stratum): value for by, stratum, value in best.iter_rows()}
    rows = []
    for system in systems:
        of_system = strata.filter(pl.col("system") == system)
        if of_system.is_empty():
            continue
        cells = []
        for row in of_system.iter_rows(named=True):
            if row["value"] is None:
                cells.append(Cell("", "", False))
                continue
            between = f"{row['low']:.3f}\N{EN DASH}{row['high']:.3f}"
            leads = row["value"] > 0 and row["value"] == highest[row["by"], row["stratum"]]
            cells.append(Cell(f"{row['value']:.3f}", between, leads))
        rows.append((system, cells))
    return rows


def strata_sentence(strata: pl.DataFrame, leader: str, k: int) -> str | None:
    """Where the leader is weak: its NDCG for users with few and many ratings, its recall of the head and the tail."""
    of_leader = {
        (row["by"], row["stratum"]): row["value"]
        for row in strata.filter(pl.col("system") == leader).iter_rows(named=True)
    }
    few, many = of_leader.get(("user activity", "few")), of_leader.get(("user activity", "many"))
    head, tail = of_leader.get(("movie popularity", "head")), of_leader.get(("movie popularity", "tail"))
    if None in (few, many, head, tail):
        return None
    return (
        f"{leader} has {METRICS['ndcg'].label(k)} {few:.3f} for the third of users with the fewest ratings and "
        f"{many:.3f} for the third with the most; of a user's relevant movies it finds on average "
        f"{head:.1%} of those in the head and {tail:.1%} of those in the tail."
    )
