"""movies + tags -> movie_documents: the text that encoders see."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.documents import build_documents
from hybrid_assets.recommender.validity import empty_texts, repeated, unknown


def document_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The asset movie_documents."""
    by_time = catalog.split.kind == "temporal"
    tags_of = "all tags given to it until the last train rating" if by_time else "all tags ever given to it"

    @incremental_asset(
        key="movie_documents",
        group="documents",
        version="1",
        settings=["temporal"] if by_time else [],
        inputs=["movies", "tags", *(["train_ratings"] if by_time else [])],
        parts={"train_ratings": lambda train: str(_last(train))},
        description=f"One text for each movie: title without its year, genres, and {tags_of}.",
        columns={"movie_id": "the movie", "document": f"title without year, genres and {tags_of}"},
        lineage={
            "movie_id": [("movies", "movie_id")],
            "document": [("movies", "title"), ("movies", "genres"), ("tags", "tag")],
        },
        checks=[
            Check("no_empty_document", "Every document has text.", lambda made: empty_texts(made.table, "document")),
            Check(
                "one_document_a_movie",
                "Every movie has a document, and one.",
                lambda made: repeated(made.table, "movie_id") or unknown(made.given("movies"), made.table, "movie_id"),
            ),
        ],
    )
    def movie_documents(
        step: Step, movies: pl.LazyFrame, tags: pl.LazyFrame, train_ratings: pl.LazyFrame | None = None
    ) -> Computed:
        if train_ratings is not None:
            _check_times(tags)
            tags = tags.filter(pl.col("timestamp") <= _last(train_ratings))
        documents = build_documents(movies.collect(), tags.collect())
        length = documents["document"].str.len_chars().to_numpy()
        return Computed(documents, {"mean_characters": float(length.mean()), "longest_characters": int(length.max())})

    return [movie_documents]


def _check_times(tags: pl.LazyFrame) -> None:
    given = tags.select(tags=pl.len(), timed=(pl.col("timestamp") != 0).sum()).collect()
    if given["tags"].item() and not given["timed"].item():
        raise ValueError(
            "split.kind = 'temporal': the tags have no times, so those given after train cannot be left out; give the "
            "file of tags its field timestamp, or leave it away"
        )


def _last(ratings: pl.LazyFrame) -> int:
    """When the last rating was given."""
    return int(ratings.select(pl.col("timestamp").max()).collect().item())
