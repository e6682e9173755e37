"""raw_files -> ratings, movies, tags: what a dataset holds, read and checked."""

import hashlib
import os
from pathlib import Path

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.datasets.reading import check_references, find_table, read_movies, read_ratings, read_tags
from hybrid_assets.datasets.sources import locate
from hybrid_assets.environment import raw_cache
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset

TABLES = ("ratings", "movies", "tags")
DEFAULT_RANGE = (0.5, 5.0)


def raw_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """raw_files, ratings, movies and tags of the catalog's dataset."""
    folder_settings = catalog.folder if catalog.dataset == "folder" else None
    columns = dict(folder_settings.columns) if folder_settings else {}
    rating_range = folder_settings.rating_range if folder_settings else DEFAULT_RANGE
    reading = [catalog.dataset, columns, rating_range]

    def folder(step: Step) -> Path:
        return locate(
            catalog.dataset,
            cache=raw_cache(),
            folder=folder_settings.path if folder_settings else None,
            environment=os.environ,
            on_progress=step.progress("bytes"),
            say=step.say,
        )

    @incremental_asset(
        key="raw_files",
        group="raw",
        version="1",
        settings=[catalog.dataset],
        always=True,
        kinds=frozenset({"csv"}),
        columns={"table": "what it holds", "file": "its name", "bytes": "its size", "sha256": "its content"},
        description=(
            f"The files of the dataset {catalog.dataset}, fetched when they are missing, and the hash of each. Looked "
            "at in every run, so that a changed file is noticed."
        ),
    )
    def raw_files(step: Step) -> Computed:
        rows = []
        for name in TABLES:
            file = find_table(folder(step), name)
            if file is None:
                continue
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            rows.append({"table": name, "file": file.name, "bytes": file.stat().st_size, "sha256": digest})
        return Computed(pl.DataFrame(rows), {"bytes": sum(row["bytes"] for row in rows)})

    @incremental_asset(
        key="movies",
        group="raw",
        version="1",
        settings=reading,
        inputs=["raw_files"],
        columns={"movie_id": "the movie", "title": "with its year", "genres": "separated by |"},
        lineage={"movie_id": [("raw_files", "file")], "title": [("raw_files", "file")]},
    )
    def movies(step: Step, raw_files: pl.LazyFrame) -> Computed:
        """Every movie of the dataset, rated or not."""
        table = read_movies(find_table(folder(step), "movies"), columns)
        return Computed(table, {"movies": table.height})

    return [raw_files, movies]
