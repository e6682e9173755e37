"""Every rule finds the fault that was planted, names its row, and is silent without it."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.validity import (
    before_own_last,
    below_floor,
    degenerate_factors,
    empty_texts,
    fallen,
    not_later,
    not_unit_length,
    outside,
    repeated,
    shared_pairs,
    unknown,
    users_without_profile,
    wrong_lists,
)

RATINGS = pl.DataFrame({"user_id": [1, 1, 2], "movie_id": [7, 8, 7], "rating": [4.0, 3.0, 5.0]})
VECTORS = pl.DataFrame(
    {"movie_id": [7, 8], "vector": [[1.0, 0.0], [0.6, 0.8]]}, schema_overrides={"vector": pl.Array(pl.Float32, 2)}
)
SCORES = pl.DataFrame({"user_id": [1, 1, 2], "rank": [1, 2, 1], "movie_id": [7, 8, 7], "score": [0.9, 0.5, 0.1]})
TRAIN = pl.DataFrame({"user_id": [1, 1, 2], "movie_id": [9, 10, 9]})
METRICS = pl.DataFrame({"metric": ["ndcg", "novelty"], "value": [0.2, 9.0]})


def factors(items: list[list[float]]) -> pl.DataFrame:
    return pl.DataFrame(
        {"fold": "train", "side": "item", "id": range(len(items)), "vector": items},
        schema_overrides={"vector": pl.Array(pl.Float32, 2)},
    )


def profiles(*users: tuple[int, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"fold": "train", "user_id": [user for user, _ in users], "reading": [reading for _, reading in users]}
    )


ALL = [(user, reading) for user in (1, 2) for reading in ("liked", "recency")]


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (repeated(pl.concat([RATINGS, RATINGS[1:2]]), "user_id", "movie_id"), "in 2 rows: user_id 1, movie_id 8"),
        (outside(RATINGS, "rating", 0.5, 4.5), "[0.5, 4.5] in 1 row: user_id 2, movie_id 7, rating 5.0"),
        (outside(RATINGS.with_columns(rating=float("nan")), "rating", 0.5, 5), "in 3 rows"),
        (outside(RATINGS.with_columns(rating=None), "rating", 0.5, 5), "in 3 rows"),
        (unknown(RATINGS, VECTORS[:1], "movie_id"), "movie_id is unknown in 1 row: movie_id 8"),
        (shared_pairs(RATINGS[:2], RATINGS[1:]), "stands in both in 1 row: user_id 1, movie_id 8"),
        (empty_texts(pl.DataFrame({"movie_id": [1, 2], "document": [" ", "x"]}), "document"), "movie_id 1"),
        (not_unit_length(VECTORS.with_columns(vector=pl.col("vector") * 2)), "movie_id 7"),
        (not_unit_length(VECTORS.with_columns(vector=pl.col("vector") * float("nan"))), "in 2 rows"),
        (degenerate_factors(factors([[1, 2], [np.inf, 0]])), "id 1"),
        (degenerate_factors(factors([[1, 2], [1, 2]])), "all 2 item vectors of fold train are the same"),
        (users_without_profile(profiles(*ALL[:3]), RATINGS, 4), "no profile of reading 'recency' in 1 row: user_id 2"),
        (wrong_lists(SCORES.with_columns(score=-pl.col("score")), TRAIN), "out of order in 1 row: user_id 1, rank 2"),
        (wrong_lists(SCORES.with_columns(rank=pl.col("rank") + 1), TRAIN), "in 3 rows"),
        (wrong_lists(SCORES.with_columns(movie_id=7), TRAIN), "twice in a list in 2 rows: user_id 1, movie_id 7"),
        (wrong_lists(SCORES, RATINGS[1:2]), "rated in train in 1 row: user_id 1, movie_id 8"),
        (wrong_lists(SCORES[:2], TRAIN), "no list in 1 row: user_id 2"),
        (fallen(METRICS, METRICS.lazy().with_columns(value=pl.lit(0.3)), 0.1), "ndcg fell from 0.3 to 0.2"),
        (below_floor(pl.DataFrame({"system": ["a", "p"], "ndcg": [0.1, 0.2]}), "p"), "ranked worse than p: a"),
    ],
)
def test_a_planted_fault_is_named(found, named):
    assert named in found


@pytest.mark.parametrize(
    "found",
    [
        repeated(RATINGS, "user_id", "movie_id"),
        outside(RATINGS, "rating", 0.5, 5),
        unknown(RATINGS, VECTORS, "movie_id"),
        shared_pairs(RATINGS[:2], RATINGS[2:]),
        empty_texts(pl.DataFrame({"movie_id": [1], "document": ["x"]}), "document"),
        not_unit_length(VECTORS),
        degenerate_factors(factors([[1, 2], [1, 3]])),
        degenerate_factors(factors([[1, 2]])),
        users_without_profile(profiles(*ALL), RATINGS, 4),
        users_without_profile(profiles(*ALL[:2]), RATINGS.with_columns(rating=pl.lit(1.0)), 4),
        wrong_lists(SCORES, TRAIN),
        wrong_lists(SCORES[2:], TRAIN),
        fallen(METRICS, METRICS.lazy().with_columns(value=pl.lit(0.21)), 0.1),
        fallen(METRICS, None, 0.1),
        below_floor(pl.DataFrame({"system": ["a", "p"], "ndcg": [0.3, 0.2]}), "p"),
        below_floor(pl.DataFrame({"system": ["a"], "ndcg": [0.3]}), "p"),
    ],
)
def test_a_good_table_passes(found):
    assert found == ""


def test_the_borders_of_rules_about_time_and_order():
    def at(time: int) -> pl.DataFrame:
        return pl.DataFrame({"user_id": [1], "movie_id": [7], "timestamp": [time]})

    assert "user_id 1" in not_later(at(5), at(5)), "equal times stay in train"
    assert not_later(at(6), at(5)) == ""
    assert before_own_last(at(5), at(5)) == "", "of equal times the last in the file is left out"
    assert "user_id 1" in before_own_last(at(4), at(5))
    assert wrong_lists(SCORES.with_columns(score=0.5), TRAIN) == "", "equal scores are in order"
    train = pl.DataFrame({"user_id": [1], "rating": [5.0]})
    of_fit = pl.DataFrame({"fold": "fit", "reading": ["liked", "recency"], "user_id": 1})
    assert "liked" in users_without_profile(of_fit, train, 4.0), "a profile of the fold fit is none of train"


def test_only_the_first_rows_are_named():
    many = pl.DataFrame({"movie_id": range(1000), "document": [""] * 1000})
    assert empty_texts(many, "document").endswith("movie_id 4 and 995 more")
