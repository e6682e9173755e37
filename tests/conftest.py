"""Real data for all tests: ml-latest-small where it is at hand, and a graph over 20 users of the MovieLens sample."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from quick_graph import Graph, quick_catalog
from small_dataset import write_small_dataset

# how long an example takes says how busy the machine is
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(scope="session")
def ml_latest_small() -> Path:
    """Folder of MovieLens ml-latest-small: HYBRID_ML_LATEST_SMALL, else shared/ beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-latest-small"
    folder = Path(os.environ.get("HYBRID_ML_LATEST_SMALL") or beside)
    if not (folder / "ratings.csv").exists():
        pytest.skip(f"ml-latest-small is neither in HYBRID_ML_LATEST_SMALL nor in {beside}")
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The graph, materialized once; not to be changed by a test."""
    base = tmp_path_factory.mktemp("graph")
    write_small_dataset(base / "raw", base / "cache")
    graph = Graph(quick_catalog(base / "raw"), str(base / "data"), base / "raw")
    graph.run()
    return graph


@pytest.fixture
def graph(built: Graph, tmp_path: Path) -> Graph:
    """A copy of the materialized graph that a test may change."""
    return built.copy(tmp_path)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a real file system in memory with options such as `size=1m`; again on its folder with `remount,ro`."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a test may not mount a file system here: {done.stderr.strip()}")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
