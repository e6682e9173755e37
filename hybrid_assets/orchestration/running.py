"""Running the graph from a program: in this process, recorded in Dagster's home, so that the UI shows it too.

Belongs here: one run and how it ended. Does not: what to select (jobs.py), how to show it (console.py).
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from hybrid_assets.orchestration.abandoned import HOST_TAG, end_abandoned_runs
from hybrid_assets.orchestration.incremental import FORCE_TAG
from hybrid_assets.orchestration.jobs import BACKFILL, REFRESH
from hybrid_assets.orchestration.records import open_records


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


def run_in_process(
    definitions: dg.Definitions,
    home: Path,
    selection: dg.AssetSelection | None = None,
    *,
    force: Sequence[str] = (),
) -> RunOutcome:
    """Materialize a selection (None: the job `refresh`) and wait for it.

    Args:
        definitions: the code location.
        home: Dagster's home; created, without telemetry, when missing.
        selection: what to bring up to date.
        force: encoders whose own assets are computed although nothing changed.

    Raises:
        dagster.Failure: Dagster's records cannot be opened; the message says what to do.
    """
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "dagster.yaml").exists():
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ["DAGSTER_HOME"] = str(home)
    keys = None if selection is None else list(selection.resolve(definitions.resolve_asset_graph()))
    started = time.monotonic()
    with open_records(home) as instance:
        end_abandoned_runs(instance)
        result = definitions.resolve_job_def(REFRESH if selection is None else BACKFILL.name).execute_in_process(
            instance=instance,
            asset_selection=keys,
            run_config={"loggers": {"terminal": {}}},
            tags={HOST_TAG: socket.gethostname(), **({FORCE_TAG: ",".join(force)} if force else {})},
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
