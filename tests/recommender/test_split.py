"""The split: the protocol's rules, and no rating lost, shared or leaked."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from hybrid_assets.datasets.reading import find_table, read_ratings
from hybrid_assets.recommender.split import split_ratings

RULES = {"test_share": 0.2, "min_ratings": 5, "validation_share": 0.2, "seed": 42}


def ratings_of(counts: list[int]) -> pl.DataFrame:
    """Users 1, 2, ... with so many ratings each, their rows interleaved as in a file sorted by time."""
    rows = [(movie, user) for user, count in enumerate(counts, 1) for movie in range(count)]
    table = pl.DataFrame(sorted(rows), schema=["movie_id", "user_id"], orient="row")
    return table.select("user_id", "movie_id", pl.lit(4.0).alias("rating"), pl.row_index("timestamp").cast(pl.Int64))


def test_it_is_the_plain_loop_over_users():
    ratings = ratings_of([7, 3, 20, 5])
    train, test = split_ratings(ratings, **RULES)
    expected_train, expected_test = [], []
    for user in sorted(ratings["user_id"].unique()):
        rows = ratings.filter(pl.col("user_id") == user).rows()
        if len(rows) < 5:
            expected_train += rows
            continue
        kept, held_out = train_test_split(rows, test_size=0.2, random_state=42)
        expected_train += kept
        expected_test += held_out
    assert train.drop("validation").rows() == expected_train
    assert test.rows() == expected_test


def test_a_user_with_few_ratings_stays_whole_in_train():
    train, test = split_ratings(ratings_of([4, 5]), **RULES)
    assert train.filter(pl.col("user_id") == 1).height == 4
    assert test["user_id"].to_list() == [2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 5))
def test_every_rating_lands_in_exactly_one_part(counts, seed):
    ratings = ratings_of(counts)
    train, test = split_ratings(ratings, **RULES | {"seed": seed})
    together = pl.concat([train.drop("validation"), test]).sort("timestamp")
    assert together.equals(ratings)
    assert set(test["user_id"]) <= set(train.filter(~pl.col("validation"))["user_id"])
    again = split_ratings(ratings, **RULES | {"seed": seed})
    assert again[0].equals(train)
    assert again[1].equals(test)


def test_another_seed_is_another_split():
    ratings = ratings_of([20, 20])
    assert not split_ratings(ratings, **RULES)[1].equals(split_ratings(ratings, **RULES | {"seed": 1})[1])


def test_the_protocols_counts_on_ml_latest_small(ml_latest_small):
    train, test = split_ratings(read_ratings(find_table(ml_latest_small, "ratings")), **RULES)
    assert (train.height, test.height) == (80_419, 20_417)
    assert (train["user_id"].n_unique(), train["movie_id"].n_unique()) == (610, 8_965)
    assert train.join(test, on=["user_id", "movie_id"]).is_empty(), "a test rating leaked into train"


def test_no_ratings_give_empty_parts():
    train, test = split_ratings(ratings_of([]).cast({"movie_id": pl.Int64, "user_id": pl.Int64}), **RULES)
    assert train.is_empty()
    assert test.is_empty()


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_the_validation_part_is_that_share_of_train(share):
    train, _ = split_ratings(ratings_of([100]), **RULES | {"validation_share": share})
    assert train["validation"].sum() == 80 * share


def test_the_validation_part_follows_the_same_rules_within_train():
    # of 25, 6 and 3 ratings, 20, 4 and 3 are train: only the first user has enough left for a validation part
    train, _ = split_ratings(ratings_of([25, 6, 3]), **RULES)
    expected = []
    for user in (1, 2, 3):
        rows = train.filter(pl.col("user_id") == user).drop("validation").rows()
        if len(rows) >= 5:
            expected += train_test_split(rows, test_size=0.2, random_state=42)[1]
    assert len(expected) == 4
    assert sorted(train.filter("validation").drop("validation").rows()) == sorted(expected)


def test_users_stand_in_ascending_order_whatever_the_order_of_the_file():
    ratings = ratings_of([6, 7, 8])
    backwards = ratings.sort("user_id", descending=True, maintain_order=True)
    for part, same in zip(split_ratings(ratings, **RULES), split_ratings(backwards, **RULES), strict=True):
        assert part["user_id"].is_sorted()
        assert part.equals(same)
