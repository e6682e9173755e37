"""Parquet tables into typed columns.

Belongs here: what is particular to Parquet. Does not: what a value may be (reading.py).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.datasets.fields import POLARS, Field, Kind, column_names


def read_parquet(path: Path, fields: Sequence[Field], columns: Mapping[str, str]) -> pl.DataFrame:
    """The fields of a Parquet table in file order, as Int64, Float64 or String; a field without a column is left out.

    `columns` maps our name to theirs. Whole numbers of any width, numbers of any kind and categories are taken; a
    null stays null, but in text it is "".

    Raises BadInput for a file that is not Parquet, a missing column, and a column of the wrong kind.
    """
    try:
        lazily = pl.scan_parquet(path, glob=False)
        schema = lazily.collect_schema()
        names = column_names(path, list(schema), fields, columns)
        table = lazily.select(names.values()).collect()
    except pl.exceptions.ComputeError as failure:
        fix = "Write it again, or give the table as .csv"
        raise BadInput.at(path, f"not a readable Parquet file: {failure}", fix) from failure
    used = [field for field in fields if field.name in names]
    for field in used:
        if not _holds(schema[names[field.name]], field.kind):
            problem = f"expected {field.kind.value}, the column is {schema[names[field.name]]}"
            raise BadInput.at(path, problem, field.fix, field=names[field.name])
    try:
        cast = table.select(pl.col(names[field.name]).cast(POLARS[field.kind]).alias(field.name) for field in used)
    except pl.exceptions.InvalidOperationError as failure:
        fix = "Number the ids 1, 2, 3, ..."
        raise BadInput.at(path, f"a whole number does not fit in 64 bits: {failure}", fix) from failure
    return cast.with_columns(pl.col(pl.String).fill_null(""))


def parquet_columns(path: Path) -> list[str]:
    """The columns of a Parquet file."""
    return list(pl.scan_parquet(path, glob=False).collect_schema())


def _holds(dtype: pl.DataType, kind: Kind) -> bool:
    match kind:
        case Kind.INTEGER:
            return dtype.is_integer()
        case Kind.NUMBER:
            return dtype.is_numeric()
        case Kind.TEXT:
            return dtype in (pl.String, pl.Categorical, pl.Enum)
