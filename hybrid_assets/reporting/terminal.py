"""The leaderboard on the command line: a table for people, records for programs.

Belongs here: both forms of the same rows. Does not: reading the leaderboard from disk, printing.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hybrid_assets.reporting.leaderboard import (
    METRICS,
    PUBLISHED,
    Row,
    cutoff,
    has_published,
    interval,
    is_measured,
    number,
    ordered,
    published,
    reach,
    with_reach,
)

_INTERVALS = ("ndcg", "precision", "recall", "ndcg_list")
_PLAIN = ("coverage", "popularity_bias")
_IDENTITY = ("system", "state", "dataset", "split", "k", "users")


def leaderboard_table(leaderboard: pl.DataFrame) -> Table:
    """The leaderboard for a terminal, best NDCG first: value and half the width of its bootstrap interval.

    Fits in 100 to 120 columns; in 80, each interval goes below its value. The paper's values have a column of their
    own (precision, recall, list-NDCG) where any row has them. `leaderboard_notes` belongs below it.

    Raises:
        ValueError: the rows do not share one k.
    """
    k = cutoff(leaderboard)
    rows = ordered(leaderboard)
    with_published = has_published(rows)
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    table.add_column("System", no_wrap=True, overflow="ellipsis")
    for heading, width in ((f"NDCG@{k}", 7), (f"P@{k}", 6), (f"R@{k}", 6), (f"list-NDCG\n@{k}", 9)):
        table.add_column(heading, justify="right", min_width=width)
    if with_published:
        table.add_column("Published\nP, R, list-NDCG", justify="right")
    table.add_column("Cover-\nage", justify="right", no_wrap=True)
    table.add_column("Pop.\nbias", justify="right", no_wrap=True)
    for row in filter(is_measured, rows):
        cells = [Text(row["system"])]
        cells += [_with_interval(row, metric) for metric in _INTERVALS]
        if with_published:
            cells.append(_published_cell(row))
        cells += [_plain(row, metric) for metric in _PLAIN]
        table.add_row(*cells)
    return table


def leaderboard_notes(leaderboard: pl.DataFrame) -> list[str]:
    """What belongs below `leaderboard_table`: how to read it, and why which systems have no results; a line each."""
    k, rows = cutoff(leaderboard), ordered(leaderboard)
    how = [
        "\N{PLUS-MINUS SIGN}: half the width of the bootstrap interval over users.",
        f"list-NDCG@{k}: the paper's own variant, not comparable with NDCG@{k}.",
        *(["Published: the paper's Table I."] if has_published(rows) else []),
    ]
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if not is_measured(row):
            reasons.setdefault(row["state"], []).append(row["system"])
    return [" ".join(how), *(f"No results for {', '.join(systems)}: {state}" for state, systems in reasons.items())]


def encoders_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    """Encoders for a terminal: how they are made, popularity-matched AUC and cold NDCG with their intervals."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, header_style="bold")
    for heading in ("Encoder", "Weights", "Fine-tuned"):
        table.add_column(heading)
    for heading in ("pmAUC", "Cold NDCG"):
        table.add_column(heading, justify="right")
    for name, row in figures.items():
        cells = [name, row["weights"], row["tuned"] or "no"]
        for metric in ("popularity_matched_auc", "cold_ndcg"):
            found = (row["metrics"] or {}).get(metric) or {"value": None}
            cells.append("-" if found["value"] is None else with_reach(found["value"], found["low"], found["high"]))
        table.add_row(*(escape(cell) for cell in cells))
    return table


def leaderboard_records(leaderboard: pl.DataFrame) -> list[dict[str, Any]]:
    """The leaderboard as JSON-ready records, in the order of `leaderboard_table`.

    Keys: system, state, dataset, split, k, users; each metric of `METRICS` with `<metric>_interval` ([low, high]);
    published ({precision, recall, ndcg_list}). Null, never NaN, where there is no value; published is null as a whole
    where the paper has no such row.
    """
    return [_record(row) for row in ordered(leaderboard)]


def _record(row: Row) -> dict[str, Any]:
    record: dict[str, Any] = {key: row[key] for key in _IDENTITY}
    for metric in METRICS:
        value, bounds = number(row[metric]), interval(row, metric)
        counted = metric == "hits" and value is not None
        record[metric] = round(value) if counted and value is not None else value
        record[f"{metric}_interval"] = None if bounds is None else list(bounds)
    record["published"] = {metric: published(row, metric) for metric in PUBLISHED} if has_published([row]) else None
    return record


def _with_interval(row: Row, metric: str) -> Text:
    value, bounds = number(row[metric]), interval(row, metric)
    if value is None:
        return _missing()
    text = Text(f"{value:.3f}", style="bold" if metric == "ndcg" else "")
    if bounds is not None:
        text.append(f" {reach(*bounds)}", style="not bold dim")
    return text


def _plain(row: Row, metric: str) -> Text:
    value = number(row[metric])
    return _missing() if value is None else Text(f"{value:.3f}")


def _published_cell(row: Row) -> Text:
    values = [published(row, metric) for metric in PUBLISHED]
    if all(value is None for value in values):
        return Text("")
    return Text(" ".join("\N{EN DASH}" if value is None else f"{value:.3f}" for value in values))


def _missing() -> Text:
    return Text("\N{EN DASH}", style="dim")
