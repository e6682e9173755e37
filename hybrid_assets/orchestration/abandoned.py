"""Runs whose process is gone: killed with -9, or the machine went down.

Dagster counts such a run as started for ever: the sensor waits for it and its place in the pool `gpu` stays taken.
Belongs here: finding them and ending them. Does not: trying again, which the sensor does with a failed run.
"""

import functools
import os
import socket
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil
from dagster._core.storage.runs.sqlite import SqliteRunStorage

# The machine a run's process is on; without it, records in a local SQLite file are of this machine.
HOST_TAG = "hybrid_assets/host"
# The number of a run's process, told before Dagster does so. A run started again from another copies its tags, and so
# the value names the run, too.
PROCESS_TAG = "hybrid_assets/process"
UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
# How long a run may take from when it left the queue to its process: as long as Dagster's own run monitoring gives it.
START_TIMEOUT = timedelta(minutes=3)
CLOCK_TOLERANCE_SECONDS = 2.0


def end_abandoned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark the runs of this machine whose process is gone as failed, and free what they hold; returns their ids.

    Places in a pool that runs left when they were ended otherwise, by "Terminate" in the UI, say, are freed too.
    """
    here, only_here = socket.gethostname(), isinstance(instance.run_storage, SqliteRunStorage)
    ended = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNDER_WAY)):
        run = record.dagster_run
        if run.tags.get(HOST_TAG, here if only_here else None) != here or _alive(instance, record):
            continue
        instance.report_run_failed(
            run, "The process of this run is gone: it was killed, or the machine went down. What it finished is kept."
        )
        ended.append(run.run_id)
    if instance.event_log_storage.supports_global_concurrency_limits:
        for run_id in instance.event_log_storage.get_concurrency_run_ids():
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return ended


def tags_of_this_process(run_id: str) -> dict[str, str]:
    """Tags for a run that this process is about to execute itself.

    Dagster notes the process only a moment after it called the run started: killed in between, nothing else told that
    the run has ended.
    """
    return {HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{run_id}:{os.getpid()}"}


def name_host(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Note on which machine a run is where its launcher, the UI say, did not."""
    if HOST_TAG not in run.tags:
        _note_host(instance, run.run_id)


@functools.lru_cache(maxsize=1)  # every asset of a run asks, with the tags that the run began with
def _note_host(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.add_run_tags(run_id, {HOST_TAG: socket.gethostname()})


def _alive(instance: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    told = _told_process(instance, record)
    if told is None:
        # either way: a clock that was set back must not make it wait for ever
        return abs(datetime.now(UTC) - record.update_timestamp.astimezone(UTC)) < START_TIMEOUT
    number, at = told
    try:
        process = psutil.Process(number)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if at > time.time() + CLOCK_TOLERANCE_SECONDS:
            # the clock was set back since: times tell nothing, but any run is a Python process
            return any("python" in word for word in process.cmdline()[:1])
        # a process that began after the run said its number only has the same number
        return bool(process.create_time() <= at + CLOCK_TOLERANCE_SECONDS)
    except psutil.NoSuchProcess:
        return False


def _told_process(instance: dg.DagsterInstance, record: dg.RunRecord) -> tuple[int, float] | None:
    """Number of a run's process and when it was told, in seconds since 1970."""
    run = record.dagster_run
    run_id, _, number = run.tags.get(PROCESS_TAG, "").partition(":")
    if run_id == run.run_id:
        return int(number), record.create_timestamp.timestamp()
    for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        pid = event.dagster_event.engine_event_data.metadata.get("pid") if event.dagster_event else None
        if pid is not None:
            return int(str(pid.value)), event.timestamp
    return None
