"""What fine-tuning takes: nothing of cold movies, whatever the loss; and what an encoder is judged on meanwhile."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.encoders.tuning_data import tuning_data, validation_likes
from hybrid_assets.recommender.towers import TowerPair

DOCUMENTS = pl.DataFrame({"movie_id": [40, 10, 30, 20], "document": ["d", "a", "c", "b"]})
PAIRS = pl.DataFrame(
    {"reading": ["notebook"], "user_id": [1], "anchor_id": [10], "other_id": [30], "label": [1]},
    schema_overrides={"label": pl.Int8},
)
TRAIN = pl.DataFrame({"user_id": [1, 1], "movie_id": [10, 30], "rating": [5.0, 4.0], "validation": [False, False]})
FACTORS = np.arange(6, dtype=np.float32).reshape(3, 2)
TOWERS = TowerPair(np.array([1]), np.ones((1, 2), dtype=np.float32), np.array([10, 20, 30]), FACTORS)


def data(cold, towers=TOWERS):
    return tuning_data(DOCUMENTS, PAIRS, TRAIN, loss="alignment", liked=4.0, towers=towers, cold=np.array(cold))


def test_alignment_learns_from_no_factors_of_cold_movies():
    found = data([20, 99])
    assert DOCUMENTS["movie_id"].to_numpy()[found.factor_movies].tolist() == [10, 30]
    assert found.factors.tolist() == FACTORS[[0, 2]].tolist()


def test_a_cold_movie_in_a_pair_is_refused():
    with pytest.raises(ValueError, match="1 cold movies would be learnt from, the first 30"):
        data([30], towers=None)


def test_the_likes_that_are_told_are_those_of_the_part_that_is_learnt_from():
    train = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 1],
            "movie_id": [10, 30, 20, 40],
            "rating": [5.0, 4.0, 5.0, 1.0],
            "validation": [False, False, True, True],
        }
    )
    none = np.empty(0, dtype=np.int64)
    found = tuning_data(DOCUMENTS, PAIRS, train, loss="co_like", liked=4.0, towers=None, cold=none)
    ids = DOCUMENTS["movie_id"].to_numpy()
    assert ids[found.liked_movies].tolist() == [10, 30], "20 is liked in the validation part"
    judged = validation_likes(DOCUMENTS, train, liked=4.0, k=1, seed=42)
    assert [ids[movies].tolist() for movies in judged.relevant] == [[20]], "40 is disliked"


def test_nothing_that_was_rated_before_is_ranked_among_the_held_out_likes():
    train = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 2],
            "movie_id": [10, 30, 20, 10, 40],
            "rating": [5.0, 1.0, 4.0, 5.0, 5.0],
            "validation": [False, False, True, False, False],
        }
    )
    found = validation_likes(DOCUMENTS, train, liked=4.0, k=1, seed=42)
    ids = DOCUMENTS["movie_id"].to_numpy()
    assert [ids[movies].tolist() for movies in found.histories] == [[10]]
    assert [sorted(ids[movies].tolist()) for movies in found.rated] == [[10, 30]], "disliked ones too"
    assert [ids[movies].tolist() for movies in found.relevant] == [[20]]
