"""ratings -> train_ratings, test_ratings: the split on which everything is trained and judged."""

import dagster as dg
import polars as pl

from hybrid_assets.assets.raw import RATING_COLUMNS
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.split import split_ratings
from hybrid_assets.recommender.validity import shared_pairs, unknown


def split_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """train_ratings and test_ratings."""
    settings = catalog.split

    def split(ratings: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        return split_ratings(
            ratings.collect(),
            test_share=settings.test_share,
            min_ratings=settings.min_ratings,
            validation_share=settings.validation_share,
            seed=settings.seed,
        )

    def counts(table: pl.DataFrame) -> dict[str, int]:
        return {"users": table["user_id"].n_unique(), "movies": table["movie_id"].n_unique()}

    @incremental_asset(
        key="train_ratings",
        group="split",
        version="1",
        settings=[settings],
        libraries=["scikit-learn"],
        inputs=["ratings"],
        columns={**RATING_COLUMNS, "validation": "held out of train to choose fusion weights"},
        lineage={column: [("ratings", column)] for column in RATING_COLUMNS},
    )
    def train_ratings(step: Step, ratings: pl.LazyFrame) -> Computed:
        """Ratings that models learn from, in training order; `validation` marks the part that chooses weights."""
        train, _ = split(ratings)
        if train.is_empty():
            raise ValueError("no rating is left for training; the dataset needs more ratings")
        return Computed(train, {**counts(train), "validation_ratings": int(train["validation"].sum())})

    @incremental_asset(
        key="test_ratings",
        group="split",
        version="1",
        settings=[settings],
        libraries=["scikit-learn"],
        inputs=["ratings", "train_ratings"],
        columns=RATING_COLUMNS,
        lineage={column: [("ratings", column)] for column in RATING_COLUMNS},
        checks=[
            Check(
                "no_test_row_in_train",
                "No pair of user and movie is in train too.",
                lambda made: shared_pairs(made.table, made.given("train_ratings")),
            ),
            Check(
                "test_users_in_train",
                "Every user of the test has ratings in train.",
                lambda made: unknown(made.table, made.given("train_ratings"), "user_id"),
            ),
        ],
    )
    def test_ratings(step: Step, ratings: pl.LazyFrame, train_ratings: pl.LazyFrame) -> Computed:
        """Ratings that no model ever sees; lists are judged by them."""
        _, test = split(ratings)
        return Computed(test, counts(test))

    return [train_ratings, test_ratings]
