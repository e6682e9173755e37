"""train_ratings + embeddings/<encoder> -> profiles/<encoder>: each user as a vector in the encoder's space."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.profiles import Reading
from hybrid_assets.recommender.tables import FOLDS, Fold, fold_of, ids_and_vectors, profiles_of
from hybrid_assets.recommender.validity import not_unit_length, users_without_profile

READINGS: tuple[Reading, ...] = ("liked", "recency")


def profile_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """profiles/<encoder> for every encoder."""
    threshold = catalog.evaluation.relevance_threshold
    return [_profile_asset(name, threshold) for name in catalog.encoders]


def _profile_asset(name: str, threshold: float) -> dg.AssetsDefinition:
    @incremental_asset(
        key=f"profiles/{name}",
        group="profiles",
        version="1",
        settings=[threshold],
        libraries=["numpy", "scipy"],
        inputs={"train_ratings": "train_ratings", "embeddings": f"embeddings/{name}"},
        tags={"encoder": name},
        description=(
            f"User profiles in the space of {name}, unit length: the mean of what the user liked, weighted by rating "
            "(reading `liked`, the paper's equation 2), and of all the user rated, weighted by rating and recency "
            "(reading `recency`, the paper's code)."
        ),
        columns={
            "fold": '"train": from all of train; "fit": without its validation part',
            "reading": '"liked" or "recency"',
            "user_id": "the user",
            "vector": "unit length",
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "vector": [("train_ratings", "rating"), (f"embeddings/{name}", "vector")],
        },
        checks=[
            Check("unit_length", "Every profile is 1 long.", lambda made: not_unit_length(made.table)),
            Check(
                "profiles_cover_users",
                "Every user who likes something has a profile.",
                lambda made: users_without_profile(made.table, made.given("train_ratings"), threshold),
            ),
        ],
    )
    def profiles(step: Step, train_ratings: pl.LazyFrame, embeddings: pl.LazyFrame) -> Computed:
        train = train_ratings.collect()
        embedded = ids_and_vectors(embeddings.collect(), "movie_id")

        def profile(fold: Fold, reading: Reading) -> pl.DataFrame:
            user_ids, vectors = profiles_of(fold_of(train, fold), reading, threshold, *embedded)
            return pl.DataFrame({"user_id": user_ids, "vector": vectors}).select(
                pl.lit(fold).alias("fold"), pl.lit(reading).alias("reading"), "user_id", "vector"
            )

        table = pl.concat(profile(fold, reading) for fold in FOLDS for reading in READINGS)
        return Computed(table, {"users": table["user_id"].n_unique()})

    return profiles
