import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import polars as pl
import pytest

from hybrid_assets.reporting import plots

RERANKED = {"mf_minilm": "ease"}
LEADERBOARD_PLOTS = [plots.leaderboard_plot, plots.paper_figure, partial(plots.pareto_plot, reranked=RERANKED)]


def size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", png[16:24])


@pytest.mark.parametrize("plot", LEADERBOARD_PLOTS)
def test_leaderboard_plots_are_wide_enough_to_read_and_the_same_each_time(
    plot: Callable[[pl.DataFrame], bytes], leaderboard: pl.DataFrame
) -> None:
    png = plot(leaderboard)
    width, height = size(png)
    assert width >= 1200
    assert 300 <= height <= 2000
    assert plot(leaderboard) == png


def test_the_front_is_what_no_other_beats_in_both() -> None:
    points = {"best": (1.0, 9.0), "wide": (5.0, 7.0), "beaten": (4.0, 6.0), "twin": (5.0, 7.0), "widest": (6.0, 1.0)}
    assert plots.pareto_front(points) == ["best", "twin", "wide", "widest"]
    assert plots.pareto_front(points, falling=True) == ["best"]
    assert plots.pareto_front({"best": (3.0, 9.0), "less": (3.0, 8.0), "other": (2.0, 8.0)}) == ["best"]
    assert plots.pareto_front({}) == []


def test_an_arrow_leads_to_what_is_reranked(leaderboard: pl.DataFrame) -> None:
    assert plots.pareto_plot(leaderboard, RERANKED) != plots.pareto_plot(leaderboard, {})


def test_activity_plot_is_wide_enough_to_read_and_the_same_each_time(user_metrics: dict[str, pl.DataFrame]) -> None:
    png = plots.activity_plot(user_metrics)
    assert size(png)[0] >= 1200
    assert plots.activity_plot(user_metrics) == png


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


def test_the_published_values_show_in_the_papers_figure(
    leaderboard: pl.DataFrame, without_published: pl.DataFrame
) -> None:
    assert plots.paper_figure(leaderboard) != plots.paper_figure(without_published)


def test_a_system_whose_every_metric_is_zero_can_be_drawn(leaderboard: pl.DataFrame) -> None:
    metrics = ["ndcg", "precision", "recall", "ndcg_list", *plots.PARETO]
    zero = leaderboard.filter(pl.col("system") == "random").with_columns(
        pl.lit(0.0).alias(name) for metric in metrics for name in (metric, f"{metric}_low", f"{metric}_high")
    )
    for plot in LEADERBOARD_PLOTS:
        size(plot(zero))


@pytest.mark.parametrize("counts", [[7], [7, 7, 7], [1, 1, 1, 1, 1, 1, 1, 1, 1, 900]])
def test_activity_bins_follow_the_users_there_are(counts: list[int]) -> None:
    users = pl.DataFrame({"user_id": range(len(counts)), "train_ratings": counts}).with_columns(ndcg=0.5, recall=0.5)
    size(plots.activity_plot({"ease": users}))


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
