"""Plots: tables in, PNG bytes out.

The same table gives the same bytes: no clock, no user style, no pyplot state. Colours are Okabe and Ito's, which
colour-blind readers tell apart, and a shape, a position or a label always says the same as the colour.
Belongs here: what is drawn and how it looks. Does not: computing metrics, words on the page.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.reporting.leaderboard import (
    METRICS,
    PUBLISHED,
    Row,
    cutoff,
    has_published,
    interval,
    measured,
    number,
    published,
)
from hybrid_assets.reporting.point_names import name_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Vector = npt.NDArray[np.float64]

# Okabe and Ito (2008), without yellow: it does not show on white.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, MUTED, GRID = "#222222", "#666666", "#e4e4e4"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b0b0b0",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
}
DPI = 160
WIDTH = 8.4
ACTIVITY_BINS = 5
# What stands against accuracy; of the falling ones less is better.
PARETO = ("coverage", "novelty", "diversity", "popularity_bias", "miscalibration")
PARETO_FALLING = ("popularity_bias", "miscalibration")
HOLLOW: Mapping[str, Any] = {
    "markerfacecolor": "white",
    "markeredgecolor": INK,
    "markeredgewidth": 1.1,
    "markersize": 5,
    "linestyle": "none",
}


def leaderboard_plot(leaderboard: pl.DataFrame) -> bytes:
    """PNG of NDCG, precision and recall at k with their bootstrap intervals: a dot and whiskers per measured system.

    Best NDCG on top in all three panels; each panel has its own scale, from 0.

    Raises:
        ValueError: no system is measured, or the rows do not share one k.
    """
    rows, k = _rows(leaderboard), cutoff(leaderboard)
    metrics = ("ndcg", "precision", "recall")
    heights = np.arange(len(rows))[::-1]
    with _figure(WIDTH, 0.9 + 0.33 * len(rows)) as figure:
        panels = figure.subplots(1, len(metrics), sharey=True)
        for axes, metric in zip(panels, metrics, strict=True):
            right = max(_reach(row, metric) for row in rows) or 1.0
            for height, row in zip(heights, rows, strict=True):
                value = number(row[metric])
                if value is None:
                    continue
                if bounds := interval(row, metric):
                    axes.plot(bounds, [height, height], color=BLUE, linewidth=1.6, alpha=0.55, solid_capstyle="butt")
                axes.plot([value], [height], "o", color=BLUE, markersize=5.5, clip_on=False)
                axes.text(
                    right * 1.06, height, f"{value:.3f}", va="center", fontsize=8.5, fontfamily="DejaVu Sans Mono"
                )
            axes.set_title(METRICS[metric].label(k))
            axes.set_xlim(0, right * 1.34)
            axes.set_ylim(-0.6, len(rows) - 0.4)
            axes.xaxis.set_major_locator(_round_ticks(right))
            axes.grid(axis="y", visible=False)
            axes.spines["left"].set_visible(False)
            # A row is followed by eye across three panels, so every other one is tinted.
            for height in heights[::2]:
                axes.axhspan(height - 0.5, height + 0.5, color="#f5f5f5", linewidth=0, zorder=0)
        panels[0].set_yticks(heights, [row["system"] for row in rows])
        return _png(figure)


def paper_figure(leaderboard: pl.DataFrame) -> bytes:
    """PNG of the paper's Figure 1 for this run: Precision@k, Recall@k and list-NDCG@k of each measured system.

    Grouped bars, best NDCG on top; a hollow diamond stands at the paper's published value where there is one.

    Raises:
        ValueError: no system is measured, or the rows do not share one k.
    """
    rows, k = _rows(leaderboard), cutoff(leaderboard)
    looks = {"precision": (BLUE, ""), "recall": (ORANGE, "////"), "ndcg_list": (GREEN, "....")}
    thickness, label_gap = 0.26, 0.012
    right = max(max(number(row[metric]) or 0.0, published(row, metric) or 0.0) for row in rows for metric in PUBLISHED)
    right = right or 1.0
    with _figure(WIDTH, 1.1 + 0.62 * len(rows)) as figure:
        axes = figure.subplots()
        centres = np.arange(len(rows))[::-1].astype(float)
        for position, metric in enumerate(PUBLISHED):
            colour, hatch = looks[metric]
            heights = centres + (1 - position) * thickness
            values = [number(row[metric]) for row in rows]
            axes.barh(
                heights,
                [value or 0.0 for value in values],
                height=thickness * 0.92,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0,
                label=METRICS[metric].label(k),
            )
            for row, height, value in zip(rows, heights, values, strict=True):
                theirs = published(row, metric)
                if value is not None:
                    end = max(value, theirs or 0.0) + right * (label_gap + (0.01 if theirs is not None else 0))
                    axes.text(end, height, f"{value:.3f}", va="center", fontsize=7.5, color=INK)
                if theirs is not None:
                    axes.plot([theirs], [height], "D", **HOLLOW)
        handles, names = axes.get_legend_handles_labels()
        if has_published(rows):
            handles += axes.plot([], [], "D", **HOLLOW)
            names.append("published in the paper")
        axes.set_yticks(centres, [row["system"] for row in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlim(0, right * 1.1)
        axes.grid(axis="y", visible=False)
        figure.legend(handles, names, loc="outside upper left", ncols=4, fontsize=8.5, handlelength=1.6)
        return _png(figure)


def pareto_plot(leaderboard: pl.DataFrame, reranked: Mapping[str, str]) -> bytes:
    """PNG of NDCG at k against what accuracy does not see: one panel each, a point per measured system.

    Up is more accurate, right is more of the other (the axes of PARETO_FALLING run backwards). The line joins the
    systems that no other one beats in both; they are named, the others are small and grey. An arrow leads from a
    system to its re-ranked one.

    Args:
        leaderboard: the leaderboard.
        reranked: re-ranked system -> the one it was made from.

    Raises:
        ValueError: no system is measured, or the rows do not share one k.
    """
    rows, k = _rows(leaderboard), cutoff(leaderboard)
    columns = 2
    with _figure(WIDTH, 3.1 * -(-len(PARETO) // columns)) as figure:
        panels = figure.subplots(-(-len(PARETO) // columns), columns).ravel()
        labels = []
        for axes, metric in zip(panels, PARETO, strict=False):
            here = [row for row in rows if number(row[metric]) is not None]
            points = {row["system"]: (row[metric], row["ndcg"]) for row in here}
            best = pareto_front(points, falling=metric in PARETO_FALLING)
            for name, (x, y) in points.items():
                look = {"color": BLUE, "markersize": 6} if name in best else {"color": "#b5b5b5", "markersize": 4}
                axes.plot([x], [y], "o", clip_on=False, zorder=3, **look)
            axes.plot(*zip(*(points[name] for name in best), strict=True), color=BLUE, linewidth=0.9, alpha=0.6)
            for again, base in reranked.items():
                if again in points and base in points:
                    arrow = {"arrowstyle": "-|>", "color": VERMILLION, "linewidth": 1.1, "shrinkA": 3, "shrinkB": 3}
                    axes.annotate("", points[again], points[base], arrowprops=arrow, zorder=4)
            named = [*best, *(name for name in reranked if name in points and name not in best)]
            labels.append((axes, [(*points[name], name) for name in named]))
            axes.set_ylim(0, max([1e-9, *(y for _, y in points.values())]) * 1.18)
            axes.set_xlabel(METRICS[metric].label(k) + (" (less is right)" if metric in PARETO_FALLING else ""))
            axes.set_ylabel(METRICS["ndcg"].label(k))
            axes.margins(x=0.16)
            if metric in PARETO_FALLING:
                axes.invert_xaxis()
        spare = panels[len(PARETO) :]
        for axes in spare:
            axes.set_axis_off()
        looks = [
            {"marker": "o", "color": BLUE, "linewidth": 0.9, "label": "no other system is better in both"},
            {"marker": "o", "color": "#b5b5b5", "markersize": 4, "linestyle": "none", "label": "other systems"},
        ]
        if reranked:
            looks.append({"color": VERMILLION, "linewidth": 1.1, "label": "to the same lists, re-ranked"})
        handles = [panels[0].plot([], [], **look)[0] for look in looks]
        (spare[0] if len(spare) else panels[0]).legend(handles=handles, loc="center left", fontsize=9)
        for axes, points_named in labels:
            name_points(figure, axes, points_named)
        return _png(figure)


def pareto_front(points: Mapping[str, tuple[float, float]], *, falling: bool = False) -> list[str]:
    """Names of the points (x, y) that no other has at least as much of both and more of one; by descending y.

    `falling`: less x is better.
    """
    sign = -1 if falling else 1
    ordered = sorted(points, key=lambda name: (-points[name][1], -sign * points[name][0], name))
    front: list[str] = []
    for name in ordered:
        x, y = sign * points[name][0], points[name][1]
        if (
            not front
            or x > sign * points[front[-1]][0]
            or (x, y) == (sign * points[front[-1]][0], points[front[-1]][1])
        ):
            front.append(name)
    return front


def activity_plot(user_metrics: Mapping[str, pl.DataFrame]) -> bytes:
    """PNG of NDCG and recall by how many train ratings a user has: system -> its user_metrics table.

    Users fall into at most five bins of about equal size; each bin's label gives its range of train ratings and its
    number of users. Points are means over the users of a bin, whiskers mean +- 1.96 standard errors (at least 0).
    The first seven systems, in the order given, have a colour and a marker; any more are drawn in grey, unnamed.

    Raises:
        ValueError: there is no system or no user.
    """
    if not user_metrics or not any(table.height for table in user_metrics.values()):
        raise ValueError("activity_plot: user_metrics holds no user; pass the user_metrics of a measured system")
    users = pl.concat([table.select("user_id", "train_ratings") for table in user_metrics.values()]).unique("user_id")
    edges = _quantile_edges(users["train_ratings"].to_numpy())
    labels = _bin_labels(users["train_ratings"].to_numpy(), edges)
    named = min(len(COLOURS), len(user_metrics))
    ticks = np.arange(len(labels), dtype=np.float64)
    with _figure(WIDTH, 4.3) as figure:
        panels = figure.subplots(1, 2)
        for axes, metric in zip(panels, ("ndcg", "recall"), strict=True):
            for position, (system, table) in enumerate(user_metrics.items()):
                means, errors = _bin_means(table, metric, edges)
                places = ticks
                if position < named:
                    places = ticks + 0.5 * (position - (named - 1) / 2) / len(COLOURS)
                    look: dict[str, Any] = {"color": COLOURS[position], "marker": MARKERS[position], "zorder": 3}
                    look |= {"label": system, "markersize": 5, "linewidth": 1.3, "elinewidth": 0.9}
                else:
                    look = {"color": "#bdbdbd", "linewidth": 0.8, "elinewidth": 0, "zorder": 2}
                    look["label"] = "other systems" if position == named else None
                lower = np.minimum(errors, means)
                axes.errorbar(places, means, yerr=np.stack([lower, errors]), **look)
            axes.set_title({"ndcg": "NDCG (standard)", "recall": "Recall"}[metric])
            axes.set_xticks(ticks, labels, fontsize=8)
            axes.set_xlim(-0.5, len(labels) - 0.5)
            axes.set_xlabel("ratings the user has in train")
            axes.set_ylim(bottom=0)
            axes.grid(axis="x", visible=False)
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(
            [handle[0] for handle in handles], names, loc="outside lower left", ncols=4, fontsize=8.5, handlelength=2.2
        )
        return _png(figure)


def cold_start_plot(cold_start: pl.DataFrame, k: int) -> bytes:
    """PNG of NDCG@k on cold start: a dot a system among new movies, and a line a system over the known ratings.

    Whiskers are the intervals. The first seven systems of a panel have a colour; any more are drawn in grey.
    """
    measured = cold_start.filter(pl.col("ndcg").is_not_null())
    movies = measured.filter(pl.col("candidates") == "cold").sort("ndcg", maintain_order=True)
    people = measured.filter(pl.col("protocol") == "people").sort("known")
    systems = people.filter(pl.col("known") == pl.col("known").max()).sort("ndcg", descending=True)["system"].to_list()
    with _figure(WIDTH, 1.2 + max(2.6, 0.33 * movies.height)) as figure:
        left, right = figure.subplots(1, 2)
        value, low, high = (movies[column].to_numpy() for column in ("ndcg", "ndcg_low", "ndcg_high"))
        heights = np.arange(movies.height)
        whiskers = np.stack([value - low, high - value]).clip(min=0)
        left.errorbar(value, heights, xerr=whiskers, fmt="o", color=BLUE, markersize=5)
        left.set_yticks(heights, movies["system"].to_list())
        left.set_xlim(left=0)
        left.grid(axis="y", visible=False)
        left.set(title="New movies", xlabel=f"NDCG@{k} among the held-out movies")
        for position, system in enumerate(systems):
            rows = people.filter(pl.col("system") == system)
            named = position < len(COLOURS)
            colour = COLOURS[position] if named else "#bdbdbd"
            mean = rows["ndcg"].to_numpy()
            spread = np.stack([mean - rows["ndcg_low"].to_numpy(), rows["ndcg_high"].to_numpy() - mean]).clip(min=0)
            marker = MARKERS[position] if named else None
            label = system if named else "other systems" if position == len(COLOURS) else None
            right.errorbar(
                rows["known"], mean, yerr=spread, color=colour, marker=marker, label=label, markersize=5, elinewidth=0.9
            )
        right.set_xticks(people["known"].unique().sort().to_list())
        right.set_ylim(bottom=0)
        right.grid(axis="x", visible=False)
        right.set(title="New people", xlabel="ratings of the user that are known", ylabel=f"NDCG@{k}")
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower left", ncols=4, fontsize=8.5, handlelength=2.2)
        return _png(figure)


def training_plot(
    losses: Sequence[tuple[int, float]], recalls: Sequence[tuple[int, float]], k: int, kept: int
) -> bytes:
    """Loss, and recall@k on validation, over the steps of a training; the step whose weights were kept is marked."""
    with _figure(7.2, 2.8) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(*zip(*losses, strict=True) if losses else ([], []), color=BLUE)
        left.set(title="Training loss", xlabel="step")
        if recalls:
            right.plot(*zip(*recalls, strict=True), color=VERMILLION, marker="o")
            right.axvline(kept, color=MUTED, linewidth=1, linestyle="--")
        right.set(title=f"Recall@{k} on validation (dashed: kept)", xlabel="step")
        for axes in (left, right):
            axes.set_ylim(bottom=0)
        return _png(figure)


def search_plot(trials: pl.DataFrame, title: str, measured_as: str) -> bytes:
    """PNG of a search over a model's settings: what the trials found in turn, and what each setting has to do with it.

    Args:
        trials: `quality` (null where a trial failed) in the order of the trials, and a column a searched setting.
        title: over the first panel.
        measured_as: what the quality is.

    Raises:
        ValueError: no trial has a quality.
    """
    fitted = trials.with_row_index("trial").filter(pl.col("quality").is_not_null())
    if fitted.is_empty():
        raise ValueError("no trial could be fitted, there is nothing to plot")
    settings = [name for name in trials.columns if name != "quality"]
    columns, quality = 3, fitted["quality"].to_numpy()
    rows = 1 + -(-len(settings) // columns)
    with _figure(WIDTH, 0.4 + 2.2 * rows) as figure:
        grid = figure.add_gridspec(rows, columns)
        course: Axes = figure.add_subplot(grid[0, :])
        course.plot(fitted["trial"], quality, "o", color=BLUE, markersize=4, label="a trial")
        course.step(
            fitted["trial"], np.maximum.accumulate(quality), where="post", color=VERMILLION, label="best so far"
        )
        course.set(title=title, xlabel="trial (0: the catalog's settings)", ylabel=measured_as)
        course.legend(loc="lower right")
        for place, name in enumerate(settings):
            panel: Axes = figure.add_subplot(grid[1 + place // columns, place % columns], sharey=course)
            numeric = fitted[name].dtype.is_numeric()
            values: list[Any] = fitted[name].cast(pl.Float64 if numeric else pl.String).to_list()
            panel.plot(values, quality, "o", color=BLUE, markersize=4)
            panel.plot([values[int(quality.argmax())]], [quality.max()], **HOLLOW)
            if numeric and 0 < 8 * min(values) < max(values):
                panel.set_xscale("log")
            panel.set_xlabel(name)
        return _png(figure)


def _rows(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    rows = measured(leaderboard)
    if not rows:
        raise ValueError("leaderboard: no row has a value in column ndcg; compute the metrics of a system first")
    return rows


def _reach(row: Row, metric: str) -> float:
    """The largest number that is drawn for a metric of a row: the upper end of its interval, or its value."""
    bounds = interval(row, metric)
    return bounds[1] if bounds else number(row[metric]) or 0.0


def _quantile_edges(train_ratings: npt.NDArray[Any]) -> Vector:
    """Inner edges (ascending, distinct) that cut users into at most ACTIVITY_BINS bins of about equal size.

    A user falls into bin b when b edges are below its train ratings, so users with equal counts stay together.
    """
    quantiles = np.arange(1, ACTIVITY_BINS) / ACTIVITY_BINS
    edges = np.unique(np.quantile(train_ratings, quantiles, method="inverted_cdf"))
    # An edge at the largest count would leave an empty last bin.
    inner: Vector = edges[edges < train_ratings.max()].astype(np.float64)
    return inner


def _bin_of(train_ratings: npt.NDArray[Any], edges: Vector) -> npt.NDArray[np.int64]:
    return np.searchsorted(edges, train_ratings, side="left").astype(np.int64)


def _bin_labels(train_ratings: npt.NDArray[Any], edges: Vector) -> list[str]:
    bins = _bin_of(train_ratings, edges)
    labels = []
    for position in range(len(edges) + 1):
        inside = train_ratings[bins == position]
        low, high = int(inside.min()), int(inside.max())
        span = f"{low}" if low == high else f"{low}\N{EN DASH}{high}"
        labels.append(f"{span}\n{len(inside)} user{'' if len(inside) == 1 else 's'}")
    return labels


def _bin_means(table: pl.DataFrame, metric: str, edges: Vector) -> tuple[Vector, Vector]:
    """(bins,) mean and 1.96 standard errors of a metric over the users of each bin; NaN and 0 where it has none."""
    bins, values = _bin_of(table["train_ratings"].to_numpy(), edges), table[metric].to_numpy()
    means, errors = np.full(len(edges) + 1, np.nan), np.zeros(len(edges) + 1)
    for position in range(len(edges) + 1):
        inside = values[bins == position]
        if len(inside):
            means[position] = inside.mean()
        if len(inside) > 1:
            errors[position] = 1.96 * inside.std(ddof=1) / np.sqrt(len(inside))
    return means, errors


def _round_ticks(right: float) -> Any:
    """Ticks at round numbers from 0 to no further than `right`, where the printed values begin."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    ticks = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(0, right)
    return FixedLocator([tick for tick in ticks if tick <= right * 1.001])


@contextmanager
def _figure(width: float, height: float) -> "Iterator[Figure]":
    """A figure of this size (inches) in this module's style, whatever the user's matplotlibrc says."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", STYLE]):
        yield Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    # Software: matplotlib's version, which would change the bytes of an unchanged picture.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
