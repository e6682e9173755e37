"""The report page: one self-contained HTML file made from tables.

Belongs here: what the page says and in what order; its markup and looks are in report.html.jinja, which escapes every
value. Does not: drawing (plots.py), the sentences (findings.py), choosing users (illustration.py).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import polars as pl

from hybrid_assets.reporting.cold_start_tables import (
    movie_headings,
    movie_rows,
    new_movie_verdict,
    people_headings,
    people_rows,
    unmeasured,
)
from hybrid_assets.reporting.comparisons import LEVEL, duel_matrix, hybrid_verdict
from hybrid_assets.reporting.findings import findings, reranking
from hybrid_assets.reporting.illustration import Illustration
from hybrid_assets.reporting.leaderboard import (
    METRICS,
    Metric,
    Row,
    cutoff,
    has_published,
    interval,
    is_measured,
    measured,
    number,
    ordered,
    published,
)
from hybrid_assets.reporting.pictures import activity_order
from hybrid_assets.reporting.plots import PARETO
from hybrid_assets.reporting.strata import strata_cells, strata_columns, strata_sentence

_MAIN = ("ndcg", "precision", "recall", "ndcg_list", "hits", "coverage", "popularity_bias")
_FURTHER = tuple(metric for metric in METRICS if metric not in _MAIN)


@dataclass(frozen=True)
class _Cell:
    """One value of a table: its text, its interval, what the paper published and how far off that is."""

    value: str
    interval: str = ""
    published: str = ""
    difference: str = ""


@dataclass(frozen=True)
class _Plot:
    """A plot on the page; `data` is the PNG in base64, `alt` says in words what it shows."""

    title: str
    caption: str
    alt: str
    data: str


def report_page(
    leaderboard: pl.DataFrame,
    *,
    comparisons: pl.DataFrame | None,
    strata: pl.DataFrame | None,
    cold_start: pl.DataFrame | None,
    pictures: Mapping[str, bytes],
    reranked: Mapping[str, str],
    floor: str | None,
    illustrations: Sequence[Illustration],
    relevance_threshold: float,
    confidence: float,
    provenance: Mapping[str, object],
) -> str:
    """The report as one HTML page that needs no network and runs no script.

    Holds the findings in words, the leaderboard with intervals and published values, the matrix of paired
    comparisons, the strata, the plots, the illustration, a glossary of the metrics, and `provenance` (name -> value,
    shown as given: dataset, split, seed, versions, ...). `pictures` are those of pictures.draw_pictures, `reranked` is
    re-ranked system -> the one it was made from, `floor` the system that gives everybody the most popular movies,
    `confidence` (0..1) is the intervals' coverage. Without `comparisons`, `strata` or `cold_start` (None: not
    materialized) their sections are left out. With no measured system the page has no plots of systems and says so.

    Raises:
        ValueError: the rows do not share one k.
    """
    from jinja2 import Environment, StrictUndefined

    k = cutoff(leaderboard)
    rows = ordered(leaderboard)
    headline, *further = findings(leaderboard, floor)
    measured_names = [row["system"] for row in rows if is_measured(row)]
    further += [] if comparisons is None else filter(None, [hybrid_verdict(comparisons, k)])
    further += reranking(leaderboard, reranked)
    if strata is not None and measured_names:
        further += filter(None, [strata_sentence(strata, measured_names[0], k)])
    duel_systems, duels = ([], []) if comparisons is None else duel_matrix(comparisons)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("report.html.jinja").read_text("utf-8"))
    return template.render(
        k=k,
        dataset=", ".join(leaderboard["dataset"].drop_nulls().unique().sort()),
        split="; ".join(leaderboard["split"].drop_nulls().unique().sort()),
        users=max((row["users"] for row in rows if row["users"] is not None), default=0),
        relevance_threshold=f"{relevance_threshold:g}",
        confidence=f"{confidence * 100:g}",
        headline=headline,
        findings=further,
        duel_systems=duel_systems,
        duels=list(zip(duel_systems, duels, strict=True)),
        duel_level=f"{LEVEL:g}",
        strata_columns=[] if strata is None else strata_columns(strata, k),
        strata_rows=[] if strata is None else strata_cells(strata, measured_names),
        main_headings=[METRICS[metric].label(k) for metric in _MAIN],
        main_rows=[_table_row(row, _MAIN) for row in rows],
        further_headings=[METRICS[metric].label(k) for metric in _FURTHER],
        further_rows=[_table_row(row, _FURTHER) for row in rows if is_measured(row)],
        has_published=has_published(rows),
        plots=_plots(leaderboard, pictures, k, confidence, floor),
        cold=None if cold_start is None else _cold_start(cold_start, pictures["cold_start"], k, confidence),
        users_shown=[_user(illustration) for illustration in illustrations],
        metrics=[
            (metric.label(k), metric.formula.replace("@k", f"@{k}"), metric.meaning) for metric in METRICS.values()
        ],
        provenance=[(name, str(value)) for name, value in provenance.items()],
    )


def _table_row(row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "system": row["system"],
        "state": row["state"],
        "measured": is_measured(row),
        "cells": [_cell(row, METRICS[metric]) for metric in metrics],
    }


def _cell(row: Row, metric: Metric) -> _Cell:
    value, theirs, bounds = number(row[metric.column]), published(row, metric.column), interval(row, metric.column)
    text = "" if value is None else metric.text(value)
    between = "" if bounds is None else f"{metric.text(bounds[0])}\N{EN DASH}{metric.text(bounds[1])}"
    # The paper prints three decimals.
    paper = "" if theirs is None else f"{theirs:.3f}"
    difference = ""
    if value is not None and theirs is not None:
        off = round(value - theirs, metric.decimals)
        sign = "+" if off > 0 else "\N{MINUS SIGN}" if off < 0 else "\N{PLUS-MINUS SIGN}"
        difference = f"{sign}{abs(off):.{metric.decimals}f}"
    return _Cell(text, between, paper, difference)


def _plots(
    leaderboard: pl.DataFrame, pictures: Mapping[str, bytes], k: int, confidence: float, floor: str | None
) -> list[_Plot]:
    rows = measured(leaderboard)
    ndcg, recall = METRICS["ndcg"].label(k), METRICS["recall"].label(k)
    values = "; ".join(f"{row['system']} {row['ndcg']:.3f}" for row in rows)
    against = [METRICS[metric].label(k) for metric in PARETO]
    words = {
        "leaderboard": (
            f"How well each system ranks: {ndcg}, precision and recall",
            f"Dots are means over users, whiskers {confidence * 100:g} % bootstrap intervals. "
            "Systems without results are left out.",
            f"Dot plot with a row per system, best first. {ndcg}: {values}. The values of all panels are in the table.",
        ),
        "figure1": (
            "The paper's Figure 1, for this run",
            f"{METRICS['ndcg_list'].label(k)} is the paper's own NDCG: high whenever the few hits stand early, "
            "so its bars do not compare with the other two."
            + (" A diamond marks what the paper published for that system." if has_published(rows) else ""),
            "Grouped bars of precision, recall and list-NDCG per system, best first. The values are in the table.",
        ),
        "pareto": (
            "What accuracy does not see",
            "Up: more accurate. Right: more of the catalogue, less known movies, lists that vary more, fewer of the "
            "most popular, genres closer to what the user rated. On the line, more of one costs some of the other; a "
            "system below it is beaten in both. An arrow leads to the same lists, re-ranked: its fall is the cost.",
            f"Scatter plots of {ndcg} against {', '.join(against)}, a point per system; the values are in the tables.",
        ),
        "activity": (
            "For whom it works: by how many ratings the user has in train",
            f"{ndcg} and {recall}. Users fall into bins of about equal size; whiskers are the mean "
            f"\N{PLUS-MINUS SIGN} 1.96 standard errors. Where a user has more than {k} relevant movies, {recall} "
            "cannot reach 1.",
            f"Two line plots of {ndcg} and {recall} over bins of users by their number of train ratings, "
            f"a line per system: {', '.join(activity_order(rows, floor))}.",
        ),
    }
    return [_Plot(*said, _base64(pictures[name])) for name, said in words.items() if name in pictures]


def _base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def _cold_start(rows: pl.DataFrame, picture: bytes, k: int, confidence: float) -> dict[str, Any]:
    verdict = new_movie_verdict(rows, k)
    told = "; ".join(f"{system} {cells[0]}" for system, _, cells in movie_rows(rows))
    return {
        "notes": [*([verdict] if verdict else []), *unmeasured(rows)],
        "tables": [
            ("New movies", movie_headings(k), [(system, cells) for system, _, cells in movie_rows(rows)]),
            ("New people", people_headings(rows, k), [(system, cells) for system, _, cells in people_rows(rows)]),
        ],
        "plot": _Plot(
            "New movies, and new people by how many of their ratings are known",
            f"Dots and lines are means over users, whiskers {confidence * 100:g} % bootstrap intervals.",
            f"Two panels: NDCG@{k} of each system among new movies ({told}), and a line per system over the number "
            "of known ratings of a new user. The values are in the tables.",
            _base64(picture),
        ),
    }


def _user(illustration: Illustration) -> dict[str, Any]:
    return {
        "user_id": illustration.user_id,
        "reason": illustration.reason,
        "train_ratings": illustration.train_ratings,
        "relevant": illustration.relevant,
        "liked": [
            (title, f"{rating:.1f}") for title, rating in illustration.liked.select("title", "rating").iter_rows()
        ],
        "listed": [
            {
                "system": system,
                "titles": table.select("title", "relevant").rows(),
                "hits": table["relevant"].sum(),
            }
            for system, table in illustration.listed.items()
        ],
    }
