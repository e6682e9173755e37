"""Tower pairs: what is no tower pair is refused, and vectors find their ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_assets.recommender.towers import MANY_USERS, TowerPair, align, positions, scored_alone

IDS = np.array([3, 1])
VECTORS = np.array([[1, 2], [3, 4]], dtype=np.float32)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"user_ids": np.array([3])}, "user tower: 1 ids need as many vectors"),
        ({"item_ids": np.array([3, 3])}, "item tower: an id occurs twice"),
        ({"item_vectors": np.array([1, 2], dtype=np.float32)}, r"item tower: 2 ids .* found shape \(2,\)"),
        ({"item_vectors": np.array([[1, 2], [0, np.inf]], dtype=np.float32)}, "the vector of item 1 is not finite"),
        ({"user_vectors": np.array([[1, np.nan], [0, 0]], dtype=np.float32)}, "the vector of user 3 is not finite"),
        ({"item_vectors": np.ones((2, 3), dtype=np.float32)}, "user vectors have 2 dimensions and item vectors 3"),
    ],
)
def test_what_is_no_tower_pair_is_refused(changed, words):
    fields = {"user_ids": IDS, "user_vectors": VECTORS, "item_ids": IDS, "item_vectors": VECTORS}
    with pytest.raises(ValueError, match=words):
        TowerPair(**fields | changed)


@given(st.lists(st.integers(-50, 50), unique=True), st.lists(st.integers(-60, 60)))
def test_positions_are_those_of_a_plain_search(ids, wanted):
    expected = [ids.index(i) if i in ids else -1 for i in wanted]
    found = positions(np.array(ids, dtype=np.int64), np.array(wanted, dtype=np.int64))
    assert found.tolist() == expected


def test_a_missing_vector_is_zero_or_refused():
    wanted = np.array([1, 7, 3])
    assert align(IDS, VECTORS, wanted, missing="zero").tolist() == [[3, 4], [0, 0], [1, 2]]
    with pytest.raises(ValueError, match="id 7 has no vector"):
        align(IDS, VECTORS, wanted, missing="refuse")


def test_vectors_that_stand_in_order_are_not_copied():
    ids, vectors = np.array([5, 3, 9]), np.eye(3, dtype=np.float32)
    assert align(ids, vectors, ids.copy(), missing="refuse") is vectors
    turned = align(ids, vectors, ids[::-1], missing="refuse")
    assert turned.tolist() == vectors[::-1].tolist()


def test_an_empty_tower_gives_every_id_the_zero_vector():
    nobody = np.empty(0, dtype=np.int64)
    assert align(nobody, np.empty((0, 2), dtype=np.float32), IDS, missing="zero").tolist() == [[0, 0], [0, 0]]


def test_items_without_a_vector_are_left_out_for_many_users_alone():
    vectors = np.array([[0, 0], [1, 2], [0, 0], [3, 0]], dtype=np.float32)
    scored, left = scored_alone(vectors, MANY_USERS)
    assert scored is not None
    assert (scored.tolist(), left.tolist()) == ([1, 3], [[1, 2], [3, 0]])
    assert scored_alone(vectors, MANY_USERS - 1) == (None, vectors)
    assert scored_alone(left, MANY_USERS) == (None, left)
