"""A run whose process is gone is ended; one whose process lives is left alone."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from datetime import datetime, timedelta

import dagster as dg
import polars as pl
import pytest

from hybrid_assets.orchestration import abandoned
from hybrid_assets.orchestration.abandoned import HOST_TAG, PROCESS_TAG, end_abandoned_runs
from hybrid_assets.orchestration.incremental import Computed, incremental_asset
from hybrid_assets.orchestration.storage import TableStore

SLEEPER = """
import sys, time
import dagster as dg

@dg.asset(pool="gpu")
def slow():
    time.sleep(600)

with dg.DagsterInstance.get() as instance:
    dg.materialize([slow], instance=instance, tags={"hybrid_assets/host": sys.argv[1]} if sys.argv[1] else {})
"""

# A run in its own process that is killed as soon as Dagster has recorded one event of it.
KILLED_AT_ONCE = """
import os, signal, sys
from pathlib import Path
import dagster as dg
import polars as pl
from hybrid_assets.orchestration.incremental import Computed, incremental_asset
from hybrid_assets.orchestration.console import terminal_logger
from hybrid_assets.orchestration.running import run_in_process
from hybrid_assets.orchestration.storage import TableStore

record = dg.DagsterInstance.handle_new_event

def record_and_die(instance, event, **options):
    record(instance, event, **options)
    if event.dagster_event and event.dagster_event.event_type_value == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

dg.DagsterInstance.handle_new_event = record_and_die

@incremental_asset(key="one", group="g", version="1", columns={"x": "a number"})
def one(step):
    return Computed(pl.DataFrame({"x": [1]}))

