"""The split: the protocol's rules, and no rating lost, shared or leaked."""

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from hybrid_assets.datasets.reading import find_table, read_ratings
from hybrid_assets.recommender.split import split_ratings, users_of_fold

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


@settings(max_examples=30)
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


KINDS = ["random", "leave_last_out", "temporal", "user_folds"]


@st.composite
def timed_ratings(draw: st.DrawFn) -> pl.DataFrame:
    """A few users, some with few ratings, at times that repeat and are in no order in the file."""
    counts = draw(st.lists(st.integers(1, 12), min_size=3, max_size=8))
    rows = [(user, movie) for user, count in enumerate(counts, 1) for movie in range(count)]
    times = draw(st.lists(st.integers(0, 30), min_size=len(rows), max_size=len(rows)))
    rows = draw(st.permutations(rows))
    table = pl.DataFrame(rows, schema=["user_id", "movie_id"], orient="row")
    return table.with_columns(pl.lit(4.0).alias("rating"), pl.Series("timestamp", times, dtype=pl.Int64))


def can_be_divided(ratings: pl.DataFrame, kind: str) -> bool:
    if kind not in ("temporal", "leave_last_out"):
        return True
    later = int(np.ceil(0.2 * ratings.height))
    times = ratings["timestamp"].sort()
    return times.n_unique() > 1 and (kind != "temporal" or times[-1] > times[max(len(times) - later - 1, 0)])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 3))
def test_every_kind_keeps_each_rating_once_and_gives_the_same_again(kind, data, seed):
    ratings = data.draw(timed_ratings())
    assume(can_be_divided(ratings, kind))
    rules = RULES | {"kind": kind, "seed": seed, "folds": 3, "fold": 1}
    train, test = split_ratings(ratings, **rules)
    pairs = ["user_id", "movie_id"]
    assert pl.concat([train.drop("validation"), test]).sort(pairs).equals(ratings.sort(pairs))
    assert train["user_id"].is_sorted()
    assert train.filter(~pl.col("validation")).height > 0
    for part, same in zip(split_ratings(ratings, **rules), (train, test), strict=True):
        assert part.equals(same)


@settings(max_examples=60)
@given(timed_ratings())
def test_temporal_tests_on_nothing_earlier_than_what_is_learnt(ratings):
    assume(can_be_divided(ratings, "temporal"))
    train, test = split_ratings(ratings, **RULES | {"kind": "temporal"})
    assert test["timestamp"].min() > train["timestamp"].max()
    held_out, rest = train.filter("validation"), train.filter(~pl.col("validation"))
    assert held_out.is_empty() or held_out["timestamp"].min() > rest["timestamp"].max()
    assert test.height <= np.ceil(0.2 * ratings.height), "equal times stay in train"


@settings(max_examples=60)
@given(timed_ratings())
def test_leave_last_out_takes_one_rating_and_none_of_its_user_is_later(ratings):
    assume(can_be_divided(ratings, "leave_last_out"))
    train, test = split_ratings(ratings, **RULES | {"kind": "leave_last_out"})
    counts = dict(ratings.group_by("user_id").len().iter_rows())
    assert sorted(test["user_id"]) == sorted(user for user, count in counts.items() if count >= 5)
    held_out, rest = train.filter("validation"), train.filter(~pl.col("validation"))
    assert sorted(held_out["user_id"]) == sorted(user for user, count in counts.items() if count - 1 >= 5)
    for part, known in ((test, train), (held_out, rest)):
        last = part.join(known.group_by("user_id").agg(pl.col("timestamp").max().alias("known")), on="user_id")
        assert last.filter(pl.col("timestamp") < pl.col("known")).is_empty()


def test_of_equal_times_the_last_in_the_file_is_left_out():
    ratings = ratings_of([6]).with_columns(timestamp=pl.Series([0, 1, 7, 7, 7, 2]))
    train, test = split_ratings(ratings, **RULES | {"kind": "leave_last_out"})
    assert test["movie_id"].to_list() == [4]
    assert train.filter("validation")["movie_id"].to_list() == [3]


@settings(max_examples=30)
@given(timed_ratings(), st.integers(2, 3))
def test_user_folds_judge_each_user_in_one_fold_and_choose_on_others(ratings, folds):
    judged = []
    for fold in range(folds):
        rules = RULES | {"kind": "user_folds", "folds": folds, "fold": fold}
        train, test = split_ratings(ratings, **rules)
        users = set(users_of_fold(ratings, folds, fold, 42).tolist())
        assert set(test["user_id"]) == {user for user in users if ratings.filter(user_id=user).height >= 5}
        assert set(test["user_id"]) <= set(train["user_id"])
        assert not set(train.filter("validation")["user_id"]) & users
        judged += test["user_id"].unique().to_list()
        # what is judged is what the split of all users would hold out of these
        everybody = split_ratings(ratings, **RULES)[1]
        assert test.equals(everybody.filter(pl.col("user_id").is_in(list(users))))
    assert len(judged) == len(set(judged))


@pytest.mark.parametrize(
    ("kind", "ratings", "words"),
    [
        ("temporal", ratings_of([9, 9]).with_columns(timestamp=pl.lit(0)), "timestamp 0; bring a timestamp column"),
        ("leave_last_out", ratings_of([9, 9]).with_columns(timestamp=pl.lit(0)), "orders ratings by time"),
        ("temporal", ratings_of([4]).with_columns(timestamp=pl.Series([1, 5, 5, 5])), "no moment divides them"),
        ("user_folds", ratings_of([9, 9]), "needs as many users, found 2; lower split.folds"),
    ],
)
def test_ratings_that_a_kind_cannot_divide_are_refused(kind, ratings, words):
    with pytest.raises(ValueError, match=words):
        split_ratings(ratings, **RULES | {"kind": kind})
