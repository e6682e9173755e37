"""The sensor: launches for content that no good refresh has seen, again after a failure, and not in a tight loop."""

import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from hybrid_assets.catalog import load_catalog
from hybrid_assets.orchestration import automation
from hybrid_assets.orchestration.abandoned import HOST_TAG, PROCESS_TAG
from hybrid_assets.orchestration.automation import MADE, MOST_TRIES, RAW_TAG, nightly_schedule, watch_sensor
from hybrid_assets.orchestration.faults import lasting_failure
from hybrid_assets.orchestration.jobs import REFRESH, refresh_job


class Watch:
    """A folder that is watched, a job `refresh` that can be made to fail, and the instance that remembers."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.file = folder / "ratings.csv"
        self.file.write_text("userId,movieId,rating\n1,1,4\n")
        self.instance = instance
        self.cursor: str | None = None
        self.healthy = True
        self.fault: Exception = RuntimeError("out of order")
        job = refresh_job(load_catalog(), [])
        self.keys = [dg.AssetKey("table")]
        self.made_from = ""
        self.lasts = True
        self.sensor = watch_sensor(
            lambda: [self.file] if self.file.exists() else [],
            tables=lambda: self.made_from,
            job=job,
            due=lambda _: [] if self.made_from == self.file.read_text() else self.keys,
            seconds=1,
            on=True,
        )

        @dg.asset
        def table() -> None:
            if not self.healthy:
                raise self.fault
            if self.lasts:
                self.made_from = self.file.read_text()

        self.definitions = dg.Definitions(assets=[table], jobs=[job], sensors=[self.sensor])

    def look(self) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        answer = self.sensor(context)
        self.cursor = context.cursor
        return answer

    def settled_look(self) -> dg.SensorResult | dg.SkipReason:
        """Two looks: the first after a change only notes it."""
        self.look()
        return self.look()

    def launch(self, answer: dg.SensorResult | dg.SkipReason) -> None:
        assert isinstance(answer, dg.SensorResult), answer
        [request] = answer.run_requests
        job = self.definitions.resolve_job_def(REFRESH)
        assert request.asset_selection == self.keys
        job.execute_in_process(
            instance=self.instance,
            asset_selection=request.asset_selection,
            tags=dict(request.tags),
            raise_on_error=False,
        )


@pytest.fixture
def watch(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watch(tmp_path, instance)


def skipped(answer) -> str:
    assert isinstance(answer, dg.SkipReason), answer
    return str(answer.skip_message)


def test_new_files_are_refreshed_once_and_then_left_alone(watch):
    assert "looking again" in skipped(watch.look())
    watch.launch(watch.look())
    assert MADE in skipped(watch.look())


def test_a_file_that_is_still_written_waits(watch):
    for line in range(3):
        with watch.file.open("a") as file:
            file.write(f"1,{line + 2},3\n")
        assert "looking again" in skipped(watch.look())
    assert isinstance(watch.look(), dg.SensorResult)


def test_changed_content_launches_and_a_touched_file_does_not(watch):
    watch.launch(watch.settled_look())
    os.utime(watch.file, (1, 1))
    assert MADE in skipped(watch.settled_look())
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_file_put_back_as_it_was_is_refreshed_too(watch):
    first = watch.file.read_text()
    watch.launch(watch.settled_look())
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    watch.file.write_text(first)
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_failed_refresh_is_tried_again_later_each_time_and_not_for_ever(watch, monkeypatch):
    watch.healthy = False
    now = [0.0]
    monkeypatch.setattr(automation.time, "time", lambda: now[0])
    waits = []
    answer = watch.settled_look()
    for _ in range(MOST_TRIES - 1):
        watch.launch(answer)
        [newest] = watch.instance.get_run_records(limit=1)
        now[0] = newest.end_time
        waits.append(float(skipped(watch.look()).split(" in ")[1].split()[0]))
        now[0] = newest.end_time + waits[-1] + 1
        answer = watch.look()
    assert waits == [60, 120, 240, 480, 960]
    watch.launch(answer)
    now[0] += 10**6
    assert f"{MOST_TRIES} refreshes of these files failed" in skipped(watch.look())
    watch.healthy = True
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_refresh_that_bad_input_failed_waits_for_other_files(watch):
    watch.healthy, watch.fault = False, lasting_failure("ratings.csv, line 2: not a number")
    watch.launch(watch.settled_look())
    told = skipped(watch.look())
    assert "ratings.csv, line 2: not a number" in told
    assert "trying again does not mend" in told
    watch.healthy = True
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_refresh_whose_process_is_gone_is_ended_and_tried_again(watch):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    run_id = str(uuid.uuid4())
    watch.instance.create_run_for_job(
        watch.definitions.resolve_job_def(REFRESH),
        run_id=run_id,
        tags={HOST_TAG: socket.gethostname(), PROCESS_TAG: f"{run_id}:{gone.pid}"},
        status=dg.DagsterRunStatus.STARTED,
    )
    watch.launch(watch.settled_look())
    assert watch.instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.FAILURE
    assert skipped(watch.look()) == MADE


@pytest.mark.parametrize("back", [3600, 10**7])
def test_a_clock_that_was_set_back_makes_it_neither_wait_for_ever_nor_loop(watch, monkeypatch, back):
    watch.healthy = False
    watch.launch(watch.settled_look())
    now = time.time() - back
    monkeypatch.setattr(automation, "time", SimpleNamespace(time=lambda: now))
    for _ in range(MOST_TRIES - 1):
        watch.launch(watch.look())  # each of them ends by the true clock, which is ahead for ever
    assert f"{MOST_TRIES} refreshes of these files failed" in skipped(watch.look())


def test_a_file_whose_time_went_back_is_looked_at(watch):
    watch.launch(watch.settled_look())
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    os.utime(watch.file, (0, 0))
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_change_of_any_of_the_files_is_another_try(tmp_path):
    files = [tmp_path / "ratings.csv", tmp_path / "movies.csv"]
    for file in files:
        file.write_text("as it was")
    sensor = watch_sensor(
        lambda: files,
        tables=lambda: "",
        job=refresh_job(load_catalog(), []),
        due=lambda _: [dg.AssetKey("table")],
        seconds=1,
        on=True,
    )
    cursor, tags = None, []
    with dg.DagsterInstance.ephemeral() as instance:
        for changed in (None, *files):
            if changed:
                changed.write_text("mended")
            for _ in range(2):
                context = dg.build_sensor_context(instance=instance, cursor=cursor)
                answer = sensor(context)
                cursor = context.cursor
            tags.append(answer.run_requests[0].tags[RAW_TAG])
    assert len(set(tags)) == 3


def test_a_change_during_a_run_is_not_lost(watch):
    answer = watch.settled_look()
    [request] = answer.run_requests
    job = watch.definitions.resolve_job_def(REFRESH)
    running = watch.instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    assert "under way" in skipped(watch.settled_look())
    watch.instance.delete_run(running.run_id)
    assert isinstance(watch.look(), dg.SensorResult)


def test_files_that_are_not_there_or_not_right_are_waited_for_with_a_word(watch):
    text = watch.file.read_text()
    watch.file.unlink()
    assert "not here yet" in skipped(watch.look())
    watch.file.write_text(text)
    assert isinstance(watch.settled_look(), dg.SensorResult)


def test_files_that_everything_is_made_from_launch_nothing_until_they_change(watch):
    watch.made_from = watch.file.read_text()
    assert MADE in skipped(watch.settled_look())
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_what_was_made_and_is_gone_is_made_again(watch):
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())
    watch.made_from = ""
    watch.launch(watch.look())
    assert MADE in skipped(watch.look())


def test_files_put_back_after_a_command_made_other_ones_are_refreshed(watch):
    first = watch.file.read_text()
    watch.launch(watch.settled_look())
    watch.made_from = "of other files, by a command"
    watch.file.write_text(first)
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())


def test_a_refresh_that_does_not_make_what_it_should_is_not_repeated_in_a_loop(watch):
    watch.lasts = False
    watch.launch(watch.settled_look())
    for _ in range(2):
        assert "and yet table is not made from them" in skipped(watch.look())


def test_the_schedule_launches_the_same_job_over_what_is_due_and_nothing_where_nothing_is(monkeypatch):
    behind = [dg.AssetKey("table")]
    schedule = nightly_schedule(job=refresh_job(load_catalog(), []), due=lambda _: behind, cron="0 3 * * *", on=False)
    # opening the instance that a context refers to leaves a closed one behind in Dagster's globals
    monkeypatch.setattr(dg.ScheduleEvaluationContext, "instance", None)
    context = dg.build_schedule_context()
    assert schedule(context).asset_selection == behind
    behind.clear()
    assert "up to date" in skipped(schedule(context))
    assert schedule.job_name == REFRESH
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert schedule.cron_schedule == "0 3 * * *"


def test_a_refresh_that_somebody_cancelled_stays_cancelled_until_the_files_change(watch):
    [request] = watch.settled_look().run_requests
    job = watch.definitions.resolve_job_def(REFRESH)
    cancelled = watch.instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    watch.instance.report_run_canceled(cancelled)
    assert "was cancelled" in skipped(watch.look())
    watch.file.write_text("userId,movieId,rating\n1,1,5\n")
    watch.launch(watch.settled_look())
    assert MADE in skipped(watch.look())
