"""The state of every asset as a table for a terminal.

Belongs here: how a state looks. Does not: finding it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

STYLES = {"fresh": "green", "stale": "yellow", "missing": "cyan", "blocked": "red"}


def status_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """One row an asset: state, rows, when it was made, versions, and why it is not fresh."""
    shown = Table(box=None, pad_edge=False)
    for column in ("asset", "state"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("rows", justify="right", no_wrap=True)
    for column in ("made", "data version", "code version"):
        shown.add_column(column)
    shown.add_column("why", min_width=40)
    for record in records:
        shown.add_row(
            escape(record["asset"]),
            f"[{STYLES[record['state']]}]{record['state']}",
            "" if record["rows"] is None else f"{record['rows']:,}",
            (record["made"] or "")[:16].replace("T", " "),
            record["data_version"] or "",
            record["code_version"] or "",
            escape("; ".join(record["why"])),
        )
    return shown
