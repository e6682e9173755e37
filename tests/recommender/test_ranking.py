"""The engine against a plain reference, with ties, short lists and every block size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender import ranking
from hybrid_assets.recommender.fusion import identity, min_max_over_candidates, min_max_over_train, sigmoid
from hybrid_assets.recommender.ranking import Branch, rank, rank_each
from hybrid_assets.recommender.towers import MANY_USERS


def csr(rated: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    indptr = np.cumsum([0, *map(len, rated)])
    return indptr, np.array([item for of_user in rated for item in sorted(of_user)], dtype=np.int64)


def plain(scores: np.ndarray, rated: list[set[int]], k: int) -> list[list[int]]:
    """Sort each user's candidates by descending score, equal ones by index."""
    return [
        sorted((i for i in range(scores.shape[1]) if i not in of_user), key=lambda i: (-row[i], i))[:k]
        for row, of_user in zip(scores, rated, strict=True)
    ]


@settings(max_examples=60)
@given(st.data())
def test_lists_are_those_of_a_plain_sort_whatever_the_block(data):
    users, items = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    k, block = data.draw(st.integers(1, 15)), data.draw(st.integers(1, 7))
    # few different values: many ties
    cells = st.lists(st.integers(-2, 2), min_size=users * items, max_size=users * items)
    scores = np.array(data.draw(cells), dtype=np.float32).reshape(users, items)
    rated = [data.draw(st.sets(st.integers(0, items - 1))) for _ in range(users)]
    branch = Branch("b", scores, np.eye(items, dtype=np.float32))
    ranking = rank([branch], csr(rated), k, block_users=block)
    expected = plain(scores, rated, k)
    assert [[int(i) for i in row if i >= 0] for row in ranking.items] == expected
    for row, listed in enumerate(expected):
        assert ranking.scores[row, : len(listed)].tolist() == scores[row, listed].tolist()
        assert (ranking.items[row, len(listed) :] == -1).all()
        assert np.isneginf(ranking.scores[row, len(listed) :]).all()


@pytest.mark.parametrize("block_users", [7, 100])
def test_movies_without_a_vector_are_ranked_by_a_score_of_zero(block_users):
    generator = np.random.default_rng(0)
    users = MANY_USERS + 6
    user_vectors = generator.integers(-3, 4, size=(users, 3)).astype(np.float32)
    item_vectors = generator.integers(-3, 4, size=(20, 3)).astype(np.float32)
    item_vectors[[0, 5, 6, 19]] = 0
    rated = [set(generator.choice(20, size=4, replace=False).tolist()) for _ in range(users)]
    found = rank([Branch("b", user_vectors, item_vectors)], csr(rated), 16, block_users=block_users)
    scores = user_vectors @ item_vectors.T
    assert found.items.tolist() == plain(scores, rated, 16)
    assert found.scores.tolist() == np.take_along_axis(scores, found.items, axis=1).tolist()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["convex", "notebook"]), st.floats(0, 1))
def test_fused_scores_are_the_formula_and_parts_sum_to_them(seed, fusion, alpha):
    generator = np.random.default_rng(seed)
    mf, content = generator.normal(size=(2, 5, 9)).astype(np.float32)
    rated = [set(generator.choice(9, size=3, replace=False).tolist()) for _ in range(5)]
    eye = np.eye(9, dtype=np.float32)
    how = (sigmoid, identity) if fusion == "convex" else (min_max_over_train, min_max_over_candidates)
    branches = [Branch("mf", mf, eye, how[0], alpha), Branch("content", content, eye, how[1], 1 - alpha)]
    ranking = rank(branches, csr(rated), 4)
    for user in range(5):
        candidates = [i for i in range(9) if i not in rated[user]]
        if fusion == "convex":
            left, right = 1 / (1 + np.exp(-mf[user])), content[user]
        else:
            left = (mf[user] - mf[user].min()) / (mf[user].max() - mf[user].min())
            low, high = content[user][candidates].min(), content[user][candidates].max()
            right = (content[user] - low) / (high - low)
        fused = alpha * left + (1 - alpha) * right
        listed = ranking.items[user]
        np.testing.assert_allclose(ranking.scores[user], fused[listed], atol=1e-5)
        np.testing.assert_allclose(np.sort(fused[candidates])[::-1][:4], ranking.scores[user], atol=1e-5)
        np.testing.assert_allclose(ranking.branch_scores["mf"][user], mf[user][listed], atol=1e-6)
        parts = ranking.branch_parts["mf"][user] + ranking.branch_parts["content"][user]
        np.testing.assert_allclose(parts, ranking.scores[user], atol=1e-5)


