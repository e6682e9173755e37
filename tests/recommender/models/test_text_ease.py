"""EASE that has read the texts: by hand, against sequence_ease, and what texts, genres and years are for; its contract
is in test_models.py."""

import numpy as np
import polars as pl
import pytest
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.sequence_ease import YEAR_SECONDS, sequence_ease
from hybrid_assets.recommender.models.text_ease import text_ease

ORDERED = {"threshold": 4.0, "liked_only": False, "power": 1.0, "most_movies": 50, "decay": 2.0}
ORDERED |= {"arrival_weight": 0.0, "arrival_width": 1.0}
NOTHING_ALIKE = dict.fromkeys(("text_weight", "genre_weight", "year_weight"), 0.0)
NOTHING_ALIKE |= {"text_width": 0.5, "year_width": 10.0}
ORTHOGONAL = np.eye(3, dtype=np.float32)


def facts(movies, years=2000.0, genres="Drama"):
    return pl.DataFrame({"movie_id": movies, "year": years, "genres": genres}, strict=False)


def three_movies(**likeness):
    """One user liked 7, 8 and 9 one after the other, a year between; their texts are 120 degrees apart less their mean.

    Genres: 7 and 8 are of A, which two of three have, 9 of B alone and of A too. Years: 1990, 2000 and not known.
    """
    return text_ease(
        np.ones(3, np.int64), np.array([7, 8, 9]), np.full(3, 4.0, np.float32),
        timestamps=(np.arange(3) * YEAR_SECONDS).astype(np.int64), embeddings=(np.array([9, 8, 7]), ORTHOGONAL),
        facts=facts([9, 8, 7], [None, 2000.0, 1990.0], ["B|C", "A", "A|B"]), regularisation=0.5,
        **ORDERED | NOTHING_ALIKE | likeness,
    )  # fmt: skip


TEXT = np.exp((-0.5 - 1) / 0.5)
# of three movies two have A, two have B, one has C
RARE = np.array([[1.5, 1.5, 1], [1.5, 1, 1], [1, 1.5, 3]])
GENRES = np.log(RARE)
GENRES /= np.linalg.norm(GENRES, axis=1, keepdims=True)
YEAR = np.exp(-1)
ARRIVAL = np.exp(-1 / 2)


@pytest.mark.parametrize(
    ("likeness", "alike"),
    [
        ({"text_weight": 0.4}, 0.4 * np.array([[1, TEXT, TEXT], [TEXT, 1, TEXT], [TEXT, TEXT, 1]])),
        ({"genre_weight": 0.4}, 0.4 * GENRES @ GENRES.T),
        ({"year_weight": 0.4}, 0.4 * np.array([[1, YEAR, 0], [YEAR, 1, 0], [0, 0, 0]])),
        (
            {"arrival_weight": 0.4, "arrival_width": 2.0},
            0.4 * np.array([[1, ARRIVAL, ARRIVAL**2], [ARRIVAL, 1, ARRIVAL], [ARRIVAL**2, ARRIVAL, 1]]),
        ),
    ],
    ids=["texts", "genres", "years", "arrival"],
)
def test_what_is_alike_adds_to_what_was_rated_together_by_hand(likeness, alike):
    found = three_movies(**likeness)
    e = np.exp(-0.5)
    rated = np.array([[1, e, e * e], [e, 1, e], [e * e, e, 1]])
    inverse = np.linalg.inv(rated + alike + 0.5 * np.eye(3))
    weights = np.eye(3) - inverse / np.diag(inverse)
    np.testing.assert_allclose(found.user_vectors @ found.item_vectors.T, [weights.sum(axis=0)], rtol=1e-4)


def test_without_weights_it_is_sequence_ease():
    users, items, ratings = two_tastes()
    known = {"timestamps": np.random.default_rng(1).permutation(len(users)), "regularisation": 50.0, **ORDERED}
    movies = np.unique(items)
    texts = (movies, np.random.default_rng(2).normal(size=(20, 6)).astype(np.float32))
    found = text_ease(users, items, ratings, embeddings=texts, facts=facts(movies), **known, **NOTHING_ALIKE)
    plain = sequence_ease(users, items, ratings, **known)
    np.testing.assert_array_equal(found.item_vectors, plain.item_vectors)


@pytest.mark.parametrize("alike_in", ["text", "genre", "year"])
def test_a_movie_that_hardly_anybody_rated_is_found_by_what_it_is_like(alike_in):
    """Movie 7 is like 0 and 1, 8 like 2 and 3; one user rated both, and so their ratings tell nothing apart."""
    users = np.repeat(np.arange(41), [2] * 40 + [2])
    items = np.array([pair for user in range(40) for pair in ((0, 1) if user % 2 == 0 else (2, 3))] + [7, 8])
    ratings, times = np.full(len(users), 5.0, np.float32), np.zeros(len(users), np.int64)
    texts = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], dtype=np.float32)
    first = np.array([True, True, False, False, True, False])
    movies = np.array([0, 1, 2, 3, 7, 8])
    known = {"timestamps": times, "regularisation": 1.0, **ORDERED}
    plain = sequence_ease(users, items, ratings, **known)
    read = text_ease(
        users,
        items,
        ratings,
        embeddings=(movies, texts),
        facts=facts(movies, np.where(first, 1950.0, 2000.0), np.where(first, "Western", "Comedy")),
        **known,
        **NOTHING_ALIKE | {f"{alike_in}_weight": 0.5},
    )
    assert plain.item_ids.tolist() == read.item_ids.tolist() == movies.tolist()
    apart = [pair.user_vectors[0] @ (pair.item_vectors[4] - pair.item_vectors[5]) for pair in (plain, read)]
    assert apart[0] == pytest.approx(0.0, abs=1e-6)
    assert apart[1] > 0.01


@pytest.mark.parametrize(
    ("texts", "told", "message"), [(19, 20, "id 519 has no vector"), (20, 19, "movie 519 is not in movies")]
)
def test_a_scored_movie_without_a_text_or_facts_is_refused(texts, told, message):
    users, items, ratings = two_tastes()
    with pytest.raises(ValueError, match=message):
        text_ease(
            users, items, ratings, timestamps=np.arange(len(users)), facts=facts(np.arange(500, 500 + told)),
            embeddings=(np.arange(500, 500 + texts), np.ones((texts, 2), np.float32)), regularisation=50.0,
            **ORDERED, **NOTHING_ALIKE,
        )  # fmt: skip


def test_what_is_alike_counts_as_much_more_as_both_movies_are_rated_by_hand():
    # movie 7 has three ratings, 8 and 9 one each; without their mean the texts are 120 degrees apart; that of 7 counts
    # by the root of three
    users, items = np.array([1, 2, 3, 4, 5]), np.array([7, 7, 7, 8, 9])
    found = text_ease(
        users,
        items,
        np.full(5, 4.0, np.float32),
        timestamps=np.arange(5),
        embeddings=(np.array([9, 8, 7]), ORTHOGONAL),
        facts=facts([7, 8, 9]),
        regularisation=0.5,
        **ORDERED,
        **NOTHING_ALIKE | {"text_weight": 0.4},
    )
    often = np.sqrt([3, 1, 1])
    gram = np.diag([3.0, 1, 1]) + 0.4 * np.where(np.eye(3) == 1, 1.0, TEXT) * np.outer(often, often)
    inverse = np.linalg.inv(gram + 0.5 * np.eye(3))
    np.testing.assert_allclose(found.item_vectors, (np.eye(3) - inverse / np.diag(inverse)).T, atol=1e-5)
