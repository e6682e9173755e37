"""EASE over the order of ratings: what order changes, by hand and against EASE; its contract is in test_models.py."""

import numpy as np
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.ease import ease
from hybrid_assets.recommender.models.sequence_ease import YEAR_SECONDS, most_rated, sequence_ease
from hybrid_assets.recommender.towers import positions

in_order = {"threshold": 4.0, "liked_only": False, "power": 1.0, "most_movies": 20}
in_order |= {"arrival_weight": 0.0, "arrival_width": 1.0}


def of_one_user(items, times):
    """Who liked these, at these times; two places apart count e^-1."""
    one, liked = np.ones(len(items), np.int64), np.full(len(items), 4.0, np.float32)
    return sequence_ease(
        one, np.array(items), liked, timestamps=np.array(times), regularisation=0.5, decay=2.0, **in_order
    )


def test_sequence_ease_counts_what_was_rated_close_together():
    # one user liked 7, 8 and 9 one after the other, given here in another order; e = exp(-1 / 2) a place apart
    pair = of_one_user([9, 7, 8], [30, 10, 20])
    e = np.exp(-0.5)
    gram = np.array([[1, e * e, e], [e * e, 1, e], [e, e, 1]])  # of 9, 7, 8
    inverse = np.linalg.inv(gram + 0.5 * np.eye(3))
    weights = np.eye(3) - inverse / np.diag(inverse)
    assert pair.item_ids.tolist() == [9, 7, 8]
    np.testing.assert_allclose(pair.user_vectors @ pair.item_vectors.T, [weights.sum(axis=0)], rtol=1e-5)


def test_movies_that_came_at_about_the_same_time_count_together_by_hand():
    # 7 was first rated by the second user, two years before 8; movie 6 is rated less and not scored
    users, items = np.array([1, 1, 2, 2, 3, 3]), np.array([7, 8, 7, 8, 8, 6])
    times = np.array([3.0, 4.0, 0.0, 2.0, 9.0, 1.0]) * YEAR_SECONDS
    found = sequence_ease(
        users,
        items,
        np.full(6, 4.0, np.float32),
        timestamps=times.astype(np.int64),
        regularisation=0.5,
        decay=2.0,
        **in_order | {"most_movies": 2, "arrival_weight": 0.4, "arrival_width": 5.0},
    )
    together = 2 * np.exp(-1 / 2) + np.sqrt(2 * 3) * 0.4 * np.exp(-2 / 5)
    inverse = np.linalg.inv(np.array([[2 + 2 * 0.4, together], [together, 3 + 3 * 0.4]]) + 0.5 * np.eye(2))
    np.testing.assert_allclose(found.item_vectors[:2], (np.eye(2) - inverse / np.diag(inverse)).T, rtol=1e-4)
    assert not found.item_vectors[2].any()


def test_sequence_ease_without_decay_is_ease():
    users, items, ratings = two_tastes()
    times = np.random.default_rng(1).permutation(len(users))
    found = sequence_ease(users, items, ratings, timestamps=times, regularisation=50.0, decay=1e9, **in_order)
    plain = ease(users, items, ratings, threshold=4.0, regularisation=50.0, liked_only=False, power=1.0)
    scores, expected = (pair.user_vectors @ pair.item_vectors.T for pair in (found, plain))
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_sequence_ease_knows_which_movies_were_rated_in_turn_and_not_which_way_round():
    users, items, ratings = two_tastes()
    times = np.random.default_rng(1).permutation(len(users))
    forth, back, otherwise = (
        sequence_ease(users, items, ratings, timestamps=when, regularisation=50.0, decay=2.0, **in_order).item_vectors
        for when in (times, -times, np.random.default_rng(2).permutation(len(users)))
    )
    np.testing.assert_allclose(forth, back, atol=1e-6)
    assert np.abs(forth - otherwise).max() > 0.01


def test_sequence_ease_scores_the_most_rated_movies_and_no_others():
    users, items = np.array([1, 2, 3, 1, 2, 3, 1, 1]), np.array([5, 5, 5, 6, 6, 6, 7, 8])
    pair = sequence_ease(
        users,
        items,
        np.full(8, 4.0, np.float32),
        timestamps=np.arange(8),
        regularisation=1.0,
        decay=2.0,
        **in_order | {"most_movies": 2},
    )
    assert pair.item_ids[pair.item_vectors.any(axis=1)].tolist() == [5, 6]


def test_sequence_ease_without_times_is_ease_and_rows_in_another_order_change_nothing():
    users, items, ratings = two_tastes()
    known = {"regularisation": 50.0, "decay": 2.0, **in_order}
    never = np.zeros(len(users), dtype=np.int64)
    without = sequence_ease(users, items, ratings, timestamps=never, **known)
    plain = ease(users, items, ratings, threshold=4.0, regularisation=50.0, liked_only=False, power=1.0)
    scores, expected = (pair.user_vectors @ pair.item_vectors.T for pair in (without, plain))
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    # several ratings a moment, as where a page of movies is rated at once
    times = np.random.default_rng(1).integers(4, size=len(users))
    tied = sequence_ease(users, items, ratings, timestamps=times, **known)
    turned = sequence_ease(users[::-1], items[::-1], ratings[::-1], timestamps=times[::-1], **known)
    place = positions(turned.item_ids, tied.item_ids)
    of_users = positions(turned.user_ids, tied.user_ids)
    np.testing.assert_allclose(
        tied.user_vectors @ tied.item_vectors.T,
        (turned.user_vectors @ turned.item_vectors.T)[of_users][:, place],
        atol=1e-4,
    )


def test_equal_times_share_the_mean_of_their_places():
    # 7 and 8 at one moment, then 9: places 0.5, 0.5 and 2
    pair = of_one_user([7, 8, 9], [10, 10, 20])
    e = np.exp(-1.5 / 2)
    inverse = np.linalg.inv(np.array([[1, 1, e], [1, 1, e], [e, e, 1]]) + 0.5 * np.eye(3))
    weights = np.eye(3) - inverse / np.diag(inverse)
    np.testing.assert_allclose(pair.user_vectors @ pair.item_vectors.T, [weights.sum(axis=0)], rtol=1e-4)


ORDERED = {"threshold": 4.0, "liked_only": False, "power": 1.0, "most_movies": 50, "decay": 2.0}
ORDERED |= {"arrival_weight": 0.0, "arrival_width": 1.0}


def test_users_whose_ratings_have_the_same_times_do_not_run_together():
    items, liked = np.array([7, 8, 9]), np.full(3, 4.0, np.float32)
    alone = sequence_ease(
        np.ones(3, np.int64), items, liked, timestamps=np.array([1, 2, 3]), regularisation=0.5, **ORDERED
    )
    # a second user begins at the moment at which the first one ends; movie 5 is of no account to the others
    both = sequence_ease(
        np.array([1, 1, 1, 2]),
        np.append(items, 5),
        np.append(liked, 4.0).astype("f4"),
        timestamps=np.array([1, 2, 3, 3]),
        regularisation=0.5,
        **ORDERED,
    )
    np.testing.assert_allclose(both.item_vectors[:3, :3], alone.item_vectors, rtol=1e-5)


def test_of_equally_often_rated_movies_the_first_are_scored():
    assert most_rated(np.array([0, 1, 2, 3, 3]), 2).tolist() == [0, 3]
