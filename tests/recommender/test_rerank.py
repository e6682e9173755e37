"""Re-ranking: the same movies in the order that the definitions give, and scores that say so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender.ranking import Branch, Ranking, rank
from hybrid_assets.recommender.rerank import RERANK, less_popular, mmr

ITEMS = 9


def unit(seed: int, count: int = ITEMS) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ranked(seed: int, users: int = 4, k: int = 7) -> Ranking:
    """Two branches; the last user has rated all but two items, so the list is short."""
    generator = np.random.default_rng(seed)
    branches = [
        Branch(
            name,
            generator.normal(size=(users, 2)).astype(np.float32),
            generator.normal(size=(ITEMS, 2)).astype(np.float32),
        )
        for name in ("one", "two")
    ]
    indptr = np.array([0] * users + [ITEMS - 2])
    return rank(branches, (indptr, np.arange(ITEMS - 2)), k)


def plain_mmr(items: list[int], scores: list[float], vectors: np.ndarray, trade: float) -> list[int]:
    """Carbonell & Goldstein's formula as it stands, one user, relevance min-max scaled; trade is their lambda."""
    low, high = min(scores), max(scores)
    relevance = {item: (score - low) / (high - low) for item, score in zip(items, scores, strict=True)}
    chosen: list[int] = []
    while len(chosen) < len(items):
        left = [item for item in items if item not in chosen]
        near = {item: max([0.0, *(float(vectors[item] @ vectors[other]) for other in chosen)]) for item in left}
        chosen.append(max(left, key=lambda item: trade * relevance[item] - (1 - trade) * near[item]))
    return chosen


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_mmr_is_the_formula_entry_by_entry(weight):
    ranking, vectors = ranked(0), unit(1)
    again = mmr(ranking, vectors, weight)
    for row, items in enumerate(ranking.items):
        listed = items[items >= 0].tolist()
        expected = plain_mmr(listed, ranking.scores[row, : len(listed)].tolist(), vectors, 1 - weight)
        assert again.items[row, : len(listed)].tolist() == expected
        assert (again.items[row, len(listed) :] == -1).all()


def test_two_alike_do_not_stand_together():
    # the second is the first's twin; the third, somewhat worse, is unlike both
    lists = Ranking(np.array([[0, 1, 2]]), np.array([[1.0, 0.9, 0.5]], dtype=np.float32), {}, {})
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert mmr(lists, vectors, 0.5).items.tolist() == [[0, 2, 1]]
    assert mmr(lists, vectors, 0.0).items.tolist() == [[0, 1, 2]]


def test_the_popular_give_way_by_the_logarithm_of_their_ratings():
    lists = Ranking(np.array([[0, 1]]), np.array([[2.0, 1.0]], dtype=np.float32), {}, {})
    # scores span 1; 100 ratings of at most 100 cost weight / (1 - weight), 10 ratings half of it
    turned = less_popular(lists, np.array([100, 10]), 0.75)
    assert turned.items.tolist() == [[1, 0]]
    assert turned.scores.tolist() == [[pytest.approx(1 - 3 / 2), pytest.approx(2 - 3)]]
    assert less_popular(lists, np.array([100, 10]), 0.6).items.tolist() == [[0, 1]]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(0, 0.99), st.sampled_from(["mmr", "less_popular"]))
def test_the_same_movies_with_falling_scores_that_are_the_sum_of_their_parts(seed, weight, method):
    ranking = ranked(seed)
    counts = np.random.default_rng(seed).integers(1, 50, ITEMS)
    again = mmr(ranking, unit(seed), weight) if method == "mmr" else less_popular(ranking, counts, weight)
    assert (np.sort(again.items, axis=1) == np.sort(ranking.items, axis=1)).all()
    listed = again.items >= 0
    falling = np.diff(np.where(listed, again.scores, -1e30), axis=1) <= 0
    assert falling.all()
    total = sum(np.where(listed, part, 0) for part in again.branch_parts.values())
    np.testing.assert_allclose(
        total[listed], again.scores[listed], rtol=1e-4, atol=1e-4 * np.abs(again.scores[listed]).max()
    )
    assert set(again.branch_parts) == {"one", "two", RERANK}
    for row, item in zip(*np.nonzero(listed), strict=True):
        before = np.flatnonzero(ranking.items[row] == again.items[row, item])[0]
        assert again.branch_scores["one"][row, item] == ranking.branch_scores["one"][row, before]
    if weight == 0:
        assert (again.items == ranking.items).all()


def test_the_block_of_users_changes_nothing(monkeypatch):
    ranking, vectors = ranked(3, users=6), unit(3)
    whole = mmr(ranking, vectors, 0.4)
    monkeypatch.setattr("hybrid_assets.recommender.rerank.BLOCK_USERS", 2)
    assert (mmr(ranking, vectors, 0.4).items == whole.items).all()


def test_equal_scores_and_equal_popularity_are_defined():
    same = Ranking(np.array([[0, 1, 2]]), np.ones((1, 3), dtype=np.float32), {}, {})
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert mmr(same, vectors, 0.3).items.tolist() == [[0, 2, 1]], "the penalty decides"
    assert less_popular(same, np.ones(3, dtype=np.int64), 0.3).items.tolist() == [[0, 1, 2]]
    empty = Ranking(np.full((1, 3), -1), np.full((1, 3), -np.inf, dtype=np.float32), {}, {})
    assert (mmr(empty, vectors, 0.3).items == -1).all()
    assert (less_popular(empty, np.ones(3, dtype=np.int64), 0.3).items == -1).all()


@pytest.mark.parametrize("weight", [-0.1, 1.0])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ValueError, match=r"must be in \[0, 1\)"):
        mmr(ranked(0), unit(0), weight)


def test_a_movie_without_ratings_has_no_popularity():
    with pytest.raises(ValueError, match="movie 2 has no rating"):
        less_popular(ranked(0), np.array([3, 1, 0, *[1] * 6]), 0.3)
