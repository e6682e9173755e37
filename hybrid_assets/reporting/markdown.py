"""Tables and pictures as Markdown, which Dagster's UI shows among an asset's notes.

Belongs here: small tables of results, pictures. Does not: previews of stored tables (orchestration/incremental.py), the
report.
"""

import base64

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


def markdown_image(name: str, png: bytes) -> str:
    """A PNG within the text."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"
