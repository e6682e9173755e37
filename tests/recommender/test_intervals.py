"""From users to figures and intervals: what is known of the sums, and of how often an interval is right."""

from functools import partial

import numpy as np
import polars as pl
import pytest
from scipy.stats import bootstrap

from hybrid_assets.recommender import intervals
from hybrid_assets.recommender.intervals import MEAN_OF, METRICS, mean_interval

# where a test does not say otherwise
summarise = partial(intervals.summarise, resamples=1000, confidence=0.95)


def table(users, **columns):
    """A user_metrics table, 0 where a column is not given."""
    given = {name: np.asarray(columns.get(name, np.zeros(users)), dtype=np.float64) for name in MEAN_OF.values()}
    return pl.DataFrame({"hits": np.asarray(columns.get("hits", np.zeros(users)), dtype=np.uint32), **given})


def random_case(users, items=300, k=5, seed=0):
    rng = np.random.default_rng(seed)
    columns = {name: rng.beta(1, 4, users) for name in MEAN_OF.values()}
    columns["hits"] = rng.integers(0, k + 1, users)
    columns["precision"] = columns["hits"] / k
    return table(users, **columns), popular_lists(rng, users, items, k)


def popular_lists(rng, users, items, k):
    """Lists in which some items are far more often than others."""
    appeal = -np.log(np.arange(1, items + 1)) + rng.gumbel(size=(users, items))
    return np.argpartition(-appeal, k, axis=1)[:, :k]


def row(summary, metric):
    return summary.row(by_predicate=pl.col("metric") == metric, named=True)


def interval(summary, metric):
    found = row(summary, metric)
    return np.array([found["low"], found["high"]])


def test_hits_are_added_the_rest_averaged_and_coverage_is_of_the_set():
    users = table(
        4,
        hits=[3, 0, 1, 2],
        precision=[3 / 5, 0, 1 / 5, 2 / 5],
        reciprocal_rank=[1, 0, 1 / 2, 1 / 2],
        average_precision=[1, 0, 0, 0],
        hit=[1, 0, 1, 1],
    )
    lists = np.array([[0, 1, -1], [1, 0, 2], [-1, -1, -1], [2, 1, 0]])
    values = dict(summarise(users, lists, 12, seed=0, resamples=100).select("metric", "value").iter_rows())
    assert values["hits"] == 6
    assert values["precision"] == pytest.approx(6 / 20)
    assert values["mrr"] == pytest.approx(2 / 4)
    assert values["map"] == 1 / 4
    assert values["hit_rate"] == 3 / 4
    assert values["coverage"] == 3 / 12


def test_the_table_has_a_row_for_each_metric():
    summary = summarise(*random_case(20), 300, seed=0, resamples=100)
    assert summary.schema == {
        "metric": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "users": pl.UInt32,
    }
    names = "hits precision recall ndcg ndcg_list mrr map hit_rate coverage novelty diversity popularity_bias"
    names += " miscalibration"
    assert sorted(summary["metric"]) == sorted(names.split()) == sorted(METRICS)
    assert summary["users"].to_list() == [20] * len(METRICS)


@pytest.mark.parametrize("seed", range(5))
def test_every_value_lies_in_its_interval(seed):
    summary = summarise(*random_case(80, seed=seed), 300, seed=seed)
    assert (summary["low"] < summary["value"]).all()
    assert (summary["value"] < summary["high"]).all()


def test_the_interval_of_a_constant_is_that_constant():
    users = table(50, hits=np.full(50, 2), **{name: np.full(50, 0.3) for name in MEAN_OF.values()})
    summary = summarise(users, np.tile([[1, 2, 3]], (50, 1)), 6, seed=0)
    for metric in METRICS:
        expected = {"hits": 100, "coverage": 3 / 6}.get(metric, 0.3)
        found = row(summary, metric)
        assert [found["value"], found["low"], found["high"]] == pytest.approx([expected] * 3, abs=1e-12)


def test_one_seed_gives_the_same_bytes_another_does_not():
    case = random_case(60)
    first, again, other = (summarise(*case, 300, seed=seed) for seed in (7, 7, 8))
    for column in ("value", "low", "high"):
        assert first[column].to_numpy().tobytes() == again[column].to_numpy().tobytes()
    assert first["value"].equals(other["value"])
    assert not first["low"].equals(other["low"])


def test_the_numbers_do_not_depend_on_the_block(monkeypatch):
    case = random_case(40)
    whole = summarise(*case, 300, seed=3, resamples=101)
    monkeypatch.setattr(intervals, "BLOCK_DRAWS", 7 * 40)
    in_blocks = summarise(*case, 300, seed=3, resamples=101)
    for column in ("low", "high"):
        np.testing.assert_allclose(in_blocks[column], whole[column], rtol=1e-12)


