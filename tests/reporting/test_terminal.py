import io
import json

import polars as pl
import pytest
from rich.console import Console

from hybrid_assets.reporting.terminal import leaderboard_notes, leaderboard_records, leaderboard_table


def printed(leaderboard: pl.DataFrame, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(leaderboard_table(leaderboard))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_system_is_one_line_in_120_columns(leaderboard: pl.DataFrame) -> None:
    line = next(line for line in printed(leaderboard, 120).splitlines() if "mf_only" in line)
    assert line.split() == [
        *["mf_only", "0.089", "±0.005", "0.049", "±0.003", "0.088", "±0.005", "0.277", "±0.017"],
        *["0.049", "0.088", "0.277", "0.184", "1.400"],
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_it_fits_and_cuts_nothing_off(leaderboard: pl.DataFrame, width: int) -> None:
    text = printed(leaderboard, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for system in leaderboard.filter(pl.col("ndcg").is_not_null())["system"]:
        assert system in text
    for shown in ("0.326", "±0.020", "0.158", "0.336", "0.552", "0.081", "1.400"):
        assert shown in text


def test_the_papers_ndcg_has_its_own_name(leaderboard: pl.DataFrame) -> None:
    assert "list-NDCG@25: the paper's own variant" in leaderboard_notes(leaderboard)[0]


def test_the_published_column_is_there_only_when_a_row_has_values(
    leaderboard: pl.DataFrame, without_published: pl.DataFrame
) -> None:
    assert "Published" in printed(leaderboard, 120)
    assert "Published" in leaderboard_notes(leaderboard)[0]
    assert "Published" not in printed(without_published, 120)
    assert "Published" not in leaderboard_notes(without_published)[0]


def test_a_system_without_results_says_why(leaderboard: pl.DataFrame) -> None:
    assert "mf_qwen3_4b_lora" not in printed(leaderboard, 120)
    assert leaderboard_notes(leaderboard)[1:] == ["No results for mf_qwen3_4b_lora: needs a GPU"]


def test_markup_in_a_name_is_printed_as_it_stands(leaderboard: pl.DataFrame) -> None:
    odd = leaderboard.with_columns(system="[b]" + pl.col("system"))
    assert "[b]mf_only" in printed(odd, 120)


def test_records_survive_json_and_hold_every_metric_with_its_interval(leaderboard: pl.DataFrame) -> None:
    records = leaderboard_records(leaderboard)
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    first = records[0]
    assert first["system"] == "ease"
    assert first["ndcg"] == 0.3261
    assert first["ndcg_interval"] == pytest.approx([0.3261 * 0.94, 0.3261 * 1.06])
    assert (first["dataset"], first["k"], first["users"], first["hits"]) == ("ml-latest-small", 25, 600, 2373)
    metrics = [column for column in leaderboard.columns if f"{column}_low" in leaderboard.columns]
    assert all(f"{metric}_interval" in first and metric in first for metric in metrics)


def test_records_hold_published_values_or_null(leaderboard: pl.DataFrame) -> None:
    published = {record["system"]: record["published"] for record in leaderboard_records(leaderboard)}
    assert published["mf_only"] == {"precision": 0.049, "recall": 0.088, "ndcg_list": 0.277}
    assert published["ease"] is None


def test_a_record_without_results_is_null_and_keeps_its_state(leaderboard: pl.DataFrame) -> None:
    last = leaderboard_records(leaderboard)[-1]
    assert (last["system"], last["state"]) == ("mf_qwen3_4b_lora", "needs a GPU")
    assert last["ndcg"] is None
    assert last["ndcg_interval"] is None


def test_nan_becomes_null(leaderboard: pl.DataFrame) -> None:
    odd = leaderboard.with_columns(diversity=pl.lit(float("nan")), diversity_low=pl.lit(float("nan")))
    records = leaderboard_records(odd)
    json.dumps(records, allow_nan=False)
    assert records[0]["diversity"] is None
    assert records[0]["diversity_interval"] is None
