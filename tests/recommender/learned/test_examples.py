"""What a learned fusion is taught: folds, hits, negatives, and nothing of what was held out but its marks."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_fusion import known, noise
from planted_ratings import facts, tastes

from hybrid_assets.recommender.learned.examples import cross_folds, drawn_negatives, examples
from hybrid_assets.recommender.learned.features import (
    aligned,
    centred_content,
    content_features,
    known_from,
)
from hybrid_assets.recommender.systems import candidates


def test_every_rating_is_held_out_once_and_users_are_dealt_out_evenly():
    ratings = tastes()
    fold = cross_folds(ratings, 4, seed=3)
    assert set(fold.tolist()) == {0, 1, 2, 3}
    counts = ratings.with_columns(pl.Series("fold", fold)).group_by("user_id", "fold").len()["len"]
    assert (counts.min(), counts.max()) == (6, 6)
    assert fold.tolist() == cross_folds(ratings, 4, seed=3).tolist()
    assert fold.tolist() != cross_folds(ratings, 4, seed=4).tolist()


def test_users_with_fewer_ratings_than_folds_do_not_all_fall_into_the_first():
    ratings = pl.DataFrame({"user_id": range(200)})
    counts = np.bincount(cross_folds(ratings, 4, seed=0), minlength=4)
    assert counts.sum() == 200
    assert counts.min() > 25


def test_features_come_from_what_is_known_and_nothing_else():
    """Held-out ratings, whatever they say, change labels alone."""
    ratings = tastes()
    fold = cross_folds(ratings, 3, seed=1)
    rest, held_out = ratings.filter(pl.Series(fold != 0)), ratings.filter(pl.Series(fold == 0))
    liked = examples(known(rest), held_out.with_columns(rating=pl.lit(5.0)), 30)
    whole = examples(known(rest), held_out, 30)
    assert (
        whole.drop("hit").join(liked.drop("hit"), on=whole.drop("hit").columns, how="anti", nulls_equal=True).is_empty()
    )
    assert liked["hit"].sum() > whole["hit"].sum()


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=5), st.integers(1, 5))
def test_all_hits_teach_and_so_many_of_each_users_other_candidates(users, count):
    taught = pl.DataFrame(
        [(user, movie, hit) for user, hits in enumerate(users) for movie, hit in enumerate(hits)],
        schema={"user_id": pl.Int64, "movie_id": pl.Int64, "hit": pl.Int8},
        orient="row",
    )
    drawn = drawn_negatives(taught, count, np.random.default_rng(0))
    in_order = taught.join(drawn, on=taught.columns, how="semi", maintain_order="left")
    assert drawn.drop("stands_for").equals(in_order)
    for user, hits in enumerate(users):
        own = drawn.filter(pl.col("user_id") == user)
        assert own["hit"].sum() == sum(hits)
        others = len(hits) - sum(hits)
        assert own.height - sum(hits) == min(count, others)
        assert own.filter(hit=0)["stands_for"].sum() == pytest.approx(others)
        assert set(own.filter(hit=1)["stands_for"]) <= {1.0}


def test_other_draws_take_other_negatives():
    taught = pl.DataFrame({"user_id": 1, "movie_id": range(100), "hit": 0})
    one, same, other = (drawn_negatives(taught, 10, np.random.default_rng(seed))["movie_id"] for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_a_rating_of_the_threshold_is_a_hit_and_something_liked():
    train = pl.DataFrame(
        {
            "user_id": [1, 1, 2, 2, 2],
            "movie_id": [10, 20, 10, 30, 40],
            "rating": [4.0, 1.0, 5.0, 5.0, 5.0],
            "timestamp": 0,
        }
    )
    pool = candidates(train)
    texts = {"t": centred_content(train, pool.item_ids, np.eye(4, dtype="f4"), 4.0)}
    told = content_features(train, pool, aligned(texts, pool), 4.0)(np.array([0]), np.array([2]))
    assert np.isfinite(told["t.closest"]).all(), "user 1 likes movie 10, of 4 stars"
    held_out = pl.DataFrame({"user_id": [1], "movie_id": [30], "rating": [4.0]})
    known = known_from(train, {"m": noise(train)}, facts(train), 4.0)
    assert examples(known, held_out, 5).filter(pl.col("hit") == 1)["movie_id"].to_list() == [30]