def test_what_a_user_rated_is_never_listed_and_one_who_rated_all_has_an_empty_list():
    branch = Branch("b", np.ones((2, 1), dtype=np.float32), np.ones((3, 1), dtype=np.float32))
    ranking = rank([branch], csr([{0, 1, 2}, {1}]), 3)
    assert ranking.items.tolist() == [[-1, -1, -1], [0, 2, -1]]
    assert np.isnan(ranking.branch_scores["b"][0]).all()


@pytest.mark.parametrize(
    ("branches", "k", "words"),
    [
        ([], 1, "at least one branch"),
        ([Branch("b", np.ones((1, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32))], 0, "k must be"),
        (
            [Branch("b", np.full((1, 1), np.nan, dtype=np.float32), np.ones((2, 1), dtype=np.float32))],
            1,
            "not a number",
        ),
        (
            [Branch("b", np.full((1, 1), 1e30, dtype=np.float32), np.array([[1e30], [1]], dtype=np.float32))],
            2,
            "too large",
        ),
        (
            [
                Branch("a", np.ones((1, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32)),
                Branch("b", np.ones((1, 1), dtype=np.float32), np.ones((3, 1), dtype=np.float32)),
            ],
            1,
            "branch 'b' covers",
        ),
    ],
)
def test_what_cannot_be_ranked_is_refused(branches, k, words):
    with pytest.raises(ValueError, match=words):
        rank(branches, csr([set()]), k)


def test_progress_ends_with_all_users():
    branch = Branch("b", np.ones((5, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32))
    seen: list[tuple[int, int]] = []
    rank([branch], csr([set()] * 5), 1, block_users=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_an_offset_too_few_is_refused():
    branch = Branch("b", np.ones((2, 1), dtype=np.float32), np.ones((2, 1), dtype=np.float32))
    with pytest.raises(ValueError, match="indptr needs 3 entries for 2 users, found 2"):
        rank([branch], csr([set()]), 1)


@pytest.mark.parametrize(("users", "items"), [(0, 3), (2, 0)])
def test_nobody_and_nothing_to_rank_give_empty_lists(users, items):
    branch = Branch("b", np.ones((users, 1), dtype=np.float32), np.ones((items, 1), dtype=np.float32))
    assert rank([branch], csr([set()] * users), 2).items.tolist() == [[-1, -1]] * users


def test_a_rated_movie_twice_among_the_rated_ones_is_masked_once():
    branch = Branch("b", np.ones((1, 1), dtype=np.float32), np.array([[3], [2], [1]], dtype=np.float32))
    assert rank([branch], (np.array([0, 2]), np.array([0, 0])), 3).items.tolist() == [[1, 2, -1]]


def test_the_own_block_size_gives_the_lists_of_any_other():
    generator = np.random.default_rng(0)
    # whole numbers: exact in float32, and full of ties
    users, items = (generator.integers(-2, 3, size=(n, 4)).astype(np.float32) for n in (150, 9_000))
    rated = [set(generator.choice(9_000, size=5).tolist()) for _ in range(150)]
    branch = Branch("b", users, items)
    own = rank([branch], csr(rated), 20)
    for block in (1, 64, 150):
        assert rank([branch], csr(rated), 20, block_users=block).items.tolist() == own.items.tolist()
    assert own.items.tolist() == plain(users @ items.T, rated, 20)


@pytest.mark.parametrize("held_bytes", [0, 2**30])
@pytest.mark.parametrize("normalise", [(min_max_over_train, min_max_over_candidates), (identity, identity)])
def test_several_weightings_give_the_lists_of_each_alone_time_and_again(monkeypatch, held_bytes, normalise):
    monkeypatch.setattr(ranking, "HELD_BYTES", held_bytes)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", 0)
    generator = np.random.default_rng(5)
    users, items = 150, 40
    vectors = [generator.normal(size=(count, 4)).astype("f4") for count in (users, items, users, items)]
    seen = csr([set(map(int, generator.permutation(items)[:6])) for _ in range(users)])

    def branches(weights: tuple[float, float]) -> list[Branch]:
        return [
            Branch("a", vectors[0], vectors[1], normalise[0], weights[0]),
            Branch("b", vectors[2], vectors[3], normalise[1], weights[1]),
        ]

    lists_of = rank_each(branches((1.0, 1.0)), seen, 7)
    for weightings in ([(1.0, 0.0), (0.3, 0.7)], [(0.0, 2.0)], [(1.0, 0.0)]):
        for lists, weights in zip(lists_of(weightings), weightings, strict=True):
            assert (lists == rank(branches(weights), seen, 7).items).all()
    alone = rank_each(branches((1.0, 1.0))[:1], seen, 7)
    assert (alone([(1.0,), (1.0,), (0.5,)]) == rank(branches((1.0, 1.0))[:1], seen, 7).items).all()
