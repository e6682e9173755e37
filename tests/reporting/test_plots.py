import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl
import pytest

from hybrid_assets.reporting import plots

RERANKED = {"mf_minilm": "ease"}
LEADERBOARD_PLOTS = [plots.leaderboard_plot, plots.paper_figure, partial(plots.pareto_plot, reranked=RERANKED)]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


@pytest.fixture
def drawn(monkeypatch):
    """Plots give their figure in place of its PNG."""
    monkeypatch.setattr(plots, "_png", lambda figure: figure)


def measured(leaderboard):
    rows = leaderboard.filter(pl.col("ndcg").is_not_null()).sort("ndcg", descending=True)
    return {row["system"]: row for row in rows.iter_rows(named=True)}


def arrows_on(axes):
    return [text for text in axes.texts if text.arrow_patch is not None and text.get_text() == ""]


def names_at(axes):
    return {
        round(place, 6): label.get_text()
        for place, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)
    }


@pytest.mark.parametrize("plot", LEADERBOARD_PLOTS)
def test_leaderboard_plots_are_large_enough_to_read(drawn, plot, leaderboard):
    width, height = plot(leaderboard).bbox.size
    assert width >= 1200
    assert 300 <= height <= 2000


@pytest.mark.parametrize("plot", LEADERBOARD_PLOTS)
def test_the_same_leaderboard_gives_the_same_bytes(
    plot: Callable[[pl.DataFrame], bytes], leaderboard: pl.DataFrame
) -> None:
    assert plot(leaderboard) == plot(leaderboard)


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = {"best": (1.0, 9.0), "wide": (5.0, 7.0), "beaten": (4.0, 6.0), "twin": (5.0, 7.0), "widest": (6.0, 1.0)}
    assert plots.pareto_front(points) == ["best", "twin", "wide", "widest"]
    assert plots.pareto_front(points, falling=True) == ["best"]
    assert plots.pareto_front({"best": (3.0, 9.0), "less": (3.0, 8.0), "other": (2.0, 8.0)}) == ["best"]
    assert plots.pareto_front({}) == []


def test_no_picture_depends_on_the_users_matplotlib_settings(leaderboard: pl.DataFrame) -> None:
    import matplotlib

    png = plots.leaderboard_plot(leaderboard)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        assert plots.leaderboard_plot(leaderboard) == png


@pytest.mark.parametrize("plot", LEADERBOARD_PLOTS)
def test_a_leaderboard_without_results_cannot_be_drawn(
    plot: Callable[[pl.DataFrame], bytes], unmeasured: pl.DataFrame
) -> None:
    with pytest.raises(ValueError, match="leaderboard: no row has a value in column ndcg"):
        plot(unmeasured)


def test_a_system_whose_every_metric_is_zero_can_be_drawn(leaderboard: pl.DataFrame) -> None:
    metrics = ["ndcg", "precision", "recall", "ndcg_list", *plots.PARETO]
    zero = leaderboard.filter(pl.col("system") == "random").with_columns(
        pl.lit(0.0).alias(name) for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")
    )
    for plot in LEADERBOARD_PLOTS:
        assert size(plot(zero))[0] >= 1200


@pytest.mark.parametrize("counts", [[7], [7, 7, 7], [1, 1, 1, 1, 1, 1, 1, 1, 1, 900]])
def test_activity_bins_follow_the_users_there_are(counts: list[int]) -> None:
    users = pl.DataFrame({"user_id": range(len(counts)), "train_ratings": counts}).with_columns(ndcg=0.5, recall=0.5)
    assert size(plots.activity_plot({"ease": users}))[0] >= 1200


def test_activity_bins_hold_equal_numbers_of_users_and_name_their_range(user_metrics: dict[str, pl.DataFrame]) -> None:
    counts = user_metrics["ease"]["train_ratings"].to_numpy()
    labels = plots._bin_labels(counts, plots._quantile_edges(counts))
    assert labels == [f"{low}–{low + 70}\n8 users" for low in (10, 90, 170, 250, 330)]  # noqa: RUF001


def test_activity_is_averaged_within_its_bin() -> None:
    users = pl.DataFrame({"user_id": range(4), "train_ratings": [1, 1, 9, 9], "ndcg": [0.0, 0.5, 1.0, 1.0]})
    means, errors = plots._bin_means(users, "ndcg", plots._quantile_edges(users["train_ratings"].to_numpy()))
    assert means.tolist() == [0.25, 1.0]
    # Standard deviation of 0 and 1/2 is 1/sqrt(8); of two users' mean, 1/4.
    assert errors.tolist() == pytest.approx([1.96 / 4, 0.0])


def test_activity_needs_a_user() -> None:
    with pytest.raises(ValueError, match="user_metrics holds no user"):
        plots.activity_plot({})


def test_more_systems_than_colours_still_draw(user_metrics: dict[str, pl.DataFrame]) -> None:
    size(plots.activity_plot({f"system_{number}": user_metrics["ease"] for number in range(12)}))


