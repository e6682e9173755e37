"""Pairs from real rows: what they may know, how many there are, and that chance is seeded user by user."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_dataset import sample

from hybrid_assets.datasets.reading import find_table, read_ratings
from hybrid_assets.recommender.encoders.contrastive_pairs import contrastive_pairs, leaked_pairs
from hybrid_assets.recommender.split import split_ratings

NONE = np.empty(0, dtype=np.int64)
DEFAULTS = {"liked": 4.0, "disliked": 2.5, "per_user": 10, "most": 10_000, "seed": 42}

SPLIT = {"test_share": 0.2, "min_ratings": 5, "validation_share": 0.2, "seed": 42}


def rows(*triples):
    return pl.DataFrame(triples, schema=["user_id", "movie_id", "rating"], orient="row").cast({"rating": pl.Float32})


def pairs_of(ratings, **changed):
    return contrastive_pairs(ratings, **DEFAULTS | changed)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Train and test ratings of 100 users."""
    ratings = read_ratings(find_table(sample(tmp_path_factory.mktemp("cache")), "ratings"))
    return split_ratings(ratings.filter(pl.col("user_id") <= 100), **SPLIT)


def test_three_liked_movies_make_three_pairs():
    pairs = pairs_of(rows((1, 10, 5.0), (1, 11, 4.0), (1, 12, 4.5), (1, 13, 3.0)))
    found = {frozenset(pair) for pair in pairs.filter(reading="notebook").select("anchor_id", "other_id").iter_rows()}
    assert found == {frozenset({10, 11}), frozenset({10, 12}), frozenset({11, 12})}


def test_negatives_are_disliked_and_unseen_in_turn():
    ratings = rows((1, 10, 5.0), (1, 11, 4.0), (1, 12, 4.5), (1, 13, 1.0), (2, 14, 3.0), (2, 10, 4.0))
    negatives = pairs_of(ratings).filter(pl.col("label") == 0)
    assert negatives["other_id"].to_list() == [13, 14, 13]
    whole = pairs_of(rows((1, 10, 5.0), (1, 11, 3.0), (1, 12, 4.0)))
    assert whole["label"].to_list() == [1, 1], "nothing is disliked, and nothing unseen"


def test_a_rating_of_the_limit_is_disliked():
    negatives = pairs_of(rows((1, 10, 5.0), (1, 11, 4.0), (1, 12, 2.5))).filter(label=0)
    assert negatives["other_id"].to_list() == [12]


def test_nothing_that_is_held_out_is_known(split):
    train, _ = split
    pairs = pairs_of(train.filter(~pl.col("validation")))
    assert leaked_pairs(pairs, train, NONE).is_empty()
    assert pairs.filter(reading="notebook").height > 900
    assert pairs.filter(reading="text")["label"].mean() == 0.5


def test_ml_latest_small_has_about_6000_pairs(ml_latest_small):
    train, _ = split_ratings(read_ratings(find_table(ml_latest_small, "ratings")), **SPLIT)
    pairs = pairs_of(train.filter(~pl.col("validation"))).filter(reading="notebook")
    assert pairs.height == pytest.approx(6000, rel=0.05)


def test_a_leak_is_found(split):
    train, test = split
    assert leaked_pairs(pairs_of(train), train, NONE).height > 0, "the validation part"
    learnt = train.filter(~pl.col("validation")).drop("validation")
    assert leaked_pairs(pairs_of(pl.concat([learnt, test])), train, NONE).height > 0, "the test part"
    pairs = pairs_of(learnt)
    for column in ("anchor_id", "other_id"):
        cold = pairs[column].head(1).to_numpy()
        holding = pairs.filter((pl.col("anchor_id") == cold[0]) | (pl.col("other_id") == cold[0]))
        assert set(leaked_pairs(pairs, train, cold).rows()) == set(holding.rows())


