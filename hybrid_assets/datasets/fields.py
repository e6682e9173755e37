"""The fields of the raw tables: their kind, their column in the user's file, and what to say when one is missing."""

import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import polars as pl

from hybrid_assets.datasets.errors import BadInput, MissingColumn


class Kind(Enum):
    """What a field holds."""

    INTEGER = "a whole number"
    NUMBER = "a number"
    TEXT = "text"


# What a column of each kind is read as.
POLARS = {Kind.INTEGER: pl.Int64, Kind.NUMBER: pl.Float64, Kind.TEXT: pl.String}


class Field(NamedTuple):
    """One field of a raw table."""

    name: str
    movielens: str
    """Its column in MovieLens's files, and in a user's own when they do not say otherwise."""
    kind: Kind
    fix: str
    """What to do about a value of another kind."""
    default: int | str | None = None
    """What stands in every row of a file without this column; None: the column must be there."""


_ID_FIX = "Ids are whole numbers: number your own ids (text, UUIDs) 1, 2, 3, ... the same way in every file"
_TIME_FIX = "Write timestamps as whole seconds since 1970 (Unix time)"
_TEXT_FIX = "Write it as text"

USER_ID = Field("user_id", "userId", Kind.INTEGER, _ID_FIX)
MOVIE_ID = Field("movie_id", "movieId", Kind.INTEGER, _ID_FIX)
RATING = Field("rating", "rating", Kind.NUMBER, "Write ratings as numbers with a decimal point, such as 3.5")
TIMESTAMP = Field("timestamp", "timestamp", Kind.INTEGER, _TIME_FIX, default=0)
TITLE = Field("title", "title", Kind.TEXT, _TEXT_FIX)
GENRES = Field("genres", "genres", Kind.TEXT, _TEXT_FIX, default="")
TAG = Field("tag", "tag", Kind.TEXT, _TEXT_FIX)

RATINGS = (USER_ID, MOVIE_ID, RATING, TIMESTAMP)
MOVIES = (MOVIE_ID, TITLE, GENRES)
TAGS = (USER_ID, MOVIE_ID, TAG, TIMESTAMP)
# One person's own: movies by id or by title, so that either column may be absent, and whose they are need not be said.
OWN_RATINGS = (USER_ID._replace(default=0), MOVIE_ID._replace(default=0), TITLE._replace(default=""), RATING)

_NAMES = tuple(dict.fromkeys(field.name for field in (*RATINGS, *MOVIES, *TAGS)))


def check_columns(columns: Mapping[str, str]) -> None:
    """Raise BadInput for an unknown field among `columns` (our name -> theirs), and for one column for two fields."""
    for key in columns:
        if key not in _NAMES:
            near = difflib.get_close_matches(key, _NAMES, n=1)
            meant = f' Did you mean "{near[0]}"?' if near else ""
            raise BadInput(f'columns: unknown field "{key}".{meant} The fields are {", ".join(_NAMES)}.')
    for table in (RATINGS, MOVIES, TAGS):
        fields: dict[str, str] = {}
        for field in table:
            column = columns.get(field.name, field.movielens)
            if column in fields:
                both = f"{fields[column]} and {field.name}"
                raise BadInput(f'columns: "{column}" cannot be both {both}. Say which column each of them is.')
            fields[column] = field.name


def column_names(
    path: Path, present: Sequence[str], fields: Sequence[Field], columns: Mapping[str, str]
) -> dict[str, str]:
    """Each field's column in a file: {our name: its name there}; a field that takes its default is left out.

    `present` are the columns of the file, `columns` what the user mapped (our name -> theirs).

    Raises BadInput for what check_columns refuses, a column that is missing, and one that is there twice. A column
    with a default may be absent only if the user did not name it and nothing there looks like it: a
    misspelt `timestmp` must not quietly turn every time into 0.
    """
    check_columns(columns)
    found = {}
    for field in fields:
        column = columns.get(field.name, field.movielens)
        if present.count(column) > 1:
            fix = "Rename or remove one of them"
            raise BadInput.at(path, f"there are {present.count(column)} columns of this name", fix, field=column)
        if column in present:
            found[field.name] = column
            continue
        near = _nearest(column, present)
        if field.default is None or field.name in columns or near:
            raise _missing(path, present, field, column, near, named=field.name in columns)
    return found


def _nearest(column: str, present: Sequence[str]) -> list[str]:
    lowered = {name.lower(): name for name in present}
    return [lowered[name] for name in difflib.get_close_matches(column.lower(), lowered, cutoff=0.6)]


def _missing(
    path: Path, present: Sequence[str], field: Field, column: str, near: Sequence[str], *, named: bool
) -> BadInput:
    listed = ", ".join(present[:12]) + (", ..." if len(present) > 12 else "")
    nearest = f"; the nearest is {', '.join(near)}" if near else ""
    other = next((mark for mark in ";\t|" if len(present) == 1 and mark in present[0]), None)
    fix = (
        f"Rename the column; of the dataset `folder` you may say which one it is, for all its files: "
        f'columns = {{ {field.name} = "..." }}'
    )
    if named:
        fix = (
            f'columns = {{ {field.name} = "{column}" }} holds for all files of the folder: '
            f'rename the column of {path.name} to "{column}", or correct the name'
        )
    problem = f"this column is missing; the file has {listed}{nearest}"
    if other:
        fix = f"The columns seem to be separated by {other!r}: save the file with commas"
        return BadInput.at(path, problem, fix, field=column)
    return MissingColumn.at(path, problem, fix, field=column)
