"""What a first and a second `hybrid-assets run` cost on the sample: wall seconds, peak memory, and their ratio.

Runs the real command twice in a new, empty storage and Dagster home. Usage: python benchmarks/rerun.py
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hybrid_assets.environment import project_folder


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "dagster_home"
        home.mkdir()
        shutil.copy(project_folder() / "dagster_home" / "dagster.yaml", home)
        environment = os.environ | {
            "DAGSTER_HOME": str(home), "HYBRID_STORAGE": f"{scratch}/data", "HYBRID_RAW": f"{scratch}/raw",
            "HYBRID_DATASET": "sample",
        }  # fmt: skip
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            command = [str(Path(sys.executable).with_name("hybrid-assets")), "run"]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"first run {seconds[0]:.1f} s (goal: under 300), peak memory {peak:.2f} GiB (goal: under 3)")
    print(f"second run {seconds[1]:.1f} s")
    print(
        f"first / second: {seconds[0] / seconds[1]:.1f} without installing (goal for `make run` with it: at least 20)"
    )


if __name__ == "__main__":
    main()
