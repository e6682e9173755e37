"""Dagster's own records: SQLite files in its home, or a PostgreSQL database.

Belongs here: opening them, saying what is wrong where that fails, what they know of assets. Does not: running
(running.py), what they know of runs (automation.py, abandoned.py).
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import dagster as dg

from hybrid_assets.orchestration.faults import disk_failure

# With SQLAlchemy 2.1 `postgresql://` means psycopg 3, which dagster-postgres does not install.
POSTGRES = "postgresql+psycopg2://"
# What the records of a run need at least.
PROBE_BYTES = 2**20
ANOTHER_HOME = "set DAGSTER_HOME to another home"
# Of a home that has none of its own: dagster_home/dagster.yaml, which an installed package has no other copy of.
SETTINGS = Path(__file__).with_name("dagster.yaml")


def make_home(home: Path) -> None:
    """The folder, and the project's settings in it, where they are not there yet.

    Raises:
        dagster.Failure: they cannot be written; one sentence that says what to do.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not (home / SETTINGS.name).exists():
            shutil.copyfile(SETTINGS, home / SETTINGS.name)
    except OSError as error:
        raise disk_failure(error, home, ANOTHER_HOME) from error


def try_making(home: Path) -> None:
    """Whether `make_home` would do; nothing is left behind.

    Raises:
        dagster.Failure: it would not; one sentence that says what to do.
    """
    try:
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        with tempfile.TemporaryDirectory(dir=there, prefix=".doctor-"):
            pass
    except OSError as error:
        raise disk_failure(error, home, ANOTHER_HOME) from error


def open_records(home: Path) -> dg.DagsterInstance:
    """Dagster's records of the home that DAGSTER_HOME names.

    Raises:
        dagster.Failure: they cannot be opened; one sentence that says what to do, without the password.
    """
    settings = home / "dagster.yaml"
    url = os.environ.get("HYBRID_POSTGRES", "")
    in_postgres = "HYBRID_POSTGRES" in settings.read_text()
    # never the url itself in a message: it holds a password
    if in_postgres and not url.startswith(POSTGRES):
        raise dg.Failure(
            f"{settings} keeps Dagster's records in PostgreSQL; set HYBRID_POSTGRES to "
            f"{POSTGRES}user:password@host/database ({'it begins otherwise' if url else 'it is not set'}), or "
            f"{ANOTHER_HOME}",
            allow_retries=False,
        )
    try:
        # two commands that start at once in a new home would both create SQLite's tables, and one would fail
        with (home / "opening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            instance = dg.DagsterInstance.from_config(str(home))
            if not in_postgres:
                _try_writing(home)
            instance.get_runs(limit=1)
            return instance
    except ModuleNotFoundError as error:
        raise dg.Failure(
            f"{settings} asks for {error.name}, which is missing: pip install -c constraints.txt -e '.[postgres]'",
            allow_retries=False,
        ) from error
    except OSError as error:
        raise disk_failure(error, error.filename or home, ANOTHER_HOME) from error
    except Exception as error:  # whatever the database that the file names raises
        raise _failure(error, settings, in_postgres=in_postgres) from error


@contextmanager
def records_kept(home: Path) -> Iterator[None]:
    """Around what writes to opened records.

    Raises:
        dagster.Failure: they cannot be written any more; one sentence that says what to do, without the password.
    """
    from sqlalchemy.exc import SQLAlchemyError

    settings = home / "dagster.yaml"
    try:
        yield
    except SQLAlchemyError as error:
        raise _failure(error, settings, in_postgres="HYBRID_POSTGRES" in settings.read_text()) from error
    except OSError as error:
        if not error.filename or home not in Path(error.filename).parents:
            raise
        raise disk_failure(error, error.filename, ANOTHER_HOME) from error


def _failure(error: Exception, settings: Path, *, in_postgres: bool) -> dg.Failure:
    cause = error.__cause__ or error
    reason = _without_password((str(cause).splitlines() or [""])[0], os.environ.get("HYBRID_POSTGRES", ""))
    history = settings.parent / "history"
    to_do = (
        "Start the database that the file names, or correct the file or HYBRID_POSTGRES"
        if in_postgres
        else f"See that the disk has room and is writable, or {ANOTHER_HOME}; where "
        f"{history} is damaged, move it away: only the history of runs is lost, what is computed stays"
    )
    return dg.Failure(
        f"{settings}: Dagster's records cannot be used ({type(cause).__name__}: {reason}). {to_do}",
        allow_retries=False,
    )


def materialized(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]) -> set[dg.AssetKey]:
    """Those of the assets that Dagster knows to have been made."""
    records = instance.get_asset_records(list(keys))
    return {record.asset_entry.asset_key for record in records if record.asset_entry.last_materialization}


def _try_writing(home: Path) -> None:
    """SQLite opens what it cannot write to and fails in the middle of a run."""
    with tempfile.NamedTemporaryFile(dir=home, prefix=".opening-") as probe:
        probe.write(bytes(PROBE_BYTES))
        probe.flush()
        os.fsync(probe.fileno())


def _without_password(reason: str, url: str) -> str:
    """The reason, unless a piece of the url's password stands in it: what cannot be parsed is quoted in messages."""
    address = url.removeprefix(POSTGRES)
    password = (address.rpartition("@")[0] or address).partition(":")[2]
    pieces = re.split("[:/@]", password) + re.split("[:/@]", unquote(password))
    return "its message would show the password" if any(piece and piece in reason for piece in pieces) else reason
