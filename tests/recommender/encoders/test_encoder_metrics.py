"""Measures of a space by hand, and what they must not reward."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.encoders.contrastive_pairs import cold_movies
from hybrid_assets.recommender.encoders.encoder_metrics import cold_ndcg, encoder_metric_table, popularity_matched_auc
from hybrid_assets.recommender.towers import TowerPair


def rows(*triples):
    return pl.DataFrame(triples, schema=["user_id", "movie_id", "rating"], orient="row").cast({"rating": pl.Float32})


# every movie is rated once in train: all are equally popular
TRAIN = rows(*((9, movie, 3.0) for movie in range(10)), (1, 0, 5.0))
ITEMS = np.eye(10, dtype=np.float32)


def towers(*profile):
    return TowerPair(np.array([1]), np.array([profile], dtype=np.float32), np.arange(10), ITEMS)


def test_auc_counts_the_unrated_movies_below_the_liked_one():
    # movie 5 is liked in test; of the eight others that user 1 has not rated, two score above it and one the same
    profile = [9.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.9, 0.8, 0.0]
    assert popularity_matched_auc(towers(*profile), TRAIN, rows((1, 5, 4.0)), 4.0).tolist() == [(5 + 0.5) / 8]


def test_knowing_only_what_is_popular_is_worth_chance():
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 60, 300)
    train = rows(*((user, movie, 4.0) for movie, count in enumerate(counts) for user in range(1000, 1000 + count)))
    liked = generator.choice(300, size=(200, 5), p=counts / counts.sum())
    test = rows(*((user, movie, 5.0) for user, movies in enumerate(liked) for movie in set(movies.tolist())))
    popular = TowerPair(
        np.arange(200), np.ones((200, 1), dtype=np.float32), np.arange(300), counts[:, None].astype(np.float32)
    )
    assert popularity_matched_auc(popular, train, test, 4.0).mean() == pytest.approx(0.5, abs=0.02)


def test_cold_movies_are_ranked_by_a_profile_of_the_others():
    embedded = np.arange(4)
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [1, 0]], dtype=np.float32)
    train = rows((1, 0, 5.0), (1, 3, 5.0), (2, 2, 5.0))
    test = rows((1, 2, 4.0), (2, 1, 4.0), (2, 3, 2.0))
    # cold: 1, 2, 3. User 1 likes (1, 0): 3 is rated, then 1, then 2 at rank 2. User 2 liked only a cold movie
    found = cold_ndcg(embedded, vectors, np.array([1, 2, 3]), train, test, threshold=4.0, k=3)
    assert found.tolist() == pytest.approx([1 / np.log2(3)])


def test_without_a_cold_like_there_is_no_value_and_no_interval():
    found = cold_ndcg(np.arange(10), ITEMS, np.array([7]), TRAIN, rows((1, 5, 4.0)), threshold=4.0, k=3)
    table = encoder_metric_table({"cold_ndcg": found}, resamples=100, confidence=0.95, seed=1)
    assert table.row(0) == ("cold_ndcg", None, None, None, 0)


def test_one_user_has_no_more_than_a_value():
    table = encoder_metric_table({"x": np.array([0.3])}, resamples=100, confidence=0.95, seed=1)
    assert table.row(0) == ("x", 0.3, 0.3, 0.3, 1)


def test_the_interval_holds_the_mean():
    values = np.random.default_rng(1).random(200)
    table = encoder_metric_table({"x": values}, resamples=200, confidence=0.95, seed=1)
    metric, value, low, high, users = table.row(0)
    assert (metric, users) == ("x", 200)
    assert value == pytest.approx(values.mean())
    assert low < value < high


def test_a_new_movie_changes_nothing_about_which_others_are_cold():
    cold = cold_movies(np.arange(1000), 0.1, 42)
    assert 70 <= len(cold) <= 130
    more = cold_movies(np.arange(1200), 0.1, 42)
    assert more[more < 1000].tolist() == cold.tolist()
    assert cold_movies(np.arange(1000), 0.0, 42).size == 0


def test_knowing_only_what_is_popular_is_worth_chance_for_who_likes_the_most_popular():
    counts = np.arange(1, 41)  # of train ratings, another of each movie
    train = rows(*((user, movie, 4.0) for movie, count in enumerate(counts) for user in range(1000, 1000 + count)))
    popular = TowerPair(
        np.arange(40), np.ones((40, 1), dtype=np.float32), np.arange(40), counts[:, None].astype(np.float32)
    )
    # each likes one movie: user 0 the least popular, user 39 the most popular, which nothing can be compared with
    found = popularity_matched_auc(popular, train, rows(*((user, user, 5.0) for user in range(40))), 4.0)
    assert found.tolist() == [0.5] * 38
