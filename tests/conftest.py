"""Real data for all tests: ml-latest-small where it is at hand, and a graph over 20 users of the MovieLens sample."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from small_dataset import write_small_dataset

from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions, table_store
from hybrid_assets.orchestration.storage import TableStore


@pytest.fixture(scope="session")
def ml_latest_small() -> Path:
    """Folder of MovieLens ml-latest-small: HYBRID_ML_LATEST_SMALL, else shared/ beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "ml-latest-small"
    folder = Path(os.environ.get("HYBRID_ML_LATEST_SMALL") or beside)
    if not (folder / "ratings.csv").exists():
        pytest.skip(f"ml-latest-small is neither in HYBRID_ML_LATEST_SMALL nor in {beside}")
    return folder


@dataclass
class Graph:
    """The real graph over a folder of files."""

    catalog: Catalog
    storage: str
    raw: Path

    @property
    def store(self) -> TableStore:
        return table_store(self.catalog, self.storage)

    def run(self, selection: dg.AssetSelection | None = None) -> dict[str, bool]:
        """Materialize in this process; asset -> whether it was computed (False: unchanged).

        Without a selection: what the job `refresh` selects. Raises AssertionError with the message of a failed step.
        """
        definitions = build_definitions(self.catalog, self.storage)
        assets = list(definitions.assets)
        refreshed = definitions.resolve_job_def("refresh").asset_layer.executable_asset_keys
        result = dg.materialize(
            assets,
            resources=definitions.resources,
            selection=selection or dg.AssetSelection.assets(*refreshed),
            raise_on_error=False,
            instance=dg.DagsterInstance.ephemeral(),
        )
        failed = [
            event.step_failure_data.user_failure_data.description
            if event.step_failure_data.user_failure_data
            else event.step_failure_data.error.to_string()
            for event in result.all_events
            if event.is_step_failure
        ]
        assert not failed, "\n".join(str(message) for message in failed)
        return {
            materialization.asset_key.to_user_string(): not materialization.metadata["cached"].value
            for event in result.get_asset_materialization_events()
            for materialization in [event.step_materialization_data.materialization]
        }

    def computed(self, selection: dg.AssetSelection | None = None) -> set[str]:
        return {asset for asset, computed in self.run(selection).items() if computed}

    def table(self, key: str) -> pl.DataFrame:
        return self.store.scan(dg.AssetKey(key.split("/"))).collect()


def quick_catalog(folder: Path) -> Catalog:
    """The packaged catalog over a folder, with fewer epochs and resamples so that a test is quick."""
    settings = load_catalog(dataset="sample").model_dump()
    settings |= {"dataset": "folder", "folder": {"path": folder}}
    settings["models"]["pmf"] |= {"factors": 8, "epochs": 20}
    for system in settings["systems"].values():
        if system["fusion"] == "stacked":
            system["stacker"] = {"folds": 2, "trees": 10, "candidates": 50, "smallest_leaf": 10}
    settings["evaluation"] |= {"bootstrap_resamples": 100, "k": 5, "list_length": 10}
    return Catalog.model_validate(settings)


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
    shutil.copytree(built.raw, tmp_path / "raw")
    shutil.copytree(built.storage, tmp_path / "data")
    return Graph(quick_catalog(tmp_path / "raw"), str(tmp_path / "data"), tmp_path / "raw")


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
