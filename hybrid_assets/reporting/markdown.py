"""Tables as Markdown, which Dagster's UI shows among an asset's notes.

Belongs here: small tables of results. Does not: previews of stored tables (orchestration/incremental.py), the report.
"""

import polars as pl


def markdown_table(table: pl.DataFrame) -> str:
    """A row of names, a rule and the rows; numbers with four digits.

    >>> print(markdown_table(pl.DataFrame({"branch": ["ease"], "weight": [0.123456]})))
    | branch | weight |
    |---|---|
    | ease | 0.1235 |
    """
    lines = [f"| {' | '.join(table.columns)} |", f"|{'---|' * table.width}"]
    for row in table.iter_rows():
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in row)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
