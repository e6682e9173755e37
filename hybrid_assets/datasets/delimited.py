"""Text tables, .csv and MovieLens's .dat, into typed columns, and the line of the first thing wrong in one.

Belongs here: encoding, quoting, field counts, types, line numbers. Does not: what a value may be (reading.py).

pyarrow's reader does the parsing and not polars's, because polars fills a row that is too short with nulls, which
cannot be told from empty text. The reader is fast but says little about what it refuses, so only after it has failed
is the file searched, slowly, for the line to name.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from hybrid_assets.datasets.errors import BadInput, shown
from hybrid_assets.datasets.fields import POLARS, Field, Kind, column_names

# `::` becomes this control character ("unit separator"), since the reader takes separators of one byte.
_UNIT_SEPARATOR = "\x1f"
_CHUNK_BYTES = 1 << 24

# A whole number as pyarrow and polars both read it: the one alone takes `0x10`, the other alone `+1`.
_WHOLE_NUMBER = "^-?[0-9]+$"

_ARROW = {Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.TEXT: pa.string()}


def read_delimited(path: Path, fields: Sequence[Field], columns: Mapping[str, str]) -> pl.DataFrame:
    """The fields of a text table in file order, as Int64, Float64 or String; a field without a column is left out.

    A .csv has a header, which `columns` (our name -> theirs) refers to; a .dat has none: its columns are `fields`.
    An empty number is null, an empty text "".

    Raises BadInput for broken UTF-8, broken quoting, a row with too few or too many fields, a missing column, and
    a value of the wrong kind; each names its line.
    """
    quoted, hexadecimal = _scan(path)
    if _is_dat(path):
        quoted, present, skipped, columns = False, [field.movielens for field in fields], 0, {}
    else:
        present, skipped = _header(path)
    names = column_names(path, present, fields, columns)
    used = [field for field in fields if field.name in names]
    positions = [str(present.index(names[field.name])) for field in used]
    # The fast reader takes `"Heat" (1995)` and a quote that is never closed without a word, hence the slow check.
    if quoted:
        _check_records(path, len(present))
    try:
        table = _parse(path, len(present), skipped, positions, [_ARROW[field.kind] for field in used])
    except pa.ArrowInvalid as failure:
        if _check_records(path, len(present)) == 0:  # a header without so much as a line end after it
            return pl.DataFrame(schema={field.name: POLARS[field.kind] for field in used})
        texts = _parse(path, len(present), skipped, positions, [pa.string()] * len(used))
        _check_kinds(path, texts, used, names)
        raise BadInput.at(path, f"cannot be read: {failure}", "Save the file again as UTF-8 CSV") from failure
    if hexadecimal:
        _check_kinds(path, _parse(path, len(present), skipped, positions, [pa.string()] * len(used)), used, names)
    return table.rename(dict(zip(positions, [field.name for field in used], strict=True)))


def delimited_columns(path: Path) -> list[str]:
    """The columns of a .csv as its header names them, blanks around them removed."""
    return _header(path)[0]


def line_of_row(path: Path, row: int) -> int:
    """The line, 1-based and with the header counted, on which data row `row` (0-based) starts."""
    records = _records(path)
    for _ in range(row + (not _is_dat(path))):
        next(records)
    return next(records)[0]


def _is_dat(path: Path) -> bool:
    return path.suffix.lower() == ".dat"


def _open(path: Path) -> IO[bytes]:
    """The file as UTF-8 separated by one character; MovieLens's .dat files are in Latin-1."""
    if not _is_dat(path):
        return path.open("rb")
    return io.BytesIO(path.read_text("latin-1").replace("::", _UNIT_SEPARATOR).encode("utf-8"))


def _parse(path: Path, width: int, skipped: int, positions: list[str], types: Sequence[pa.DataType]) -> pl.DataFrame:
    """The columns at `positions`, which are also their names, by the fast reader."""
    dat = _is_dat(path)
    table = pacsv.read_csv(
        _open(path) if dat else path,
        pacsv.ReadOptions(
            column_names=[str(position) for position in range(width)],
            skip_rows=skipped,
            skip_rows_after_names=0 if dat else 1,
        ),
        pacsv.ParseOptions(
            delimiter=_UNIT_SEPARATOR if dat else ",",
            quote_char=False if dat else '"',
            newlines_in_values=not dat,
        ),
        pacsv.ConvertOptions(
            column_types=dict(zip(positions, types, strict=True)),
            include_columns=positions,
            null_values=[""],
            strings_can_be_null=False,
        ),
    )
    return pl.DataFrame(table)


