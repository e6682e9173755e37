"""What the leaderboard says, in words: every name and figure is computed from the table.

Belongs here: sentences, each said only when the table supports it. Does not: markup.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from hybrid_assets.reporting.leaderboard import (
    METRICS,
    PUBLISHED,
    Row,
    cutoff,
    has_published,
    is_measured,
    measured,
    number,
    ordered,
    published,
)


def findings(leaderboard: pl.DataFrame, floor: str | None) -> list[str]:
    """Plain sentences about a leaderboard, the headline first.

    Always: who leads (or that nothing is measured yet). Only where the table supports it: by what factor it leads the
    next and the floor, which systems lie below the floor, how the published rows reproduce and which systems have no
    results.

    Args:
        leaderboard: the leaderboard.
        floor: the system that gives everybody the most popular movies; None: there is none.

    Raises:
        ValueError: the rows do not share one cutoff k.
    """
    k = cutoff(leaderboard)
    rows = measured(leaderboard)
    waiting = [row for row in ordered(leaderboard) if not is_measured(row)]
    lowest = None if floor is None else _named(rows, floor)
    sentences = _lead(rows, k, lowest) + _below(rows, lowest) + _reproduction(rows, k)
    if waiting:
        some = f"{len(waiting)} systems have" if len(waiting) > 1 else f"{waiting[0]['system']} has"
        sentences.append(f"{some} no results; the table says why.")
    return sentences


def reranking(leaderboard: pl.DataFrame, reranked: Mapping[str, str]) -> list[str]:
    """What each re-ranking costs in NDCG and what it changes beside it, where both systems are measured.

    Args:
        leaderboard: the leaderboard.
        reranked: re-ranked system -> the one it was made from.
    """
    k = cutoff(leaderboard)
    rows = measured(leaderboard)
    sentences = []
    for again, base in reranked.items():
        after, before = _named(rows, again), _named(rows, base)
        if after is None or before is None or not before["ndcg"] > 0:
            continue
        lost = (before["ndcg"] - after["ndcg"]) / before["ndcg"]
        verb = f"costs {lost:.1%}" if lost >= 0 else f"adds {-lost:.1%}"
        changes = [
            f"{metric.replace('_', ' ')} {METRICS[metric].text(before[metric])} to "
            f"{METRICS[metric].text(after[metric])}"
            for metric in ("coverage", "novelty", "diversity", "popularity_bias", "miscalibration")
            if number(before[metric]) is not None and number(after[metric]) is not None
        ]
        sentences.append(
            f"Re-ranking {base} as {again} {verb} of its {METRICS['ndcg'].label(k)} "
            f"({_ndcg(before)} to {_ndcg(after)}): {_listed(changes)}."
        )
    return sentences


def _lead(rows: Sequence[Row], k: int, floor: Row | None) -> list[str]:
    if not rows:
        return ["No system is measured yet."]
    first = rows[0]
    name = METRICS["ndcg"].label(k)
    if len(rows) == 1:
        return [f"{first['system']} is the only measured system: {name} {_ndcg(first)}."]
    second = rows[1]
    if first["ndcg"] == second["ndcg"]:
        return [f"{first['system']} and {second['system']} share the lead: {name} {_ndcg(first)} each."]
    headline = f"{first['system']} leads with {name} {_ndcg(first)}"
    if floor is not None and floor is not first and floor["ndcg"] > 0:
        headline += f", {_times(first, floor)} {floor['system']}"
        if floor is second:
            return [headline + "."]
    return [f"{headline}.", f"Next is {second['system']} with {_ndcg(second)}{_ahead(first, second)}."]


def _ahead(first: Row, second: Row) -> str:
    if second["ndcg"] <= 0 or _times(first, second) == "1.00 times":
        return ""
    return f" (the leader has {_times(first, second)} that)"


def _below(rows: Sequence[Row], floor: Row | None) -> list[str]:
    below = [] if floor is None else [row for row in rows if row["ndcg"] < floor["ndcg"]]
    if floor is None or not below:
        return []
    verb = "lies" if len(below) == 1 else "lie"
    names = _listed([f"{row['system']} ({_ndcg(row)})" for row in below])
    return [f"{names} {verb} below {floor['system']} ({_ndcg(floor)}), which gives everyone the same movies."]


def _reproduction(rows: Sequence[Row], k: int) -> list[str]:
    with_row = [row for row in rows if has_published([row])]
    agree, differ = [], []
    for row in with_row:
        gaps = [
            (metric, number(row[metric]), value)
            for metric in PUBLISHED
            if (value := published(row, metric)) is not None
        ]
        off = [
            f"{METRICS[metric].label(k)} {METRICS[metric].text(ours)} against {value:.3f}"
            for metric, ours, value in gaps
            if ours is not None and round(ours, 3) != round(value, 3)
        ]
        if off:
            differ.append(f"{row['system']} ({', '.join(off)})")
        else:
            agree.append(row["system"])
    sentences: list[str] = []
    if agree:
        verb = "reproduces" if len(agree) == 1 else "reproduce"
        sentences.append(f"{_listed(agree)} {verb} the paper's published row to its last digit.")
    if differ:
        verb = "differs" if len(differ) == 1 else "differ"
        sentences.append(f"{_listed(differ)} {verb} from the paper's published row.")
    return sentences


def _named(rows: Sequence[Row], system: str) -> Row | None:
    return next((row for row in rows if row["system"] == system), None)


def _ndcg(row: Row) -> str:
    return f"{row['ndcg']:.3f}"


def _times(row: Row, other: Row) -> str:
    return f"{row['ndcg'] / other['ndcg']:.2f} times"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
