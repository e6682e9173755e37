"""raw_files -> ratings, movies, tags: what a dataset holds, read and checked."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.datasets.reading import (
    check_references,
    find_table,
    read_movies,
    read_ratings,
    read_tags,
    untimed,
)
from hybrid_assets.datasets.sources import folder_of, locate
from hybrid_assets.environment import raw_cache
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import content_hash
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.validity import outside, repeated, unknown

TABLES = ("ratings", "movies", "tags")
RATING_COLUMNS = {
    "user_id": "who rated",
    "movie_id": "what was rated",
    "rating": "stars",
    "timestamp": "when, in unix seconds",
}
# Of `movies` what models and learned fusions read: an edited title makes none of them anew.
READS_FACTS: dict[str, Callable[[pl.LazyFrame], str]] = {
    "movies": lambda movies: content_hash(film_facts(movies.collect()))
}
TAG_SCHEMA = {"user_id": pl.Int64, "movie_id": pl.Int64, "tag": pl.String, "timestamp": pl.Int64}


def raw_files_present(catalog: Catalog) -> list[Path]:
    """The files of the catalog's dataset that are on this machine now; nothing is fetched."""
    folder = _folder_now(catalog)
    if not folder.is_dir():
        return []
    return [file for file in (find_table(folder, name) for name in TABLES) if file is not None]


def _folder_now(catalog: Catalog) -> Path:
    given = catalog.folder.path if catalog.folder else None
    return folder_of(catalog.dataset, cache=raw_cache(), folder=given, environment=os.environ)


def raw_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """raw_files, ratings, movies and tags of the catalog's dataset."""
    folder_settings = catalog.folder if catalog.dataset == "folder" else None
    columns = dict(folder_settings.columns) if folder_settings else {}
    rating_range = catalog.rating_range
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

    def hashes(place: Path) -> pl.DataFrame:
        rows = []
        for name in TABLES:
            file = find_table(place, name)
            if file is None:
                continue
            rows.append({"table": name, "file": file.name, "bytes": file.stat().st_size, "sha256": _digest(file)})
        return pl.DataFrame(rows)

    def as_they_are_now() -> pl.DataFrame | None:
        place = _folder_now(catalog)
        # a folder of one's own is not fetched: without it, the reader says what is wrong
        return hashes(place) if place.is_dir() or folder_settings else None

    @incremental_asset(
        key="raw_files",
        group="raw",
        version="1",
        # two folders of one's own are two datasets, of which one lies in storage
        settings=[catalog.dataset, *([str(folder_settings.path.absolute())] if folder_settings else [])],
        look=as_they_are_now,
        kinds=frozenset({"csv"}),
        columns={"table": "what it holds", "file": "its name", "bytes": "its size", "sha256": "its content"},
        description=(
            f"The files of the dataset {catalog.dataset}, fetched when they are missing, and the hash of each. Looked "
            "at in every run, so that a changed file is noticed."
        ),
    )
    def raw_files(step: Step) -> Computed:
        files = hashes(folder(step))
        return Computed(files, {"bytes": int(files["bytes"].sum())})

    @incremental_asset(
        key="movies",
        group="raw",
        version="1",
        settings=reading,
        inputs=["raw_files"],
        parts={"raw_files": _content_of("movies")},
        columns={"movie_id": "the movie", "title": "with its year", "genres": "separated by |"},
        lineage=_from_raw("movie_id", "title", "genres"),
        checks=[Check("unique_movies", "Each movie stands once.", lambda made: repeated(made.table, "movie_id"))],
    )
    def movies(step: Step, raw_files: pl.LazyFrame) -> Computed:
        """Every movie of the dataset, rated or not."""
        file = find_table(folder(step), "movies")
        table = read_movies(file, columns)
        _check_unchanged(file, "movies", raw_files)
        return Computed(table, {"movies": table.height})

    @incremental_asset(
        key="ratings",
        group="raw",
        version="1",
        settings=reading,
        inputs=["raw_files", "movies"],
        parts={"raw_files": _content_of("ratings")},
        columns=RATING_COLUMNS,
        lineage=_from_raw(*RATING_COLUMNS),
        checks=[
            Check(
                "unique_pairs",
                "Nobody rates a movie twice.",
                lambda made: repeated(made.table, "user_id", "movie_id"),
            ),
            Check(
                "ratings_in_range",
                f"Every rating is in {list(rating_range)}.",
                lambda made: outside(made.table, "rating", *rating_range),
            ),
            Check(
                "movies_exist",
                "Every rated movie is in movies.",
                lambda made: unknown(made.table, made.given("movies"), "movie_id"),
            ),
        ],
    )
    def ratings(step: Step, raw_files: pl.LazyFrame, movies: pl.LazyFrame) -> Computed:
        """Every rating of the dataset, in file order, checked against the movies."""
        file = find_table(folder(step), "ratings")
        table = read_ratings(file, columns, rating_range)
        if unknown_times := untimed(file, columns):
            step.say(unknown_times)
        _check_unchanged(file, "ratings", raw_files)
        check_references(table, movies.collect(), file, columns)
        return Computed(
            table,
            {
                "users": table["user_id"].n_unique(),
                "mean_rating": round(float(table["rating"].to_numpy().mean(dtype="float64")), 4),
            },
        )

    @incremental_asset(
        key="tags",
        group="raw",
        version="1",
        settings=reading,
        inputs=["raw_files", "movies"],
        parts={"raw_files": _content_of("tags")},
        columns={"user_id": "who tagged", "movie_id": "what", "tag": "free text", "timestamp": "when, in unix seconds"},
        lineage=_from_raw("user_id", "movie_id", "tag", "timestamp"),
        checks=[
            Check(
                "movies_exist",
                "Every tagged movie is in movies.",
                lambda made: unknown(made.table, made.given("movies"), "movie_id"),
            )
        ],
    )
    def tags(step: Step, raw_files: pl.LazyFrame, movies: pl.LazyFrame) -> Computed:
        """Every tag of the dataset, in file order; none where the dataset has no tags."""
        file = find_table(folder(step), "tags")
        if file is None:
            step.say("the dataset has no tags")
            return Computed(pl.DataFrame(schema=TAG_SCHEMA))
        table = read_tags(file, columns)
        if unknown_times := untimed(file, columns):
            step.say(unknown_times)
        _check_unchanged(file, "tags", raw_files)
        check_references(table, movies.collect(), file, columns)
        return Computed(table, {"tagged_movies": table["movie_id"].n_unique()})

    return [raw_files, movies, ratings, tags]


def _from_raw(*columns: str) -> dict[str, list[tuple[str, str]]]:
    return {column: [("raw_files", "file")] for column in columns}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_unchanged(file: Path | None, table: str, raw_files: pl.LazyFrame) -> None:
    """After reading: a file that was replaced since `raw_files` looked would be taken for what it was then."""
    if file is not None and _digest(file) != _content_of(table)(raw_files):
        raise dg.Failure(f"{file} was changed while this run was reading; run again. The last good version stays")


def _content_of(table: str) -> Callable[[pl.LazyFrame], str]:
    """The version of one of the raw files: the others may change without it being read again."""

    def version(raw_files: pl.LazyFrame) -> str:
        hashes = raw_files.filter(pl.col("table") == table).collect()["sha256"].to_list()
        return hashes[0] if hashes else "absent"

    return version
