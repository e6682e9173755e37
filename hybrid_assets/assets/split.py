"""ratings -> train_ratings, test_ratings: the split on which everything is trained and judged."""

from collections.abc import Callable

import dagster as dg
import polars as pl

from hybrid_assets.assets.raw import RATING_COLUMNS
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check, Made
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.split import split_ratings
from hybrid_assets.recommender.validity import before_own_last, not_later, shared_pairs, shared_users, unknown

Parts = tuple[pl.DataFrame, pl.DataFrame]


def parts_of(train: pl.DataFrame) -> Parts:
    """The validation part of train, and the rest."""
    return train.filter(pl.col("validation")), train.filter(~pl.col("validation"))


def split_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """train_ratings and test_ratings."""
    settings = catalog.split

    def split(ratings: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        return split_ratings(ratings.collect(), **settings.model_dump())

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
        checks=_time_checks(catalog, lambda made: parts_of(made.table), "validation", "the rest of train"),
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
            *(
                []
                if settings.kind == "temporal"
                else [
                    Check(
                        "test_users_in_train",
                        "Every user of the test has ratings in train.",
                        lambda made: unknown(made.table, made.given("train_ratings"), "user_id"),
                    )
                ]
            ),
            *_time_checks(catalog, lambda made: (made.table, made.given("train_ratings")), "test", "train"),
            *(
                [
                    Check(
                        "validation_users_not_in_test",
                        "No user of the test has ratings in the validation part.",
                        lambda made: shared_users(made.table, parts_of(made.given("train_ratings"))[0]),
                    )
                ]
                if settings.kind == "user_folds"
                else []
            ),
        ],
    )
    def test_ratings(step: Step, ratings: pl.LazyFrame, train_ratings: pl.LazyFrame) -> Computed:
        """Ratings that no model ever sees; lists are judged by them."""
        _, test = split(ratings)
        newcomers = test.join(train_ratings.collect(), on="user_id", how="anti")["user_id"].n_unique()
        return Computed(test, {**counts(test), "users_without_train": newcomers})

    return [train_ratings, test_ratings]


def _time_checks(catalog: Catalog, parts: Callable[[Made], Parts], held_out: str, rest: str) -> list[Check]:
    """What a split by time promises of the part that it holds out."""
    if catalog.split.kind == "temporal":
        name, says = "later_than_all", f"Every {held_out} rating is later than {rest}."
        return [Check(f"{held_out}_{name}", says, lambda made: not_later(*parts(made)))]
    if catalog.split.kind == "leave_last_out":
        name, says = "last_of_user", f"No {held_out} rating is earlier than one of the same user in {rest}."
        return [Check(f"{held_out}_{name}", says, lambda made: before_own_last(*parts(made)))]
    return []
