"""movies + tags -> movie_documents: the text that encoders see."""

import dagster as dg
import polars as pl

from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.documents import build_documents
from hybrid_assets.recommender.validity import empty_texts, repeated, unknown


@incremental_asset(
    key="movie_documents",
    group="documents",
    version="1",
    inputs=["movies", "tags"],
    columns={"movie_id": "the movie", "document": "title without year, genres and all tags"},
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
def movie_documents(step: Step, movies: pl.LazyFrame, tags: pl.LazyFrame) -> Computed:
    """One text for each movie: title without its year, genres, and all tags ever given to it."""
    documents = build_documents(movies.collect(), tags.collect())
    length = documents["document"].str.len_chars().to_numpy()
    return Computed(documents, {"mean_characters": float(length.mean()), "longest_characters": int(length.max())})


def document_assets() -> list[dg.AssetsDefinition]:
    """The assets of this stage."""
    return [movie_documents]
