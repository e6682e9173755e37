"""What is known of user and film beside the branches, by hand."""

import numpy as np
import polars as pl
import pytest
from planted_fusion import noise
from planted_ratings import facts

from hybrid_assets.recommender.learned.context import (
    CONTEXT,
    SEQUENCE_DECAY,
    SEQUENCE_POWERS,
    context_features,
    films_of,
    in_sequence,
)
from hybrid_assets.recommender.learned.features import (
    candidate_blocks,
    candidate_features,
    known_from,
)
from hybrid_assets.recommender.systems import candidates

YEAR = 365.25 * 86400


def test_the_context_of_a_candidate_by_hand():
    """Film 20 for user 1, who rated 10, 11 and 12 within ten days."""
    day, now = 86400, 1_500_000_000
    rows = [
        *((1, 10, 5.0, 0), (1, 11, 3.0, 1), (1, 12, 4.0, 10)),
        *((2, 10, 2.0, -101), (2, 20, 4.0, -100)),  # within half a year of user 1's time
        *((3, 20, 2.0, -400), (3, 30, 5.0, -300), (3, 31, 5.0, -200), (3, 11, 4.0, -190)),  # within two years
        *((4, 20, 3.0, 100), (5, 20, 3.5, 600)),  # and after it
        (6, 20, 1.5, -2000),  # before both
    ]
    ratings = pl.DataFrame(
        [(*row, now + days * day) for *row, days in rows],
        schema=["user_id", "movie_id", "rating", "timestamp"],
        orient="row",
    )
    told = pl.DataFrame(
        [
            (10, 2009.0, "A|B"),
            (11, 2006.0, "A"),
            (12, None, "C"),
            (20, 2010.0, "B|C"),
            (30, None, ""),
            (31, None, None),
        ],
        schema=["movie_id", "year", "genres"],
        orient="row",
    )
    (block,) = candidate_blocks(known_from(ratings, {"m": noise(ratings)}, told, 4.0), 10, lambda block: block)
    pool = candidates(ratings)
    row = np.flatnonzero((block.users == 0) & (pool.item_ids[block.items] == 20)).item()
    assert list(block.features) == candidate_features(["m"])
    assert {values.dtype for values in block.features.values()} == {np.dtype(np.float32)}
    found = {name: float(values[row]) for name, values in block.features.items() if name.startswith(CONTEXT)}
    expected = {
        "ratings": 5,
        "likes": 1,
        "mean": 63 / 20,  # 4 + 2 + 3 + 3.5 + 1.5, and five times the mean of all, 7/2
        "residual": -1 / 10,  # 4 of a user's mean 3, and 2 of another's 4; users 4 to 6 rated nothing else
        "spread": 43 / 50,
        "year": 2010,
        "user_ratings": 3,
        "user_liked": 2 / 3,
        "user_mean": 4,
        "user_spread": (2 / 3) ** 0.5,
        "user_days": 10,
        "user_year": 2007.5,  # that of film 12 is not known
        "user_popularity": (np.log(3) + np.log(3) + np.log(2)) / 3,
        "near_half_year": 2,
        "near_two_years": 4,
        "before": 3,
        "age_at_last": 1970 + (now + 10 * day) / YEAR - 2010,
        "age_at_median": 1970 + (now + day) / YEAR - 2010,
        "first_after": -2010 / 365.25,
        # user 2 rated it right after film 10, user 3 three before film 11; these have 2 ratings, it has 5, and 5 each
        "in_sequence": (np.exp(-1 / 5) + np.exp(-3 / 5)) / (7**0.7 * 10**0.3),
        "made_within_1": 1 / 3,
        "made_within_4": 2 / 3,
        # user 1 likes film 10, of A and B, and film 12, of C; of all 12 ratings 7 are of films of B and 6 of films of C
        "genre_lift": (np.log((1 + 5 * 7 / 12) / 7 / (7 / 12)) + np.log((1 + 5 * 6 / 12) / 7 / (6 / 12))) / 2,
    }
    assert found == pytest.approx({f"{CONTEXT}.{name}": value for name, value in expected.items()}, rel=1e-5)


