"""What SASRec and BERT4Rec share: sequences, places in them, popularity that is told; contract: test_models.py."""

import numpy as np
import pytest
from every_model import MODELS, QUICK
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.bert4rec import bert4rec
from hybrid_assets.recommender.models.sasrec import sasrec
from hybrid_assets.recommender.models.sequences import (
    Sequences,
    mean_by_user,
    movies_around,
    movies_before,
    places_of,
    popularity_unlearned,
    sequential_dataset,
    time_ordered,
)


def test_sequences_are_in_the_order_of_time_and_of_rows_where_times_are_equal():
    users, items = np.array([7, 8, 7, 7, 8]), np.array([30, 10, 20, 10, 20])
    found = time_ordered(users, items, np.ones(5, dtype=np.float32), np.array([5, 9, 5, 1, 2]))
    assert [found.item_ids[sequence].tolist() for sequence in found.of_user] == [[10, 30, 20], [20, 10]]
    assert found.user_ids.tolist() == [7, 8]


def of_five_and_one() -> Sequences:
    """A user with the movies 0 to 4 in this order, and one with movie 0."""
    return time_ordered(
        np.array([1, 1, 1, 1, 1, 2]), np.array([5, 6, 7, 8, 9, 5]), np.ones(6, dtype=np.float32), np.arange(6)
    )


@pytest.mark.parametrize(("count", "before"), [(1, [5, 1]), (2, [1, 5, 1]), (3, [1, 3, 5, 1]), (9, [1, 2, 3, 4, 5, 1])])
def test_a_sequence_is_looked_at_from_its_end_and_from_places_spread_evenly(count, before):
    places = places_of(of_five_and_one(), count)
    assert places.before.tolist() == before
    assert places.users.tolist() == [0] * (len(before) - 1) + [1]


def test_before_a_place_the_latest_movies_are_looked_at():
    found = of_five_and_one()
    assert movies_before(found, places_of(found, 2), 2, padding=7).tolist() == [[7, 0], [3, 4], [7, 0]]


def test_around_a_place_stand_as_many_movies_as_fit_and_a_mask_at_it():
    found = of_five_and_one()
    rows, mask = movies_around(found, places_of(found, 3), 4, padding=7, mask=8)
    assert rows.tolist() == [[0, 8, 1, 2], [2, 8, 3, 4], [2, 3, 4, 8], [7, 7, 0, 8]]
    assert mask.tolist() == [1, 1, 3, 3]
    rows, mask = movies_around(found, places_of(found, 1), 9, padding=7, mask=8)
    assert rows[0].tolist() == [7, 7, 7, 0, 1, 2, 3, 4, 8]
    assert mask.tolist() == [8, 8]


def test_the_mean_over_the_places_of_each_user():
    states = np.array([[1, 0], [3, 6], [5, 0], [7, 7]], dtype=np.float32)
    found = mean_by_user(states, places_of(of_five_and_one(), 3))
    assert found.tolist() == [[3, 2], [7, 7]]
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("longest", "pieces"), [(None, [[0, 1, 2, 3, 4]]), (2, [[0], [1, 2], [3, 4]]), (9, [[0, 1, 2, 3, 4]])]
)
def test_a_long_sequence_is_learnt_in_pieces_the_last_one_whole(longest, pieces):
    found = time_ordered(np.ones(5, dtype=np.int64), np.arange(5), np.ones(5, dtype=np.float32), np.arange(5))
    dataset = sequential_dataset(found, longest=longest, seed=1)
    assert [dataset.uir_tuple[1][rows].tolist() for rows in dataset.sessions.values()] == pieces


def test_what_is_drawn_often_is_told_by_hand():
    # the first movie has 4 of 5 ratings, and 2 / (2 + 1) of their roots
    found = time_ordered(np.arange(5), np.array([7, 7, 7, 7, 9]), np.ones(5, dtype=np.float32), np.arange(5))
    often = popularity_unlearned(found, in_batch=5, drawn=3)
    np.testing.assert_allclose(often, np.log([5 * 4 / 5 + 3 * 2 / 3, 5 * 1 / 5 + 3 * 1 / 3]), rtol=1e-6)


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_where_neither_order_nor_taste_tells_anything_scores_are_the_log_of_how_often_a_movie_is_rated(name):
    generator = np.random.default_rng(0)
    chance = 1 / np.arange(1, 31)
    rated = [generator.choice(30, size=10, replace=False, p=chance / chance.sum()) for _ in range(60)]
    users, items = np.repeat(np.arange(60), 10), np.concatenate(rated)
    pair = MODELS[name](users, items, np.full(600, 5.0, np.float32))
    scores = (pair.user_vectors @ pair.item_vectors.T).mean(axis=0)
    slope, _ = np.polyfit(np.log(np.bincount(items)[pair.item_ids]), scores, 1)
    # without popularity_unlearned it is 0.2 and 0.1
    assert 0.75 < slope < 1.25


@pytest.mark.parametrize("model", [sasrec, bert4rec])
def test_a_model_of_sequences_refuses_ratings_without_times(model):
    users, items, ratings = two_tastes()
    settings = QUICK[model.__name__].keywords
    with pytest.raises(ValueError, match="all 586 have the timestamp 0; bring a timestamp column, or take another"):
        model(users, items, ratings, timestamps=np.zeros(len(users), dtype=np.int64), **settings)


@pytest.mark.parametrize("batch_size", [10, 40, 5000])
@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_how_often_a_movie_is_drawn_is_told_by_how_many_movies_a_step_learns_on(name, batch_size):
    """As it is before anything is learnt, but for what each movie begins with, which the batch does not change."""
    users, items, ratings = two_tastes()
    found = time_ordered(users, items, ratings, np.random.default_rng(4).permutation(len(users)))
    lengths = np.array([len(movies) for movies in found.of_user])

    def learnt_on(batch: int) -> float:
        if name == "sasrec":  # a movie after another is one lesson
            return min(batch, (lengths - 1).sum())
        pieces = np.ceil(lengths / 12).sum()  # of at most 12 movies, 0.3 of them hidden
        return 0.3 * lengths.sum() * min(1.0, batch / pieces)

    still = {"epochs": 1, "learning_rate": 1e-12}
    one, other = (
        QUICK[name](users, items, ratings, **still, batch_size=size).item_vectors[:, -1] for size in (batch_size, 20)
    )
    expected = [popularity_unlearned(found, in_batch=learnt_on(size), drawn=60) for size in (batch_size, 20)]
    np.testing.assert_allclose(one - other, expected[0] - expected[1], atol=1e-4)


def test_bert4rec_learns_a_bias_of_each_movie():
    users, items, ratings = two_tastes()
    pair = MODELS["bert4rec"](users, items, ratings)
    found = time_ordered(users, items, ratings, np.random.default_rng(4).permutation(len(users)))
    lengths = np.array([len(movies) for movies in found.of_user])
    often = popularity_unlearned(
        found, in_batch=0.3 * lengths.sum() * min(1.0, 16 / np.ceil(lengths / 12).sum()), drawn=60
    )
    assert np.ptp(pair.item_vectors[:, -1] - often) > 0.01
