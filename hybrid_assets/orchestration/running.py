"""Running the graph from a program: in this process, recorded in Dagster's home, so that the UI shows it too.

Belongs here: one run and how it ended. Does not: what to select (jobs.py), how to show it (console.py).
"""

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from hybrid_assets.orchestration.abandoned import end_abandoned_runs, tags_of_this_process
from hybrid_assets.orchestration.incremental import FORCE_TAG
from hybrid_assets.orchestration.jobs import BACKFILL, REFRESH, selected_keys
from hybrid_assets.orchestration.records import make_home, materialized, open_records, records_kept
from hybrid_assets.orchestration.staleness import due, recipes_of
from hybrid_assets.orchestration.storage import TableStore


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        success: whether every step succeeded.
        seconds: wall time.
        computed: assets that were computed.
        unchanged: how many assets are as they were.
        failures: asset -> what went wrong, in words for the user.
        not_run: how many assets were left, as they are made from one that failed.
    """

    success: bool
    seconds: float
    computed: tuple[str, ...]
    unchanged: int
    failures: Mapping[str, str]
    not_run: int = 0


def run_in_process(
    definitions: dg.Definitions,
    home: Path,
    selection: dg.AssetSelection | None = None,
    *,
    force: Sequence[str] = (),
) -> RunOutcome:
    """Bring a selection (None: that of the job `refresh`) up to date and wait for it.

    The run is of what is not fresh and what is made from it: Dagster takes a sixth of a second for each asset, changed
    or not. Where everything is fresh there is no run.

    Args:
        definitions: the code location.
        home: Dagster's home; created, with the project's settings, when missing.
        selection: what to bring up to date.
        force: encoders and models; the assets tagged with one of them are computed although nothing changed.

    Raises:
        dagster.Failure: the home cannot be made, or Dagster's records cannot be opened, or not be written any more; the
            message says what to do.
    """
    make_home(home)
    os.environ["DAGSTER_HOME"] = str(home)
    started = time.monotonic()
    with open_records(home) as instance, records_kept(home):
        end_abandoned_runs(instance)
        job = definitions.resolve_job_def(REFRESH if selection is None else BACKFILL.name)
        selected = selected_keys(definitions, selection)
        store: TableStore = (definitions.resources or {})["io_manager"]
        recipes = recipes_of(definitions.assets)
        keys = selected if force else due(recipes, store, selected, materialized(instance, selected))
        computed, unchanged = [], len(selected) - len(keys)
        if not keys:
            return RunOutcome(True, time.monotonic() - started, (), unchanged, {})
        run_id = str(uuid.uuid4())
        result = job.execute_in_process(
            run_id=run_id,
            instance=instance,
            asset_selection=list(keys),
            run_config={"loggers": {"terminal": {}}},
            tags=tags_of_this_process(run_id) | ({FORCE_TAG: ",".join(force)} if force else {}),
            raise_on_error=False,
        )
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        cached = materialization.metadata.get("cached")
        if cached and cached.value:
            unchanged += 1
        else:
            computed.append(materialization.asset_key.to_user_string())
    failures = _failures(result)
    not_run = len(keys) - len(result.get_asset_materialization_events()) - len(failures)
    seconds = time.monotonic() - started
    return RunOutcome(result.success, seconds, tuple(computed), unchanged, failures, not_run)


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    failures = {}
    for event in result.all_events:
        if not event.is_step_failure:
            continue
        data = event.step_failure_data
        told = data.user_failure_data.description if data.user_failure_data else None
        if data.error and data.error.cls_name == dg.DagsterExecutionInterruptedError.__name__:
            told = "stopped by hand; what was finished stays, and the next run goes on from there"
        failures[(event.step_key or "").replace("__", "/")] = told or (
            data.error.to_string() if data.error else "failed without a message"
        )
    return failures