def test_films_rated_one_after_the_other_are_near_in_sequence():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([2, 0, 1, 1, 0])
    near = in_sequence(users, items, np.array([30, 10, 20, 5, 6]), 4).toarray()
    (a, b), n = SEQUENCE_POWERS, np.array([2, 2, 1, 0]) + 5.0
    one, two = np.exp(-1 / SEQUENCE_DECAY), np.exp(-2 / SEQUENCE_DECAY)
    counts = np.array([[0, 2 * one, two, 0], [2 * one, 0, one, 0], [two, one, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(near, counts / np.outer(n**a, n**b))
    assert in_sequence(users[:1], items[:1], np.array([1]), 4).nnz == 0
    row = np.arange(25)
    assert in_sequence(np.zeros(25, dtype=int), row, row, 25).toarray()[0].nonzero()[0].tolist() == list(range(1, 21))


def test_who_rated_everything_at_one_time_tells_nothing_of_an_order():
    users, items = np.array([0, 0, 0, 1, 1]), np.array([2, 0, 1, 1, 0])
    assert in_sequence(users, items, np.zeros(5, dtype=np.int64), 4).nnz == 0
    near = in_sequence(users, items, np.array([7, 7, 7, 5, 6]), 4).toarray()
    (a, b), n = SEQUENCE_POWERS, np.array([2, 2, 1, 0]) + 5.0
    counts = np.zeros((4, 4))
    counts[0, 1] = counts[1, 0] = np.exp(-1 / SEQUENCE_DECAY)
    np.testing.assert_allclose(near, counts / np.outer(n**a, n**b))


def test_a_rating_of_the_threshold_is_liked_by_user_and_film():
    ratings = pl.DataFrame(
        {"user_id": [1], "movie_id": [5], "rating": [0.7], "timestamp": [9]}, schema_overrides={"rating": pl.Float32}
    )
    films = films_of(ratings, facts(ratings), 0.7)
    pool = candidates(ratings)
    found = context_features(films, ratings, pool)(np.array([0]), np.array([0]))
    assert found["context.likes"].tolist() == found["context.user_liked"].tolist() == [1.0]


def test_a_rating_of_the_same_moment_as_the_users_last_counts_as_before_it():
    rows = [(1, 10, 5.0, 100), (1, 11, 5.0, 900), (2, 20, 4.0, 900), (3, 20, 4.0, 901), (3, 12, 4.0, 5000)]
    ratings = pl.DataFrame(rows, schema=["user_id", "movie_id", "rating", "timestamp"], orient="row")
    (block,) = candidate_blocks(
        known_from(ratings, {"m": noise(ratings)}, facts(ratings), 4.0), 10, lambda block: block
    )
    row = np.flatnonzero((block.users == 0) & (candidates(ratings).item_ids[block.items] == 20)).item()
    assert block.features["context.before"][row] == 1


def test_what_a_genre_is_to_somebody_who_likes_nothing_and_of_a_film_without_a_year():
    ratings = pl.DataFrame({"user_id": [1, 2], "movie_id": [5, 6], "rating": [2.0, 5.0], "timestamp": [9, 9]})
    told = pl.DataFrame({"movie_id": [5, 6], "year": [None, 2000.0], "genres": ["A", "B"]})
    features = context_features(films_of(ratings, told, 4.0), ratings, candidates(ratings))
    found = features(np.array([0, 1]), np.array([1, 0]))
    # A and B have half the ratings each; user 1 likes neither, user 2 film 6, of B
    assert found["context.genre_lift"].tolist() == pytest.approx([0, np.log(2.5 / 6 / 0.5)])
    assert found["context.made_within_1"].tolist() == pytest.approx([0, np.nan], nan_ok=True)
