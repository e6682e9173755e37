"""The pictures of a report: which there are, drawn once for the page, the folder and the web UI.

Belongs here: the choice of plots and of what goes into each. Does not: drawing (plots.py), captions (page.py).
"""

from collections.abc import Mapping, Sequence

import polars as pl

from hybrid_assets.reporting.leaderboard import Row, cutoff, measured
from hybrid_assets.reporting.plots import activity_plot, cold_start_plot, leaderboard_plot, paper_figure, pareto_plot


def draw_pictures(
    leaderboard: pl.DataFrame,
    user_metrics: Mapping[str, pl.DataFrame],
    reranked: Mapping[str, str],
    cold_start: pl.DataFrame | None,
    floor: str | None,
) -> dict[str, bytes]:
    """Name -> PNG: `leaderboard`, `figure1`, `pareto`, where there are users `activity`, and `cold_start`.

    Without a measured system there are none but `cold_start`.

    Args:
        leaderboard: the leaderboard.
        user_metrics: system -> its table, of measured systems only.
        reranked: re-ranked system -> the one it was made from.
        cold_start: the protocols' table; None: not materialized, no picture of it.
        floor: the system that gives everybody the most popular movies; None: there is none.

    Raises:
        ValueError: the rows do not share one k.
    """
    rows, k = measured(leaderboard), cutoff(leaderboard)
    cold = {} if cold_start is None else {"cold_start": cold_start_plot(cold_start, k)}
    if not rows:
        return cold
    pictures = {
        "leaderboard": leaderboard_plot(leaderboard),
        "figure1": paper_figure(leaderboard),
        "pareto": pareto_plot(leaderboard, reranked),
    }
    shown = {system: user_metrics[system] for system in activity_order(rows, floor) if system in user_metrics}
    if any(table.height for table in shown.values()):
        pictures["activity"] = activity_plot(shown)
    return pictures | cold


def activity_order(rows: Sequence[Row], floor: str | None) -> list[str]:
    """Systems, best first, but the floor right after the leader: the plot names only its first seven."""
    names = [row["system"] for row in rows]
    return sorted(names, key=lambda name: (name != names[0], name != floor, names.index(name)))
