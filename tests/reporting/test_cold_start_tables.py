"""Cold start in tables and sentences."""

import io

import polars as pl
from rich.console import Console

from hybrid_assets.reporting.cold_start_tables import (
    cold_start_tables,
    movie_headings,
    movie_rows,
    new_movie_verdict,
    people_headings,
    people_rows,
    unmeasured,
)


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


def rows_of(**values):
    """System -> its kind and its values on new movies alone, on all, and on new people with 1 and with 5 ratings."""
    made = []
    for key, (kind, cold, whole, one, five) in values.items():
        for protocol, candidates, known, value in (
            ("movies", "cold", None, cold),
            ("movies", "all", None, whole),
            ("people", "warm", 1, one),
            ("people", "warm", 5, five),
        ):
            made.append(
                {
                    "protocol": protocol,
                    "candidates": candidates,
                    "system": key,
                    "kind": kind,
                    "known": known,
                    "users": 12 if protocol == "movies" else 7,
                    "state": "measured",
                }
                | {
                    f"{metric}{end}": value + more + add
                    for metric, more in (("ndcg", 0), ("recall", 0.001))
                    for end, add in (("", 0), ("_low", -0.01), ("_high", 0.01))
                }
            )
    return pl.DataFrame(made)


def test_every_cell_stands_under_its_heading_and_the_order_is_that_of_most_known():
    rows = rows_of(a=("hybrid", 0.5, 0.1, 0.2, 0.3), b=("collaborative", 0.4, 0.9, 0.25, 0.35))
    cells = {system: [float(cell.split()[0]) for cell in line] for system, _, line in movie_rows(rows)}
    headings = movie_headings(25)
    assert headings == [
        "NDCG@25, new movies alone",
        "R@25, new movies alone",
        "NDCG@25, all movies",
        "R@25, all movies",
    ]
    assert cells["a"] == [0.5, 0.501, 0.1, 0.101]
    assert [system for system, *_ in movie_rows(rows)] == ["a", "b"]
    turned = rows_of(a=("hybrid", 0.5, 0.1, 0.9, 0.3), b=("collaborative", 0.4, 0.9, 0.25, 0.35))
    assert [system for system, *_ in people_rows(turned)] == ["b", "a"], "by five ratings, not by one"
    assert people_headings(turned, 25)[0] == "NDCG@25, 1 rating"
    assert [float(cell.split()[0]) for cell in people_rows(turned)[0][2]] == [0.25, 0.251, 0.35, 0.351]
    assert "(a) has NDCG@25 0.500, 1.25 times the 0.400 of the best collaborative system (b)" in new_movie_verdict(
        rows, 25
    )
