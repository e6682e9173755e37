"""Refreshing by itself: the sensor that watches the raw files, and the nightly schedule.

Both launch the one job `refresh` over what is due; the incremental cut-off decides what of it is computed. Belongs
here: when to launch. Does not: what is due (staleness.py).

The sensor is level-triggered: it asks whether everything is made from the files as they are now, not whether they
changed since the last look. So a refresh that failed or was killed is tried again, later each time, and a
change that arrives during a run is seen when the run is over.
"""

import hashlib
import json
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import dagster as dg

from hybrid_assets.orchestration.abandoned import HOST_TAG, end_abandoned_runs
from hybrid_assets.orchestration.faults import lasting_fault
from hybrid_assets.orchestration.jobs import REFRESH, Job

# The hash of the raw files that a run was launched for.
RAW_TAG = "hybrid_assets/raw_files"
FIRST_RETRY_SECONDS = 60
MOST_TRIES = 6
RUNS_LOOKED_AT = 50
MADE = "everything is made from these files as they are"
# Dagster's records -> what a refresh has to look at.
Due: TypeAlias = Callable[[dg.DagsterInstance], Sequence[dg.AssetKey]]


def watch_sensor(
    files: Callable[[], list[Path]], *, tables: Callable[[], str], job: Job, due: Due, seconds: int, on: bool
) -> dg.SensorDefinition:
    """The sensor `watch_raw_files`.

    Args:
        files: the raw files that exist now, in a fixed order.
        tables: something cheap that differs when what is made from them was deleted, replaced or moved, or would now
            be made otherwise.
        job: what it launches, `refresh`.
        due: what of it has to be looked at.
        seconds: how often to look, at least.
        on: whether it runs unless switched off in the UI.
    """

    @dg.sensor(
        name="watch_raw_files",
        job=job,
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Launches `refresh` when not everything is made from the raw files as they are now.",
    )
    def watch_raw_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        end_abandoned_runs(context.instance)
        try:
            present = files()
        except ValueError as problem:
            return dg.SkipReason(str(problem))
        if not present:
            return dg.SkipReason(
                "the dataset's files are not here yet: GroupLens's are fetched by the first refresh, a folder of your "
                "own has to hold them"
            )
        last = json.loads(context.cursor) if context.cursor else {}
        looks = {file.name: [(stat := file.stat()).st_size, stat.st_mtime_ns] for file in present}
        if looks != last.get("looks"):
            # a file that somebody is still writing differs again at the next look
            context.update_cursor(json.dumps({"looks": looks}))
            return dg.SkipReason("the files have just changed; looking again before anything is launched")
        if last.get("made") == tables():
            return dg.SkipReason(MADE)
        digest, launched = last.get("digest") or _digest(present), last.get("launched", False)
        known = {"looks": looks, "digest": digest}
        context.update_cursor(json.dumps(known | {"launched": launched}))
        reason = _not_now(context.instance, digest)
        if reason:
            return dg.SkipReason(reason)
        # not the runs: what the last one made may be gone, or made by a command of other files since
        keys = due(context.instance)
        if not keys:
            context.update_cursor(json.dumps(known | {"made": tables()}))
            return dg.SkipReason(MADE)
        if launched and _succeeded(context.instance, digest):
            return dg.SkipReason(
                f"the last refresh saw these files, and yet {keys[0].to_user_string()} is not made from them; "
                "`hybrid-assets status` says why"
            )
        context.update_cursor(json.dumps(known | {"launched": True}))
        tags = {RAW_TAG: digest, HOST_TAG: socket.gethostname()}
        return dg.SensorResult(run_requests=[dg.RunRequest(asset_selection=list(keys), tags=tags)])

    return watch_raw_files


def nightly_schedule(*, job: Job, due: Due, cron: str, on: bool) -> dg.ScheduleDefinition:
    """The schedule `nightly_refresh`.

    Args:
        job: what it launches, `refresh`.
        due: what of it has to be looked at.
        cron: when.
        on: whether it runs unless switched off in the UI.
    """

    @dg.schedule(
        name="nightly_refresh",
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED,
        description="Launches `refresh` every night; a night in which nothing changed launches nothing.",
    )
    def nightly_refresh(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        keys = due(context.instance)
        if not keys:
            return dg.SkipReason("everything is up to date")
        return dg.RunRequest(asset_selection=list(keys), tags={HOST_TAG: socket.gethostname()})

    return nightly_refresh


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def _succeeded(instance: dg.DagsterInstance, digest: str) -> bool:
    """Whether the last refresh was launched for these files and succeeded."""
    newest = instance.get_runs(dg.RunsFilter(job_name=REFRESH), limit=1)
    return any(run.tags.get(RAW_TAG) == digest and run.status == dg.DagsterRunStatus.SUCCESS for run in newest)


def _not_now(instance: dg.DagsterInstance, digest: str) -> str | None:
    """Why no refresh is to be launched for these files, or None."""
    runs = instance.get_run_records(dg.RunsFilter(job_name=REFRESH), limit=RUNS_LOOKED_AT)
    under_way = next((record.dagster_run for record in runs if not record.dagster_run.is_finished), None)
    if under_way:
        return (
            f"the refresh {under_way.run_id[:8]} is under way; the files are looked at again when it is over (where "
            "its machine is no more, end it by Terminate in the web UI)"
        )
    failed_ends: list[float] = []
    newest_failed = ""
    for record in runs:  # newest first
        run = record.dagster_run
        if run.tags.get(RAW_TAG) != digest or run.status == dg.DagsterRunStatus.SUCCESS:
            break
        if run.status == dg.DagsterRunStatus.CANCELED and not newest_failed:
            return (
                "the last refresh of these files was cancelled; change the files, or launch the job `refresh` by hand"
            )
        newest_failed = newest_failed or run.run_id
        failed_ends.append(record.end_time or 0.0)
    if not failed_ends:
        return None
    fault = lasting_fault(instance, newest_failed)
    if fault:
        return (
            f"the last refresh failed on what it was given, which trying again does not mend: {fault} (then change the "
            "files, or launch the job `refresh` by hand)"
        )
    if len(failed_ends) >= MOST_TRIES:
        return (
            f"{len(failed_ends)} refreshes of these files failed and no more are tried; see the last run's error, mend "
            "it, and change the files or launch the job `refresh` by hand"
        )
    wait = FIRST_RETRY_SECONDS * 2 ** (len(failed_ends) - 1)
    passed = time.time() - failed_ends[0]
    # a failure in the future: the clock was set back, and would be waited for until it is there again
    if passed < 0 or passed >= wait:
        return None
    return f"the last refresh failed; it is tried again in {wait - passed:.0f} s"
