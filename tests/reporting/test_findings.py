import polars as pl
import pytest

from hybrid_assets.reporting import findings as said


def findings(leaderboard: pl.DataFrame) -> list[str]:
    return said.findings(leaderboard, "most_popular")


def only(leaderboard: pl.DataFrame, *systems: str) -> pl.DataFrame:
    return leaderboard.filter(pl.col("system").is_in(systems))


def test_the_headline_names_the_leader_and_its_factor_over_most_popular(leaderboard: pl.DataFrame) -> None:
    # 0.3261 / 0.1705 = 1.9126
    assert findings(leaderboard)[0] == "ease leads with NDCG@25 0.326, 1.91 times most_popular."


def test_mf_only_below_most_popular_is_said(leaderboard: pl.DataFrame) -> None:
    sentences = findings(only(leaderboard, "most_popular", "mf_only"))
    assert "mf_only (0.089) lies below most_popular (0.171), which gives everyone the same movies." in sentences


def test_the_floor_may_have_another_name_or_none(leaderboard: pl.DataFrame) -> None:
    renamed = only(leaderboard, "most_popular", "mf_only").with_columns(
        pl.col("system").replace({"most_popular": "everybody_the_same"})
    )
    assert "mf_only (0.089) lies below everybody_the_same (0.171)" in " ".join(
        said.findings(renamed, "everybody_the_same")
    )
    assert "below" not in " ".join(said.findings(renamed, None))


def test_nothing_below_most_popular_is_said_when_the_data_does_not_say_so(leaderboard: pl.DataFrame) -> None:
    raised = leaderboard.with_columns(
        pl.when(pl.col("system") == "most_popular").then(0.001).otherwise("ndcg").alias("ndcg")
    )
    assert "below" not in " ".join(findings(raised))
    assert "below" not in " ".join(findings(only(leaderboard, "ease", "mf_only")))


def test_sentences_follow_the_figures(leaderboard: pl.DataFrame) -> None:
    swapped = leaderboard.with_columns(pl.when(pl.col("system") == "random").then(0.9).otherwise("ndcg").alias("ndcg"))
    assert findings(swapped)[0].startswith("random leads with NDCG@25 0.900")


def test_a_reproduced_row_and_a_row_that_differs_are_told_apart(leaderboard: pl.DataFrame) -> None:
    assert "mf_only reproduces the paper's published row to its last digit." in findings(leaderboard)
    off = leaderboard.with_columns(pl.col("recall") + 0.002)
    sentence = next(s for s in findings(off) if "differs from the paper" in s)
    assert "Recall@25 0.0903 against 0.088" in sentence
    assert "Precision" not in sentence


def test_without_published_values_the_paper_is_not_mentioned(without_published: pl.DataFrame) -> None:
    assert "paper" not in " ".join(findings(without_published))


@pytest.mark.parametrize(
    ("systems", "headline"),
    [
        (("mf_qwen3_4b_lora",), "No system is measured yet."),
        (("mf_only",), "mf_only is the only measured system: NDCG@25 0.089."),
        (("most_popular", "mf_only"), "most_popular leads with NDCG@25 0.171."),
    ],
)
def test_small_leaderboards_have_a_headline(leaderboard: pl.DataFrame, systems: tuple[str, ...], headline: str) -> None:
    assert findings(only(leaderboard, *systems))[0] == headline


def test_a_tie_is_a_shared_lead(leaderboard: pl.DataFrame) -> None:
    tied = only(leaderboard, "ease", "random").with_columns(ndcg=pl.lit(0.25))
    assert findings(tied)[0] == "ease and random share the lead: NDCG@25 0.250 each."


def test_systems_without_results_are_named(leaderboard: pl.DataFrame) -> None:
    assert "mf_qwen3_4b_lora" in findings(leaderboard)[-1]


def test_two_cutoffs_cannot_stand_side_by_side(leaderboard: pl.DataFrame) -> None:
    mixed = leaderboard.with_columns(pl.int_range(pl.len()).alias("k"))
    with pytest.raises(ValueError, match="column k must hold one cutoff"):
        findings(mixed)


def test_what_the_second_has_and_by_what_factor_the_leader_is_ahead(leaderboard):
    some = only(leaderboard, "ease", "mf_minilm", "most_popular").with_columns(
        ndcg=pl.when(system="ease").then(0.4).when(system="mf_minilm").then(0.2).otherwise(0.1)
    )
    told = findings(some)
    assert told[0] == "ease leads with NDCG@25 0.400, 4.00 times most_popular."
    assert told[1] == "Next is mf_minilm with 0.200 (the leader has 2.00 times that)."


def test_what_reranking_costs_by_hand(leaderboard):
    some = leaderboard.with_columns(
        ndcg=pl.when(system="ease").then(0.4).otherwise(0.3), coverage=pl.when(system="ease").then(0.1).otherwise(0.2)
    )
    (told,) = said.reranking(some, {"mf_minilm": "ease"})
    assert told.startswith(
        "Re-ranking ease as mf_minilm costs 25.0% of its NDCG@25 (0.400 to 0.300): coverage 0.1000 to 0.2000, "
    )
