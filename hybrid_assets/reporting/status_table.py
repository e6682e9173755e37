"""The state of every asset for a terminal.

Belongs here: how a state looks. Does not: finding it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

VERSION_SHOWN = 8  # `--json` has them whole
# Columns from which on the starts of versions fit beside the longest name.
WITH_VERSIONS = 92
STYLES = {"fresh": "green", "stale": "yellow", "missing": "cyan", "blocked": "red"}


def status_table(records: Sequence[Mapping[str, Any]], *, with_versions: bool) -> Table:
    """One row an asset: state, rows, when it was made (75 columns wide), and the starts of its versions."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("asset", "state"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("rows", justify="right", no_wrap=True)
    for column in ("made", "data", "code") if with_versions else ("made",):
        shown.add_column(column, no_wrap=True)
    for record in records:
        versions = [(record[version] or "")[:VERSION_SHOWN] for version in ("data_version", "code_version")]
        shown.add_row(
            escape(record["asset"]),
            f"[{STYLES[record['state']]}]{record['state']}",
            "" if record["rows"] is None else f"{record['rows']:,}",
            (record["made"] or "")[:16].replace("T", " "),
            *(versions if with_versions else ()),
        )
    return shown


def reasons(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a reason for not being fresh, with the assets that it holds for; the rest only waits for those."""
    holds_for: dict[tuple[str, str], list[str]] = {}
    waiting = dict.fromkeys(STYLES, 0)
    for record in records:
        waiting[record["state"]] += record["inherited"]
        for reason in () if record["inherited"] else record["why"]:
            holds_for.setdefault((record["state"], reason), []).append(record["asset"])
    lines = [f"{state}: {reason}: {', '.join(assets)}" for (state, reason), assets in holds_for.items()]
    return lines + [f"{state}: {count} more, by their inputs" for state, count in waiting.items() if count]
