"""Raw files into checked polars tables: ratings, movies, tags.

Belongs here: what a value may be, and how rows must agree. Does not: parsing (delimited.py, parquet.py).

Files: `ratings`, `movies` and, if there are any, `tags`, each as .csv (UTF-8, a header, commas, RFC 4180 quotes),
.parquet, or .dat as in ml-1m (`::`, Latin-1, no header).

Taken without complaint: LF, CRLF or CR line ends, a byte order mark, empty lines anywhere, no line end after the last
line, blanks around column names and numbers, quoted numbers, a leading zero, line breaks and doubled quotes in quoted
text, a lone quote inside unquoted text, columns in any order, extra columns, an empty title, genres or tag, several
movies of one title, a tag given twice, movies nobody rated, a file of tags without rows. No `genres` column: "" for
every movie. No `timestamp` column: 0 for every row, so that what weighs by recency weighs all of a user's ratings alike
(unless a column's name is close to it: then that is taken for a slip and refused).

Refused, naming the file, the line and the field: what the functions below list under Raises.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, overload

import polars as pl

from hybrid_assets.datasets.delimited import delimited_columns, line_of_row, read_delimited
from hybrid_assets.datasets.errors import BadInput, MissingColumn
from hybrid_assets.datasets.fields import (
    MOVIE_ID,
    MOVIES,
    OWN_RATINGS,
    RATING,
    RATINGS,
    TAGS,
    TIMESTAMP,
    TITLE,
    USER_ID,
    Field,
    Kind,
)
from hybrid_assets.datasets.parquet import parquet_columns, read_parquet

_SUFFIXES = (".csv", ".parquet", ".dat")
_MOVIELENS: Mapping[str, str] = MappingProxyType({})
_LONGEST_TEXT = 10_000
# Seconds reach it in the year 5138, milliseconds did in 1973.
_LATEST = 100_000_000_000


@overload
def find_table(folder: Path, name: Literal["ratings", "movies"]) -> Path: ...
@overload
def find_table(folder: Path, name: str) -> Path | None: ...
def find_table(folder: Path, name: str) -> Path | None:
    """The file of a folder that holds table `name` ("ratings", "movies" or "tags"); None if it has no tags.

    Raises BadInput when ratings or movies are missing, and when there are two files for one table.
    """
    if not folder.is_dir():
        raise BadInput.at(folder, "there is no such folder", "Correct the path, or make the folder")
    found = [folder / f"{name}{suffix}" for suffix in _SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        fix = "Keep one of them, so that it is clear which is meant"
        raise BadInput.at(folder, f"{' and '.join(file.name for file in found)} both hold {name}", fix)
    if not found and name != "tags":
        wanted = ", ".join(f"{name}{suffix}" for suffix in _SUFFIXES[:-1])
        there = ", ".join(sorted(file.name for file in folder.iterdir())[:12]) or "nothing"
        raise BadInput.at(folder, f"no {name}; the folder holds {there}", f"Put one of {wanted} there")
    return found[0] if found else None


def read_ratings(
    path: Path,
    columns: Mapping[str, str] = _MOVIELENS,
    rating_range: tuple[float, float] = (0.5, 5.0),
) -> pl.DataFrame:
    """The ratings of a file in file order: user_id Int64, movie_id Int64, rating Float32, timestamp Int64 (Unix s).

    `columns` maps our field names to the file's columns where they are not MovieLens's, for example
    {"user_id": "customer"}; `rating_range` is the lowest and highest rating allowed, both included.

    Raises BadInput for: a missing, empty or broken file; a missing column; an id or timestamp that is not a whole
    number within 64 bits; a timestamp in milliseconds; a rating that is not a finite number in range; an empty number;
    a user who rated a movie twice.
    """
    table = _in_range(path, _read(path, RATINGS, columns), columns, rating_range)
    _check_times(path, table, columns)
    _check_no_repeats(path, table, [USER_ID, MOVIE_ID], columns)
    return table


def _in_range(
    path: Path, table: pl.DataFrame, columns: Mapping[str, str], rating_range: tuple[float, float]
) -> pl.DataFrame:
    """The table with its ratings as Float32, all in range."""
    low, high = rating_range
    # Compared as the Float32 that is kept: 0.7 of a Float32 column is a little less than 0.7.
    rating = pl.col("rating").cast(pl.Float32)
    row = _first(table, ~rating.is_between(pl.lit(low, pl.Float32), pl.lit(high, pl.Float32)))
    if row is not None:
        problem = f"expected a rating from {low:g} to {high:g}, found {table['rating'][row]:g}"
        fix = "Correct it; of the dataset `folder` you may set the scale: rating_range"
        raise _fault(path, row, RATING, columns, problem, fix)
    return table.with_columns(rating)


def _check_times(path: Path, table: pl.DataFrame, columns: Mapping[str, str]) -> None:
    row = _first(table, ~pl.col("timestamp").is_between(-_LATEST, _LATEST))
    if row is not None:
        found = table["timestamp"][row]
        problem = f"expected seconds since 1970, found {found}, which looks like " + (
            "milliseconds" if found > 0 else "a time that is missing"
        )
        raise _fault(path, row, TIMESTAMP, columns, problem, TIMESTAMP.fix)


def read_movies(path: Path, columns: Mapping[str, str] = _MOVIELENS) -> pl.DataFrame:
    """The movies of a file in file order: movie_id Int64, title String, genres String ("Action|Crime").

    `columns` as in read_ratings.

    Raises BadInput for: a missing, empty or broken file; a missing column; an id that is not a whole number within 64
    bits; a movie_id that is there twice; text of more than 10,000 characters.
    """
    table = _read(path, MOVIES, columns)
    _check_no_repeats(path, table, [MOVIE_ID], columns)
    return table


def read_tags(path: Path, columns: Mapping[str, str] = _MOVIELENS) -> pl.DataFrame:
    """The tags of a file in file order: user_id Int64, movie_id Int64, tag String, timestamp Int64 (Unix s).

    `columns` as in read_ratings.

    Raises BadInput for: a missing or broken file; a missing column; an id or timestamp that is not a whole number
    within 64 bits; a timestamp in milliseconds; an empty number; text of more than 10,000 characters.
    """
    table = _read(path, TAGS, columns, rows_needed=False)
    _check_times(path, table, columns)
    return table


def untimed(path: Path, columns: Mapping[str, str] = _MOVIELENS) -> str | None:
    """What to tell about ratings or tags whose file has no column of times; None if it has one. `columns` as above."""
    if path.suffix.lower() == ".dat":
        return None
    present = parquet_columns(path) if path.suffix.lower() == ".parquet" else delimited_columns(path)
    if columns.get(TIMESTAMP.name, TIMESTAMP.movielens) in present:
        return None
    return (
        f"{path}: no column {TIMESTAMP.movielens}, so the order in time is not known and every time is 0; the columns "
        f"are {', '.join(present)}. If one of them is the time in unix seconds, call it {TIMESTAMP.movielens}"
    )


def read_own_ratings(
    path: Path, find: Callable[[str], int], rating_range: tuple[float, float] = (0.5, 5.0)
) -> pl.DataFrame:
    """One person's ratings in file order: movie_id Int64, rating Float32.

    The file has a column `movieId`, or else `title`, whose texts `find` turns into ids; it raises ValueError for one
    that it does not know. Other columns are not read, times neither: new people rate now. `rating_range` as in
    read_ratings.

    Raises BadInput for: what read_ratings refuses; a file with neither movieId nor title; a title that is not found; a
    movie that is there twice; a column `userId` that names more than one person.
    """
    try:
        table = _parsed(path, OWN_RATINGS, _MOVIELENS)
    except MissingColumn as missing:
        # columns may be renamed in the catalog for the files of a dataset, not for this one
        fix = "Rename the column: this file needs movieId or title, and rating, whatever [folder] columns says"
        raise BadInput(f"{missing.told} {fix}") from missing
    if "user_id" in table.columns and table["user_id"].n_unique() > 1:
        fix = "Keep the rows of one person: the list is made for one"
        raise BadInput.at(path, f"it holds the ratings of {table['user_id'].n_unique()} people", fix, field="userId")
    if "movie_id" not in table.columns and "title" not in table.columns:
        fix = "Name the movies by their id, in a column movieId, or by their title, in a column title"
        raise BadInput.at(path, "the file has neither a column movieId nor a column title", fix)
    table = _in_range(path, table, _MOVIELENS, rating_range)
    named_by = MOVIE_ID if "movie_id" in table.columns else TITLE
    if named_by is TITLE:
        found = []
        for row, title in enumerate(table["title"]):
            try:
                found.append(find(title))
            except ValueError as error:
                fix = "Write it as in the movies, or name it by its id, in a column movieId"
                raise _fault(path, row, TITLE, _MOVIELENS, str(error), fix) from error
        table = table.with_columns(pl.Series("movie_id", found, dtype=pl.Int64))
    # a title and the same in other words are one movie: looked for by the ids, told by what the file has
    _check_no_repeats(path, table, [MOVIE_ID], _MOVIELENS, told=named_by)
    return table.select("movie_id", "rating")


def check_references(
    table: pl.DataFrame, movies: pl.DataFrame, path: Path, columns: Mapping[str, str] = _MOVIELENS
) -> None:
    """Check that every movie of ratings or tags is in `movies`; `path` is the file that `table` was read from.

    Raises BadInput naming the first line whose movie is unknown, and how many movies are.
    """
    unknown = ~pl.col("movie_id").is_in(movies["movie_id"].implode())
    row = _first(table, unknown)
    if row is not None:
        count = table.filter(unknown)["movie_id"].n_unique()
        problem = f"movie {table['movie_id'][row]} is not among the movies ({count} unknown in all)"
        raise _fault(
            path, row, MOVIE_ID, columns, problem, "Correct it, add it to the movies, or remove the rows that name it"
        )


def _read(path: Path, fields: Sequence[Field], columns: Mapping[str, str], *, rows_needed: bool = True) -> pl.DataFrame:
    """All fields in their order, the default where a column is absent."""
    table = _parsed(path, fields, columns, rows_needed=rows_needed)
    missing = [field for field in fields if field.name not in table.columns]
    table = table.with_columns(pl.lit(field.default).alias(field.name) for field in missing)
    return table.select(
        pl.col(field.name).cast(pl.Int64) if field.kind is Kind.INTEGER else pl.col(field.name) for field in fields
    )


def _parsed(
    path: Path, fields: Sequence[Field], columns: Mapping[str, str], *, rows_needed: bool = True
) -> pl.DataFrame:
    """The fields that the file has, without an empty number or too long a text."""
    if not path.is_file():
        raise BadInput.at(path, "there is no such file", "Correct the path, or put the file there")
    if path.stat().st_size == 0:
        raise BadInput.at(path, "the file is empty", "It needs a line of column names, then one line a row")
    table = (read_parquet if path.suffix.lower() == ".parquet" else read_delimited)(path, fields, columns)
    if rows_needed and table.is_empty():
        raise BadInput.at(path, "there are column names but no rows", "Put at least one row there")
    for field in fields:
        if field.name not in table.columns:
            continue
        if field.kind is Kind.TEXT:
            row = _first(table, pl.col(field.name).str.len_chars() > _LONGEST_TEXT)
            problem = f"the text is longer than {_LONGEST_TEXT:,} characters"
            fix = "Shorten it; often a quote that is never closed makes one field of many lines"
        else:
            row = _first(table, pl.col(field.name).is_null())
            problem, fix = f"expected {field.kind.value}, found nothing", field.fix
        if row is not None:
            raise _fault(path, row, field, columns, problem, fix)
    return table


def _check_no_repeats(
    path: Path, table: pl.DataFrame, key: Sequence[Field], columns: Mapping[str, str], *, told: Field | None = None
) -> None:
    """Refuse a row whose `key` an earlier one has; the message is about the field `told`, or else all of the key."""
    names = [field.name for field in key]
    if _ascends(table, names) or not (repeated := table.select(names).is_duplicated()).any():
        return
    rows = table.select(names).with_row_index().filter(repeated)
    # The repeat that a person reading the file from the top meets first.
    second = rows.filter(~pl.struct(names).is_first_distinct()).row(0, named=True)
    first = rows.filter(pl.col(name) == second[name] for name in names)["index"][0]
    shown = [told] if told else key
    what = " and ".join(f"{field.name} {table[field.name][second['index']]}" for field in shown)
    problem = f"{what} is there already, on {_place(path, first)}"
    raise _fault(path, second["index"], shown[-1], columns, problem, "Keep one of the two rows")


def _ascends(table: pl.DataFrame, names: Sequence[str]) -> bool:
    """Whether the rows strictly ascend, so that none can repeat: MovieLens's do, and it is quick to see."""
    *outer, last = (pl.col(name) for name in names)
    ascends = last > last.shift()
    for column in reversed(outer):
        ascends = (column > column.shift()) | ((column == column.shift()) & ascends)
    return bool(table.select(ascends.slice(1).all()).item())


def _first(table: pl.DataFrame, mask: pl.Expr) -> int | None:
    """The first row on which `mask` is true; None if there is none."""
    row = table.select(mask.arg_true().first()).item()
    return None if row is None else int(row)


def _place(path: Path, row: int) -> str:
    return f"row {row + 1}" if path.suffix.lower() == ".parquet" else f"line {line_of_row(path, row)}"


def _fault(path: Path, row: int, field: Field, columns: Mapping[str, str], problem: str, fix: str) -> BadInput:
    column = columns.get(field.name, field.movielens)
    return BadInput.at(path, problem, fix, place=_place(path, row), field=column)
