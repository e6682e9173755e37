"""Cold start in words and tables: who finds new movies, and who serves new people.

Belongs here: the rows of `cold_start` as tables for a terminal and for the page, and the sentence that compares. Does
not: the plot (plots.py), measuring.
"""

import polars as pl
from rich import box
from rich.table import Table
from rich.text import Text

from hybrid_assets.reporting.leaderboard import with_reach

CANDIDATES = {"cold": "new movies alone", "all": "all movies"}


def movie_rows(rows: pl.DataFrame) -> list[tuple[str, str, list[str]]]:
    """System, what it is made of, and the cells under `movie_headings`; best first by NDCG among the new movies."""
    return _pivot(rows.filter(pl.col("protocol") == "movies"), "candidates", list(CANDIDATES))


def movie_headings(k: int) -> list[str]:
    """Headings over the cells of `movie_rows`."""
    return [f"{metric}@{k}, {told}" for told in CANDIDATES.values() for metric in ("NDCG", "R")]


def people_rows(rows: pl.DataFrame) -> list[tuple[str, str, list[str]]]:
    """The same for new people, under `people_headings`; best first by NDCG with the most ratings known."""
    people = rows.filter(pl.col("protocol") == "people")
    return _pivot(people, "known", known_numbers(rows)[::-1], in_order=known_numbers(rows))


def people_headings(rows: pl.DataFrame, k: int) -> list[str]:
    """Headings over the cells of `people_rows`."""
    return [
        f"{metric}@{k}, {known} rating{'' if known == 1 else 's'}"
        for known in known_numbers(rows)
        for metric in ("NDCG", "R")
    ]


def known_numbers(rows: pl.DataFrame) -> list[int]:
    """The numbers of known ratings, ascending."""
    return rows["known"].drop_nulls().unique().sort().to_list()


def new_movie_verdict(rows: pl.DataFrame, k: int) -> str | None:
    """How the best hybrid compares with the best collaborative system among new movies; None without both."""
    cold = rows.filter((pl.col("candidates") == "cold") & pl.col("ndcg").is_not_null()).sort(
        "ndcg", descending=True, maintain_order=True
    )
    best = {kind: cold.filter(pl.col("kind") == kind).head(1).to_dicts() for kind in ("hybrid", "collaborative")}
    if not (best["hybrid"] and best["collaborative"]):
        return None
    hybrid, other = best["hybrid"][0], best["collaborative"][0]
    times = f", {hybrid['ndcg'] / other['ndcg']:.2f} times" if other["ndcg"] > 0 else " against"
    return (
        f"Among new movies, which no model has seen, the best hybrid ({hybrid['system']}) has NDCG@{k} "
        f"{hybrid['ndcg']:.3f}{times} the {other['ndcg']:.3f} of the best collaborative system ({other['system']}), "
        "which cannot tell them apart."
    )


def cold_start_tables(rows: pl.DataFrame, k: int) -> list[Table]:
    """Both protocols for a terminal: value and half the width of its bootstrap interval."""
    tables = []
    users = dict(rows.group_by("protocol").agg(pl.col("users").max()).iter_rows())
    for protocol, title, headings, lines in (
        ("movies", "New movies: held out of train whole", movie_headings(k), movie_rows(rows)),
        ("people", "New people: held out of train, then folded in", people_headings(rows, k), people_rows(rows)),
    ):
        table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold", title=title, title_justify="left")
        table.add_column("System", no_wrap=True)
        for heading in headings:
            table.add_column(heading.replace(", ", "\n"), justify="right")
        for system, _, cells in lines:
            table.add_row(system, *cells)
        notes = [f"{users.get(protocol) or 0} users; \N{PLUS-MINUS SIGN}: half the width of the bootstrap interval."]
        verdict = new_movie_verdict(rows, k) if protocol == "movies" else None
        notes += [verdict] if verdict else []
        notes += unmeasured(rows.filter(pl.col("protocol") == protocol))
        table.caption = Text("\n".join(notes))
        table.caption_justify = "left"
        tables.append(table)
    return tables


def unmeasured(rows: pl.DataFrame) -> list[str]:
    """Which systems have no figures, and why."""
    without = (
        rows.filter(pl.col("ndcg").is_null() & (pl.col("state") != "measured"))
        .select("system", "state")
        .unique(maintain_order=True)
    )
    return [f"No results for {system}: {state}." for system, state in without.iter_rows()]


def _pivot(
    rows: pl.DataFrame, column: str, by: list[str] | list[int], in_order: list[int] | None = None
) -> list[tuple[str, str, list[str]]]:
    """A line a system: NDCG and recall for each value of `column` in `in_order`, or `by`; sorted by NDCG at by[0]."""
    found = {(row["system"], row[column]): row for row in rows.iter_rows(named=True)}
    measured = rows.filter(pl.col("ndcg").is_not_null())
    kinds = dict(measured.select("system", "kind").iter_rows())
    best = sorted(kinds, key=lambda system: (-found[system, by[0]]["ndcg"], system))
    return [
        (
            system,
            kinds[system],
            [_cell(found[system, value], metric) for value in in_order or by for metric in ("ndcg", "recall")],
        )
        for system in best
    ]


def _cell(row: dict[str, float], metric: str) -> str:
    return with_reach(row[metric], row[f"{metric}_low"], row[f"{metric}_high"])
