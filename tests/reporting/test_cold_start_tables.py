"""Cold start in tables, on the page and as a plot."""

import io

import polars as pl
from rich.console import Console

from hybrid_assets.reporting.cold_start_tables import (
    cold_start_tables,
    movie_rows,
    new_movie_verdict,
    people_rows,
    unmeasured,
)
from hybrid_assets.reporting.plots import cold_start_plot


def test_the_best_stand_first_and_what_is_not_measured_says_why(cold_start):
    assert [system for system, *_ in movie_rows(cold_start)] == ["both", "content", "ease"]
    assert [system for system, *_ in people_rows(cold_start)] == ["both", "ease"]
    assert movie_rows(cold_start)[0][2] == ["0.300 ±0.010"] * 4
    assert unmeasured(cold_start) == ["No results for content: has [learnt] too much."]


def test_the_verdict_compares_the_best_hybrid_with_the_best_model(cold_start):
    told = new_movie_verdict(cold_start, 25)
    assert "best hybrid (both) has NDCG@25 0.300, 3.00 times the 0.100 of the best collaborative system (ease)" in told
    assert new_movie_verdict(cold_start.filter(pl.col("kind") != "hybrid"), 25) is None


def test_a_terminal_shows_both_tables(cold_start):
    console = Console(width=120, record=True, file=io.StringIO())
    for table in cold_start_tables(cold_start, 25):
        console.print(table)
    shown = console.export_text()
    assert "New movies" in shown
    assert "5 ratings" in shown
    assert "has [learnt] too much" in shown


def test_the_same_rows_give_the_same_picture(cold_start):
    picture = cold_start_plot(cold_start, 25)
    assert picture.startswith(b"\x89PNG")
    assert cold_start_plot(cold_start, 25) == picture
