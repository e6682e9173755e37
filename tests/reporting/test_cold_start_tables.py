"""Cold start in tables, on the page and as a plot."""

import io

import polars as pl
import pytest
from rich.console import Console

from hybrid_assets.reporting.cold_start_tables import (
    cold_start_tables,
    movie_rows,
    new_movie_verdict,
    people_rows,
    unmeasured,
)
from hybrid_assets.reporting.plots import cold_start_plot

KINDS = {"ease": "collaborative", "content": "content", "both": "hybrid"}


@pytest.fixture
def rows() -> pl.DataFrame:
    made = []
    for place, (system, kind) in enumerate(KINDS.items(), start=1):
        keys = [("movies", "cold", None), ("movies", "all", None), ("people", "warm", 1), ("people", "warm", 5)]
        for protocol, candidates, known in keys:
            value = 0.1 * place if system != "content" or protocol == "movies" else None
            made.append(
                {"protocol": protocol, "candidates": candidates, "system": system, "kind": kind, "known": known}
                | {"users": None if value is None else 12, "state": "measured" if value else "has [learnt] too much"}
                | {f"{metric}{end}": value and value + add for metric in ("ndcg", "recall")
                   for end, add in (("", 0), ("_low", -0.01), ("_high", 0.01))}
            )  # fmt: skip
    return pl.DataFrame(made)


def test_the_best_stand_first_and_what_is_not_measured_says_why(rows):
    assert [system for system, *_ in movie_rows(rows)] == ["both", "content", "ease"]
    assert [system for system, *_ in people_rows(rows)] == ["both", "ease"]
    assert movie_rows(rows)[0][2] == ["0.300 ±0.010"] * 4
    assert unmeasured(rows) == ["No results for content: has [learnt] too much."]


def test_the_verdict_compares_the_best_hybrid_with_the_best_model(rows):
    told = new_movie_verdict(rows, 25)
    assert "best hybrid (both) has NDCG@25 0.300, 3.00 times the 0.100 of the best collaborative system (ease)" in told
    assert new_movie_verdict(rows.filter(pl.col("kind") != "hybrid"), 25) is None


def test_a_terminal_shows_both_tables(rows):
    console = Console(width=120, record=True, file=io.StringIO())
    for table in cold_start_tables(rows, 25):
        console.print(table)
    shown = console.export_text()
    assert "New movies" in shown
    assert "5 ratings" in shown
    assert "has [learnt] too much" in shown


def test_the_same_rows_give_the_same_picture(rows):
    picture = cold_start_plot(rows, 25)
    assert picture.startswith(b"\x89PNG")
    assert cold_start_plot(rows, 25) == picture
