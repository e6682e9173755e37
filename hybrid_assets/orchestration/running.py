"""Running the graph from a program: in this process, recorded in Dagster's home, so that the UI shows it too.

Belongs here: one run and how it ended. Does not: what to select (jobs.py), how to show it (console.py).
"""

import fcntl
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import dagster as dg

from hybrid_assets.orchestration.jobs import BACKFILL, REFRESH

# With SQLAlchemy 2.1 `postgresql://` means psycopg 3, which dagster-postgres does not install.
POSTGRES = "postgresql+psycopg2://"


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        success: whether every step succeeded.
        seconds: wall time.
        computed: assets that were computed.
        unchanged: how many assets were found unchanged.
        failures: asset -> what went wrong, in words for the user.
    """

    success: bool
    seconds: float
    computed: tuple[str, ...]
    unchanged: int
    failures: Mapping[str, str]


def run_in_process(definitions: dg.Definitions, home: Path, selection: dg.AssetSelection | None = None) -> RunOutcome:
    """Materialize a selection (None: the job `refresh`) and wait for it.

    Args:
        definitions: the code location.
        home: Dagster's home; created, without telemetry, when missing.
        selection: what to bring up to date.

    Raises:
        dagster.Failure: Dagster's records cannot be opened; the message says what to do.
    """
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"] = str(home)
    keys = None if selection is None else list(selection.resolve(definitions.resolve_asset_graph()))
    started = time.monotonic()
    with _records(home) as instance:
        result = definitions.resolve_job_def(REFRESH if selection is None else BACKFILL.name).execute_in_process(
            instance=instance,
            asset_selection=keys,
            run_config={"loggers": {"terminal": {}}},
            raise_on_error=False,
        )
    computed, unchanged = [], 0
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        cached = materialization.metadata.get("cached")
        if cached and cached.value:
            unchanged += 1
        else:
            computed.append(materialization.asset_key.to_user_string())
    return RunOutcome(result.success, time.monotonic() - started, tuple(computed), unchanged, _failures(result))


def _records(home: Path) -> dg.DagsterInstance:
    """Dagster's records; where a database keeps them and it cannot be had, one sentence instead of a traceback."""
    settings = home / "dagster.yaml"
    url = os.environ.get("HYBRID_POSTGRES", "")
    # never the url itself in a message: it holds a password
    if "HYBRID_POSTGRES" in settings.read_text() and not url.startswith(POSTGRES):
        raise dg.Failure(
            f"{settings} keeps Dagster's records in PostgreSQL; set HYBRID_POSTGRES to "
            f"{POSTGRES}user:password@host/database ({'it begins otherwise' if url else 'it is not set'}), or set "
            "DAGSTER_HOME to another home",
            allow_retries=False,
        )
    try:
        # two commands that start at once in a new home would both create SQLite's tables, and one would fail
        with (home / "opening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return dg.DagsterInstance.get()
    except ModuleNotFoundError as error:
        raise dg.Failure(
            f"{settings} asks for {error.name}, which is not installed: pip install 'hybrid-assets[postgres]'",
            allow_retries=False,
        ) from error
    except Exception as error:  # whatever the database that the file names raises
        cause = error.__cause__ or error
        reason = _without_password((str(cause).splitlines() or [""])[0], url)
        raise dg.Failure(
            f"{settings}: Dagster's records cannot be opened ({type(cause).__name__}: {reason}). Start the database "
            "that the file names, or correct the file or HYBRID_POSTGRES",
            allow_retries=False,
        ) from error


def _without_password(reason: str, url: str) -> str:
    """The reason, unless a piece of the url's password stands in it: what cannot be parsed is quoted in messages."""
    address = url.removeprefix(POSTGRES)
    password = (address.rpartition("@")[0] or address).partition(":")[2]
    pieces = re.split("[:/@]", password) + re.split("[:/@]", unquote(password))
    return "its message would show the password" if any(piece and piece in reason for piece in pieces) else reason


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    failures = {}
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        failures[(event.step_key or "").replace("__", "/")] = told or (
            data.error.to_string() if data.error else "failed without a message"
        )
    return failures
