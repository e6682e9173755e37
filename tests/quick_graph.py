"""The real graph over a small folder of files, quick enough for a test of each of its properties."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions, table_store
from hybrid_assets.orchestration.storage import TableStore


@dataclass
class Graph:
    """The real graph over a folder of files."""

    catalog: Catalog
    storage: str
    raw: Path

    @property
    def store(self) -> TableStore:
        return table_store(self.catalog, self.storage)

    def copy(self, base: Path) -> "Graph":
        """The same graph with its files and tables in another folder."""
        shutil.copytree(self.raw, base / "raw")
        shutil.copytree(self.storage, base / "data")
        assert self.catalog.folder
        folder = self.catalog.folder.model_copy(update={"path": base / "raw"})
        copied = Graph(self.catalog.model_copy(update={"folder": folder}), str(base / "data"), base / "raw")
        assert copied.computed(dg.AssetSelection.assets("raw_files")) == {"raw_files"}, "it notes where they lie"
        return copied

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
        return self.store.scan(dg.AssetKey.from_user_string(key)).collect()


def quick_catalog(folder: Path) -> Catalog:
    """The packaged catalog over a folder, with fewer epochs and resamples so that a test is quick."""
    settings = load_catalog(dataset="sample").model_dump()
    settings |= {"dataset": "folder", "folder": {"path": folder}}
    settings["models"]["pmf"] |= {"factors": 8, "epochs": 20}
    for system in settings["systems"].values():
        if system["fusion"] in ("gated", "stacked"):
            system["stacker"] = {"folds": 2, "candidates": 50}
        if system["fusion"] == "stacked":
            system["stacker"] |= {"trees": 10, "smallest_leaf": 5}
    settings["evaluation"] |= {"bootstrap_resamples": 100, "k": 5, "list_length": 10}
    return Catalog.model_validate(settings)