def _header(path: Path) -> tuple[list[str], int]:
    """The column names of a .csv, blanks around them removed, and how many empty lines stand above them."""
    first = next(_records(path), None)
    if first is None:
        raise BadInput.at(path, "the file is empty", "It needs a line of column names, then one line a row")
    line, names = first
    return [name.strip() for name in names], line - 1


def _scan(path: Path) -> tuple[bool, bool]:
    """Whether there is a quote in the file, and what may be a hexadecimal number; raise unless a .csv is UTF-8."""
    decoder, quoted, hexadecimal = codecs.getincrementaldecoder("latin-1" if _is_dat(path) else "utf-8")(), False, False
    with path.open("rb") as stream:
        try:
            while chunk := stream.read(_CHUNK_BYTES):
                quoted = quoted or b'"' in chunk
                hexadecimal = hexadecimal or _may_be_hexadecimal(chunk)
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as failure:
            raise _broken_encoding(path) from failure
    return quoted, hexadecimal


def _may_be_hexadecimal(chunk: bytes) -> bool:
    """Whether `0x` stands in it, or `x` at its start, where the 0 may have ended the chunk before."""
    if b"x" not in chunk and b"X" not in chunk:  # so in MovieLens's ratings: what follows takes ten times as long
        return False
    letters = np.frombuffer(chunk, dtype=np.uint8)
    x = np.flatnonzero((letters | 0x20) == ord("x"))
    return bool(x[0] == 0 or (letters[x - 1] == ord("0")).any())


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Every record, the header of a .csv too, with the line it starts on; as in the fast reader empty lines go."""
    with _open(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as lines:
        if _is_dat(path):
            reader = csv.reader(lines, delimiter=_UNIT_SEPARATOR, quoting=csv.QUOTE_NONE, strict=True)
        else:
            reader = csv.reader(lines, strict=True)
        line = 1
        try:
            for record in reader:
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as failure:
            fix = "Close every quote, double a quote inside a quoted field, and quote fields that hold a comma"
            raise BadInput.at(path, f"broken quoting: {failure}", fix, place=f"line {line}") from failure


def _check_records(path: Path, width: int) -> int:
    """The number of records below the header, if all can be unquoted and are `width` fields wide."""
    count = -1 if not _is_dat(path) else 0
    for line, record in _records(path):
        if len(record) != width:
            problem = f"expected {width} fields, found {len(record)}"
            fix = (
                "Quote fields that hold the separator"
                if len(record) > width
                else "Write every field, an empty one with its separator too, or remove the line"
            )
            raise BadInput.at(path, problem, fix, place=f"line {line}")
        count += 1
    return count


def _broken_encoding(path: Path) -> BadInput:
    fix = f"Save the file as UTF-8, for example: iconv -f LATIN1 -t UTF-8 {path.name}"
    with path.open("rb") as stream:
        if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            fix = f"The file is UTF-16; save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8 {path.name}"
        stream.seek(0)
        for number, line in enumerate(stream, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as failure:
                problem = f"not UTF-8: byte 0x{line[failure.start]:02x}, byte {failure.start + 1} of the line"
                return BadInput.at(path, problem, fix, place=f"line {number}")
    return BadInput.at(path, "not UTF-8", fix)


def _check_kinds(path: Path, texts: pl.DataFrame, fields: Sequence[Field], names: Mapping[str, str]) -> None:
    """Raise for the first value that is not of its field's kind; `texts` holds the columns unparsed, in order."""
    wrong = []
    for field, values in zip(fields, texts.iter_columns(), strict=True):
        trimmed = values.str.strip_chars(" \t")  # what the fast reader takes off: no no-break spaces
        fits = trimmed.cast(POLARS[field.kind], strict=False).is_not_null()
        if field.kind is Kind.INTEGER:
            fits &= trimmed.str.contains(_WHOLE_NUMBER)
        mistyped = ~fits & (values != "")
        if (row := mistyped.arg_max()) is not None and mistyped[row]:
            wrong.append((row, field, values[row]))
    if wrong:
        row, field, value = min(wrong, key=lambda fault: fault[0])
        problem = f"expected {field.kind.value}, found {shown(value)}"
        place = f"line {line_of_row(path, row)}"
        raise BadInput.at(path, problem, field.fix, place=place, field=names[field.name])
