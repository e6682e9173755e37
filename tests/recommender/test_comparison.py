"""Paired comparisons against values worked by hand."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import norm

from hybrid_assets.recommender import comparison

# where a test does not say otherwise
compare = partial(comparison.compare, resamples=1000, confidence=0.95)
BASE = np.array([0.1, 0.2, 0.3, 0.2])


def one(difference: list[float]) -> dict[str, float]:
    zeros = np.zeros(len(difference))
    return compare({"b": zeros, "a": np.array(difference)}, seed=0).row(0, named=True)


def test_one_pair_by_hand():
    # mean 2, standard deviation 1: t = 2 sqrt(3), and with two degrees of freedom p = 1 - t / sqrt(t^2 + 2);
    # all three ranks are positive: 2 of 2^3 sign patterns are as extreme
    row = one([1.0, 2.0, 3.0])
    assert (row["system"], row["other"], row["users"]) == ("a", "b", 3)
    assert row["difference"] == pytest.approx(2.0)
    assert row["effect"] == pytest.approx(2.0)
    assert row["p_t"] == pytest.approx(1 - np.sqrt(12 / 14))
    assert row["p_wilcoxon"] == pytest.approx(0.25)
    assert 1.0 <= row["low"] < row["high"] <= 3.0


def test_wilcoxons_ranks_count_zeros_as_pratt_does_by_hand():
    # ranks of 1 to 5 are 2 to 6: W+ = 14, W- = 6; mean (6 * 7 - 1 * 2) / 4 = 10, variance (6 * 7 * 13 - 1 * 2 * 3) / 24
    row = one([0.0, 1.0, 2.0, 3.0, 4.0, -5.0])
    assert row["p_wilcoxon"] == pytest.approx(2 * norm.cdf((6 - 10) / 22.5**0.5))


def test_the_better_system_stands_first_whatever_the_order():
    row = one([-1.0, -2.0, -3.0])
    assert (row["system"], row["difference"]) == ("b", pytest.approx(2.0))


def test_every_pair_is_compared_once_and_corrected_as_holm_does():
    generator = np.random.default_rng(3)
    values = {name: generator.normal(mean, 0.3, 80) for name, mean in (("a", 0.5), ("b", 0.42), ("c", 0.4))}
    table = compare(values, seed=0)
    assert table.height == 3
    for test in ("p_t", "p_wilcoxon"):
        raw, corrected = table[test].to_numpy(), table[f"{test}_holm"].to_numpy()
        order = np.argsort(raw)
        stepwise = np.maximum.accumulate(raw[order] * [3, 2, 1]).clip(max=1)
        np.testing.assert_allclose(corrected[order], stepwise)


def test_a_system_that_differs_for_nobody_is_not_better():
    row = compare({"a": BASE, "b": BASE.copy()}, seed=0).row(0, named=True)
    assert (row["difference"], row["low"], row["high"], row["effect"]) == (0, 0, 0, 0)
    assert (row["p_t_holm"], row["p_wilcoxon_holm"]) == (1, 1)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = []
    for seed in range(4):
        true = dict(zip("abcdefgh", range(8), strict=True))
        pairs = compare({name: generator.normal(mean, 1, 60) for name, mean in true.items()}, seed=seed, resamples=300)
        covered += [
            row["low"] <= true[row["system"]] - true[row["other"]] <= row["high"] for row in pairs.iter_rows(named=True)
        ]
    # 95 %, less three standard errors of 32 independent samples
    assert 0.83 <= np.mean(covered) <= 1
    assert len(covered) == 112


def test_an_interval_is_as_wide_as_its_confidence_asks():
    values = {"a": np.random.default_rng(1).normal(0.3, 1, 400), "b": np.zeros(400)}
    for confidence, deviations in ((0.5, 0.6745), (0.95, 1.96)):
        row = compare(values, seed=0, confidence=confidence).row(0, named=True)
        assert (row["high"] - row["low"]) / 2 == pytest.approx(deviations * values["a"].std() / 20, rel=0.1)


def test_one_user_and_one_system_have_defined_results():
    assert compare({"a": BASE}, seed=0).is_empty()
    row = compare({"a": np.array([0.5]), "b": np.array([0.1])}, seed=0).row(0, named=True)
    assert (row["low"], row["high"], row["p_t"]) == (pytest.approx(0.4), pytest.approx(0.4), 1.0)


def test_the_same_seed_gives_the_same_table():
    values = {"a": BASE, "b": BASE[::-1].copy(), "c": BASE * 2}
    assert compare(values, seed=5).equals(compare(values, seed=5))


@pytest.mark.parametrize(
    ("other", "words"), [(BASE[:3], "same users"), (np.array([np.nan, 0, 0, 0]), "b has a value that is not finite")]
)
def test_what_cannot_be_paired_is_refused(other, words):
    with pytest.raises(ValueError, match=words):
        compare({"a": BASE, "b": other}, seed=0)
