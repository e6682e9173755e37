"""What the comparisons say in words and cells."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.comparison import compare
from hybrid_assets.reporting.comparisons import duel_matrix, hybrid_verdict, p_value

KINDS = {"stacked": "hybrid", "mf_minilm": "hybrid", "ease": "collaborative", "popular": "collaborative"}


def table(**shift: float) -> pl.DataFrame:
    base = np.random.default_rng(0).random(200)
    noise = np.random.default_rng(1).normal(0, 0.05, (len(shift), 200))
    values = {name: base + more + noise[row] for row, (name, more) in enumerate(shift.items())}
    return compare(values, seed=0, resamples=200, confidence=0.95).with_columns(
        pl.col("system").replace_strict(KINDS).alias("kind"), pl.col("other").replace_strict(KINDS).alias("other_kind")
    )


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        ({"stacked": 0.2, "ease": 0.1, "mf_minilm": 0.0}, "The best hybrid (stacked) beats"),
        ({"stacked": 0.0, "ease": 0.1, "popular": 0.0}, "The best hybrid (stacked) does not beat"),
        ({"stacked": 0.1001, "ease": 0.1}, "The best hybrid (stacked) does not beat"),
    ],
)
def test_the_best_hybrid_is_held_against_the_best_purely_collaborative_system(shift, words):
    verdict = hybrid_verdict(table(**shift), 25)
    assert verdict.startswith(words)
    assert "(ease)" in verdict
    low, high = (float(part) for part in verdict.split("(")[3].split(")")[0].split(" to "))
    assert low < shift["stacked"] - shift["ease"] < high


def test_without_a_hybrid_or_a_model_nothing_is_said():
    assert hybrid_verdict(table(ease=0.1, popular=0.0), 25) is None
    assert hybrid_verdict(table(stacked=0.1), 25) is None


def test_the_matrix_reads_row_against_column():
    systems, cells = duel_matrix(table(ease=0.1, popular=0.0, mf_minilm=0.1))
    outcomes = {
        (one, two): cell.outcome
        for one, row in zip(systems, cells, strict=True)
        for two, cell in zip(systems, row, strict=True)
    }
    assert systems[-1] == "popular"
    assert outcomes["ease", "popular"] == "better"
    assert outcomes["popular", "ease"] == "worse"
    assert outcomes["ease", "mf_minilm"] == outcomes["mf_minilm", "ease"] == "open"
    assert {outcomes[name, name] for name in systems} == {"self"}


def test_a_difference_counts_only_where_both_tests_find_it():
    assert p_value({"p_t_holm": 0.2, "p_wilcoxon_holm": 0.001}) == 0.2


def duel(**changed):
    row = {
        "system": "ease",
        "other": "stacked",
        "value": 0.5,
        "other_value": 0.4,
        "difference": 0.1,
        "low": 0.06,
        "high": 0.13,
        "effect": 0.7,
        "p_t_holm": 0.001,
        "p_wilcoxon_holm": 0.002,
        "users": 9,
        "kind": "collaborative",
        "other_kind": "hybrid",
    }
    return pl.DataFrame([row | changed])


def test_signs_are_those_of_the_row_against_the_column_and_of_the_hybrid():
    told = hybrid_verdict(duel(), 25)
    assert "does not beat" in told, "it is worse, significantly"
    assert "NDCG@25 differs by -0.1000 (-0.1300 to -0.0600), p = 0.0020" in told
    systems, cells = duel_matrix(duel())
    assert systems == ["ease", "stacked"]
    assert (cells[0][1].text, cells[0][1].detail, cells[0][1].outcome) == ("+0.1000", "p = 0.0020, d +0.70", "better")
    assert (cells[1][0].text, cells[1][0].detail, cells[1][0].outcome) == (
        "\N{MINUS SIGN}0.1000",
        "p = 0.0020, d -0.70",
        "worse",
    )