def test_all_metrics_share_the_resamples():
    """Hits are k * users * precision in every resample, hence in the interval."""
    summary = summarise(*random_case(60, k=5), 300, seed=0)
    np.testing.assert_allclose(interval(summary, "hits"), 5 * 60 * interval(summary, "precision"))


def test_a_mean_has_the_percentile_interval_of_scipy_and_of_the_normal_distribution():
    users, lists = random_case(600)
    for metric in ("ndcg", "recall"):
        values = users[metric].to_numpy()
        ours = interval(summarise(users, lists, 300, seed=0, resamples=4000), metric)
        theirs = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(99))
        error = values.std() / np.sqrt(len(values))
        np.testing.assert_allclose(ours, theirs.confidence_interval, atol=0.15 * error)
        np.testing.assert_allclose(ours, values.mean() + 1.96 * error * np.array([-1, 1]), atol=0.2 * error)


def test_the_interval_of_a_mean_has_the_width_asked_for_and_leans_as_the_values_do():
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = mean_interval(values, seed=1, resamples=50_000, confidence=0.5)
    assert (high - low) / 2 == pytest.approx(0.6745 * values.std() / 20, rel=0.01)
    skewed = np.array([0.0] * 9 + [1.0])
    low, high = mean_interval(skewed, seed=1, resamples=2000, confidence=0.95)
    assert (low, high) == (0.0, pytest.approx(0.3)), "percentiles of a binomial of 10 with 0.1"


def test_a_higher_confidence_is_a_wider_interval():
    case = random_case(60)
    narrow, wide = (summarise(*case, 300, seed=0, confidence=confidence) for confidence in (0.8, 0.99))
    assert (wide["low"] < narrow["low"]).all()
    assert (wide["high"] > narrow["high"]).all()


def test_95_percent_intervals_hold_a_known_mean_about_95_times_of_100():
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(300):
        users = table(100, ndcg=rng.beta(2, 6, 100))
        low, high = interval(summarise(users, np.zeros((100, 1), dtype=int), 1, seed=seed, resamples=400), "ndcg")
        held += low <= 2 / 8 <= high
    assert 0.91 <= held / 300 <= 0.98


def test_intervals_of_coverage_hold_what_as_many_other_users_would_cover():
    """The percentile interval as it is would never: it lies below, as a resample has fewer different users."""
    rng = np.random.default_rng(6)
    others = [popular_lists(rng, 100, 300, 5) for _ in range(150)]
    expected = np.mean([len(np.unique(lists)) / 300 for lists in others])
    held = 0
    for seed, lists in enumerate(others):
        low, high = interval(summarise(table(100), lists, 300, seed=seed, resamples=200), "coverage")
        held += low <= expected <= high
    assert 0.85 <= held / len(others) <= 1


def test_coverage_varies_as_the_union_of_the_lists_of_the_drawn_users():
    _, lists = random_case(80)
    rng = np.random.default_rng(1)
    covered = [len(np.unique(lists[rng.integers(0, 80, 80)])) / 300 for _ in range(4000)]
    expected = len(np.unique(lists)) / 300 + np.quantile(covered, [0.025, 0.975]) - np.mean(covered)
    found = interval(summarise(table(80), lists, 300, seed=0, resamples=4000), "coverage")
    np.testing.assert_allclose(found, expected, atol=0.2 * np.std(covered))


def test_coverage_stays_a_share_though_everything_is_covered():
    summary = summarise(table(30), np.arange(30)[:, None], 30, seed=0)
    assert row(summary, "coverage")["value"] == 1
    assert interval(summary, "coverage")[1] == 1


def test_one_user_is_an_interval_of_no_width():
    summary = summarise(table(1, hits=[2], ndcg=[0.5]), np.array([[3, 4]]), 8, seed=0)
    assert interval(summary, "ndcg").tolist() == [0.5, 0.5]
    assert interval(summary, "coverage").tolist() == [2 / 8, 2 / 8]
    assert row(summary, "hits")["users"] == 1


def test_what_cannot_be_summarised_is_refused():
    with pytest.raises(ValueError, match=r"no user has a relevant test movie.*lower evaluation\.relevance_threshold"):
        summarise(table(0), np.empty((0, 5), dtype=int), 9, seed=0)
    with pytest.raises(ValueError, match="user_metrics has 2 users and there are 3 lists"):
        summarise(table(2), np.zeros((3, 5), dtype=int), 9, seed=0)
    with pytest.raises(ValueError, match="item index 9 and there are 9 items"):
        summarise(table(2), np.array([[0], [9]]), 9, seed=0)