home = Path(sys.argv[1])
run_in_process(
    dg.Definitions(
        assets=[one],
        jobs=[dg.define_asset_job("refresh")],
        loggers={"terminal": terminal_logger},
        resources={"io_manager": TableStore(url=str(home / "tables"))},
    ),
    home,
)
"""

POOLS = "telemetry: {enabled: false}\nconcurrency: {pools: {granularity: op, default_limit: 1}}\n"


class Runs:
    def __init__(self, home):
        self.home = home
        self.instance = dg.DagsterInstance.from_config(str(home))
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, host: str = "") -> subprocess.Popen[bytes]:
        known = len(self.under_way())
        environment = os.environ | {"DAGSTER_HOME": str(self.home)}
        process = subprocess.Popen([sys.executable, "-c", SLEEPER, host], env=environment, stderr=subprocess.DEVNULL)
        self.processes.append(process)
        for _ in range(600):
            if len(self.under_way()) > known and self.instance.all_logs(
                self.under_way()[0].run_id, of_type=dg.DagsterEventType.STEP_START
            ):
                return process
            time.sleep(0.1)
        raise AssertionError("the run did not start within a minute")

    def under_way(self) -> list[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "dagster.yaml").write_text(POOLS)
    runs = Runs(tmp_path)
    yield runs
    for process in runs.processes:
        process.kill()
        process.wait()
    runs.instance.dispose()


def job_of_nothing() -> dg.JobDefinition:
    return dg.define_asset_job("nothing", selection="*").resolve(
        asset_graph=dg.Definitions(assets=[dg.AssetSpec("x")]).resolve_asset_graph()
    )


def taken(runs) -> int:
    return runs.instance.event_log_storage.get_concurrency_info("gpu").active_slot_count


def test_a_killed_run_is_ended_and_a_living_one_is_not(runs):
    process = runs.start()
    assert end_abandoned_runs(runs.instance) == []
    assert taken(runs) == 1
    [run] = runs.under_way()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert end_abandoned_runs(runs.instance) == [run.run_id]
    ended = runs.instance.get_run_by_id(run.run_id)
    assert ended.status == dg.DagsterRunStatus.FAILURE
    assert taken(runs) == 0
    assert end_abandoned_runs(runs.instance) == []


def test_the_place_of_a_killed_run_that_the_ui_ended_is_freed(runs):
    process = runs.start()
    [run] = runs.under_way()
    process.kill()
    process.wait()
    runs.instance.report_run_canceled(run)
    assert taken(runs) == 1
    assert end_abandoned_runs(runs.instance) == []
    assert taken(runs) == 0


def test_a_run_names_its_machine_where_its_launcher_did_not(tmp_path):
    @incremental_asset(key="made", group="g", version="1", columns={"x": "a number"})
    def made(step):
        return Computed(pl.DataFrame({"x": [1]}))

    with dg.DagsterInstance.ephemeral() as instance:
        for tags in ({}, {HOST_TAG: "the sensor's"}):
            result = dg.materialize(
                [made], instance=instance, resources={"io_manager": TableStore(url=str(tmp_path))}, tags=tags
            )
            run = instance.get_run_by_id(result.run_id)
            assert run.tags[HOST_TAG] == tags.get(HOST_TAG, socket.gethostname())


def test_a_run_that_never_got_a_process_is_ended_after_a_while(runs, monkeypatch):
    run = runs.instance.create_run_for_job(job_of_nothing())
    assert end_abandoned_runs(runs.instance) == []
    monkeypatch.setattr(abandoned, "START_TIMEOUT", timedelta(0))
    assert end_abandoned_runs(runs.instance) == [run.run_id]


@pytest.mark.parametrize("event", ["ASSET_MATERIALIZATION_PLANNED", "PIPELINE_START"])
def test_a_run_killed_before_dagster_notes_its_process_is_ended_at_once(runs, event):
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_ONCE, runs.home, event], stderr=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [run] = runs.instance.get_runs()
    assert run.status in abandoned.UNDER_WAY
    assert end_abandoned_runs(runs.instance) == [run.run_id]


def test_a_run_started_again_from_a_killed_one_is_not_judged_by_its_process(runs):
    run_id = str(uuid.uuid4())
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    gone = {PROCESS_TAG: f"{run_id}:{killed.pid}"}
    runs.instance.create_run_for_job(job_of_nothing(), run_id=run_id, tags=gone)
    again = runs.instance.create_run_for_job(job_of_nothing(), tags=gone)
    assert end_abandoned_runs(runs.instance) == [run_id]
    assert runs.instance.get_run_by_id(again.run_id).status == dg.DagsterRunStatus.NOT_STARTED


def test_a_later_process_with_the_number_of_a_killed_one_does_not_keep_its_run(runs, monkeypatch):
    run_id = str(uuid.uuid4())
    runs.instance.create_run_for_job(job_of_nothing(), run_id=run_id, tags={PROCESS_TAG: f"{run_id}:{os.getpid()}"})
    assert end_abandoned_runs(runs.instance) == []
    monkeypatch.setattr(abandoned.psutil.Process, "create_time", lambda process: time.time() + 60)
    assert end_abandoned_runs(runs.instance) == [run_id]


def test_a_run_whose_process_is_dead_and_not_yet_reaped_is_ended(runs):
    run_id = str(uuid.uuid4())
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    runs.instance.create_run_for_job(job_of_nothing(), run_id=run_id, tags={PROCESS_TAG: f"{run_id}:{dead.pid}"})
    assert end_abandoned_runs(runs.instance) == [run_id]
    dead.wait()


def test_a_run_that_has_just_left_a_long_queue_is_given_its_time_too(runs, monkeypatch):
    run = runs.instance.create_run_for_job(job_of_nothing())
    [record] = runs.instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    queued = record._replace(create_timestamp=record.create_timestamp - timedelta(hours=1))
    monkeypatch.setattr(type(runs.instance), "get_run_records", lambda *_: [queued])
    assert end_abandoned_runs(runs.instance) == []


def test_a_run_of_another_machine_is_not_judged(runs):
    process = runs.start(host="another-machine")
    process.kill()
    process.wait()
    [run] = runs.under_way()
    assert run.tags[HOST_TAG] == "another-machine"
    assert end_abandoned_runs(runs.instance) == []


def test_after_the_clock_was_set_back_a_killed_run_is_ended_and_a_living_one_is_not(runs, monkeypatch):
    process = runs.start()
    [run] = runs.under_way()
    monkeypatch.setattr(abandoned.time, "time", lambda: time.mktime((2020, 1, 1, 0, 0, 0, 0, 0, 0)))
    assert end_abandoned_runs(runs.instance) == []
    process.kill()
    process.wait()
    assert end_abandoned_runs(runs.instance) == [run.run_id]


def test_a_run_that_the_clock_puts_in_the_future_and_that_has_no_process_is_ended(runs, monkeypatch):
    run = runs.instance.create_run_for_job(job_of_nothing())

    class YearsAgo(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2020, 1, 1, tzinfo=tz)

    monkeypatch.setattr(abandoned, "datetime", YearsAgo)
    assert end_abandoned_runs(runs.instance) == [run.run_id]