def test_one_users_ratings_leave_the_pairs_of_all_others_alone(split):
    train, _ = split
    known = set(train["user_id"].unique()[:40])
    some = train.filter(pl.col("user_id").is_in(list(known)))
    without = pairs_of(some.filter(pl.col("user_id") != 1)).filter(reading="notebook")
    assert pairs_of(some).filter(reading="notebook").filter(pl.col("user_id") != 1).equals(without)


def test_which_of_two_movies_is_the_anchor_and_which_pairs_are_drawn_is_chance_of_each_user():
    liked = rows(*((user, movie, 5.0) for user in range(40) for movie in range(12)))
    pairs = pairs_of(liked).filter(reading="notebook")
    by_user = [own.select("anchor_id", "other_id") for _, own in pairs.group_by("user_id")]
    drawn = {frozenset(map(frozenset, own.iter_rows())) for own in by_user}
    assert len(drawn) > 20, "users with as many likes draw other pairs"
    share = (pairs["anchor_id"] < pairs["other_id"]).mean()
    assert 0.35 < share < 0.65


def test_no_more_than_the_most_and_readings_stay_parallel(split):
    pairs = pairs_of(split[0], most=500)
    assert pairs.filter(reading="notebook").height == 500
    positive = pairs.filter(reading="text").filter(pl.col("label") == 1)
    assert positive.drop("reading").equals(pairs.filter(reading="notebook").drop("reading"))


def test_without_a_pair_the_setting_to_change_is_named():
    with pytest.raises(ValueError, match=r"evaluation\.relevance_threshold"):
        pairs_of(rows((1, 10, 5.0), (1, 11, 2.0)))


@given(st.integers(2, 40), st.integers(1, 60), st.integers(0, 5))
def test_pairs_are_distinct_and_of_two_movies(movies, per_user, seed):
    pairs = pairs_of(rows(*((1, movie, 5.0) for movie in range(movies))), per_user=per_user, seed=seed)
    drawn = [frozenset(pair) for pair in pairs.filter(reading="notebook").select("anchor_id", "other_id").iter_rows()]
    assert len(set(drawn)) == len(drawn) == min(per_user, movies * (movies - 1) // 2)
    assert all(len(pair) == 2 for pair in drawn)


@given(
    st.dictionaries(st.tuples(st.integers(1, 3), st.integers(10, 16)), st.sampled_from([1.0, 3.0, 5.0]), min_size=6),
    st.integers(0, 5),
    st.integers(1, 20),
)
def test_a_negative_has_its_positives_anchor_and_a_movie_that_the_user_did_not_like(stars, seed, most):
    """Movies 10 and 11 are liked by user 1, so that there is a pair; user 5 likes all movies: no negative."""
    stars |= {(1, 10): 5.0, (1, 11): 5.0} | {(5, movie): 5.0 for movie in range(10, 17)}
    ratings = rows(*((user, movie, rating) for (user, movie), rating in stars.items()))
    pairs = pairs_of(ratings, seed=seed, most=most).filter(reading="text")
    has_negatives = {user for user in (1, 2, 3) if any((user, movie) not in stars for movie in range(10, 17))}
    has_negatives |= {user for (user, _), rating in stars.items() if rating == 1.0}
    positive, negative = (pairs.filter(pl.col("label") == label) for label in (1, 0))
    positive = positive.filter(pl.col("user_id").is_in(has_negatives))
    assert negative.select("user_id", "anchor_id").equals(positive.select("user_id", "anchor_id"))
    of_negatives = {stars.get(pair) for pair in negative.select("user_id", "other_id").iter_rows()}
    assert of_negatives <= {None, 1.0}, "unseen or disliked"


def test_a_users_id_may_be_negative():
    ratings = pl.DataFrame({"user_id": [-3] * 3, "movie_id": [1, 2, 3], "rating": [5.0] * 3})
    table = contrastive_pairs(ratings, liked=4.0, disliked=2.5, per_user=10, most=100, seed=1)
    assert table.filter(pl.col("reading") == "notebook").height == 3