def test_reporting_leaves_pyplot_and_matplotlib_alone_until_it_draws() -> None:
    program = "import sys, hybrid_assets.reporting.page; print('matplotlib' in sys.modules, 'dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_each_dot_and_whisker_of_the_leaderboard_is_its_systems(drawn, leaderboard):
    figure, rows = plots.leaderboard_plot(leaderboard), measured(leaderboard)
    named = names_at(figure.axes[0])
    assert [named[place] for place in sorted(named, reverse=True)] == list(rows), "the best on top"
    for axes, metric in zip(figure.axes, ("ndcg", "precision", "recall"), strict=True):
        whiskers = {
            named[line.get_ydata()[0]]: tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2
        }
        dots = {named[line.get_ydata()[0]]: line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1}
        assert dots == {name: row[metric] for name, row in rows.items()}
        assert whiskers == {name: (row[f"{metric}_low"], row[f"{metric}_high"]) for name, row in rows.items()}


def test_bars_and_published_diamonds_of_the_papers_figure_stand_at_their_values(drawn, leaderboard):
    figure, rows = plots.paper_figure(leaderboard), measured(leaderboard)
    (axes,) = figure.axes
    named = names_at(axes)
    for bars, metric in zip(axes.containers, ("precision", "recall", "ndcg_list"), strict=True):
        found = {named[float(round(bar.get_y() + bar.get_height() / 2))]: bar.get_width() for bar in bars}
        assert found == {name: row[metric] for name, row in rows.items()}
    diamonds = sorted(line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()))
    assert diamonds == sorted(rows["mf_only"][f"published_{metric}"] for metric in ("precision", "recall", "ndcg_list"))
    by_height = sorted((line.get_ydata()[0], line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata()))
    assert [x for _, x in by_height] == [
        rows["mf_only"][f"published_{metric}"] for metric in ("ndcg_list", "recall", "precision")
    ]


def test_without_published_values_the_papers_figure_has_no_diamond_and_no_word_of_them(
    drawn, leaderboard, without_published
):
    having, lacking = plots.paper_figure(leaderboard), plots.paper_figure(without_published)
    told, untold = ([text.get_text() for text in figure.legends[0].get_texts()] for figure in (having, lacking))
    assert told == [*untold, "published in the paper"]
    assert not [line for line in lacking.axes[0].lines if len(line.get_xdata())]


def test_the_front_and_the_arrows_of_the_trade_offs(drawn, leaderboard):
    some = leaderboard.with_columns(popularity_bias=pl.col("ndcg") * 2, miscalibration=1 - pl.col("ndcg"))
    rows = measured(some)
    figure = plots.pareto_plot(some, RERANKED)
    for axes, metric in zip(figure.axes[: len(plots.PARETO)], plots.PARETO, strict=True):
        points = {name: (row[metric], row["ndcg"]) for name, row in rows.items()}
        (arrow,) = arrows_on(axes)
        assert (tuple(arrow.xy), tuple(arrow.xyann)) == (points["mf_minilm"], points["ease"])
        falling = metric in ("popularity_bias", "miscalibration")
        assert axes.xaxis_inverted() == falling
        (front,) = [line for line in axes.lines if line.get_marker() == "None" and len(line.get_xdata())]
        expected = plots.pareto_front(points, falling=falling)
        assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [points[name] for name in expected]


def test_without_reranked_systems_there_are_no_arrows(drawn, leaderboard):
    figure = plots.pareto_plot(leaderboard, {})
    assert [arrows_on(axes) for axes in figure.axes] == [[] for _ in figure.axes]


def test_users_by_activity_are_drawn_by_each_metric(drawn, user_metrics):
    one = {"ease": user_metrics["ease"]}
    figure = plots.activity_plot(one)
    counts = one["ease"]["train_ratings"].to_numpy()
    for axes, metric in zip(figure.axes, ("ndcg", "recall"), strict=True):
        expected, _ = plots._bin_means(one["ease"], metric, plots._quantile_edges(counts))
        np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)


@pytest.mark.parametrize("systems", [1, 2, 5, 12])
def test_however_many_systems_there_are_the_points_of_a_bin_stand_around_its_tick(drawn, user_metrics, systems):
    figure = plots.activity_plot({f"system_{number}": user_metrics["ease"] for number in range(systems)})
    for axes in figure.axes:
        points = [container.lines[0].get_xdata() for container in axes.containers]
        named, others, ticks = points[: len(plots.COLOURS)], points[len(plots.COLOURS) :], axes.get_xticks()
        np.testing.assert_allclose((np.min(named, axis=0) + np.max(named, axis=0)) / 2, ticks, atol=1e-9)
        for unnamed in others:
            np.testing.assert_array_equal(unnamed, ticks)
        assert axes.get_xlim() == (ticks[0] - 0.5, ticks[-1] + 0.5)


def test_new_movies_are_drawn_by_the_figures_among_new_movies_alone(drawn, cold_start):
    apart = cold_start.with_columns(ndcg=pl.when(candidates="all").then(0.9).otherwise("ndcg"))
    left, _ = plots.cold_start_plot(apart, 25).axes
    assert sorted(left.lines[0].get_xdata()) == pytest.approx([0.1, 0.2, 0.3])


def test_the_step_that_was_kept_and_the_best_so_far_are_marked(drawn):
    _, right = plots.training_plot([(1, 0.9), (2, 0.5)], [(0, 0.1), (5, 0.4), (9, 0.3)], 25, 5).axes
    assert [5, 5] in [list(line.get_xdata()) for line in right.lines]
    trials = pl.DataFrame({"quality": [0.2, 0.1, 0.4, 0.3], "x": [1.0, 2.0, 3.0, 4.0]})
    course = plots.search_plot(trials, "t", "q").axes[0]
    assert list(course.lines[1].get_ydata()) == [0.2, 0.2, 0.4, 0.4]
