"""The errors a person meets when a dataset cannot be fetched or read; each message says what to do."""

from pathlib import Path
from typing import Self


class DatasetError(ValueError):
    """A dataset cannot be used; the message is meant to be shown as it is."""


class DownloadError(DatasetError):
    """A file could not be fetched, is not the published one, or is an archive that is not safe to unpack."""


class BadInput(DatasetError):
    """A file does not hold what it should.

    Attributes:
        told: the message up to what to do.
    """

    told = ""

    @classmethod
    def at(
        cls, file: Path | str, problem: str, fix: str, *, place: str | None = None, field: str | None = None
    ) -> Self:
        """The error with its message put together.

        `place` is "line 7" in a text file (1-based, header included, as an editor counts) or "row 7" in a
        Parquet file; `field` is the column's name in that file; `fix` says what to do.
        """
        where = ", ".join(part for part in (str(file), place, field and f'field "{field}"') if part)
        told = f"{where}: {problem}{'' if problem.endswith('?') else '.'}"
        error = cls(f"{told} {fix}")
        error.told = told
        return error


class MissingColumn(BadInput):
    """A column is not there, under the name that it has or was given."""


def shown(value: object) -> str:
    """A value as an error message quotes it: at most 60 characters, what cannot be seen written as \\xa0 is."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(value)[:61])
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."'
