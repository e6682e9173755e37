"""Putting a system together: candidates, relevance, the weight chosen on validation, lists as tables."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender.fusion import identity
from hybrid_assets.recommender.ranking import rank
from hybrid_assets.recommender.systems import (
    candidates,
    choose_weights,
    items_by_user,
    items_of,
    lists_of,
    relevant_items,
    score_table,
    system_branches,
)
from hybrid_assets.recommender.towers import TowerPair

TRAIN = pl.DataFrame(
    {
        "user_id": [5, 5, 3, 3],
        "movie_id": [70, 10, 10, 40],
        "rating": [5.0, 4.0, 2.0, 4.0],
        "validation": [False, False, False, True],
    }
)


def test_users_and_movies_are_indexed_by_first_appearance():
    pool = candidates(TRAIN)
    assert pool.user_ids.tolist() == [5, 3]
    assert pool.item_ids.tolist() == [70, 10, 40]
    assert [array.tolist() for array in pool.seen] == [[0, 2, 4], [0, 1, 1, 2]]


def test_how_many_have_rated_each_movie():
    assert candidates(TRAIN).item_counts.tolist() == [1, 2, 1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30), st.lists(st.integers(0, 3), max_size=6))
def test_items_of_a_user_are_the_rows_with_both_known(rows, users):
    user_ids, item_ids = np.array([3, 1, 4, 5]), np.array([2, 5, 0])
    index = {2: 0, 5: 1, 0: 2}
    expected = [[index[item] for user, item in rows if user == own and item in index] for own in user_ids]
    ratings = pl.DataFrame(rows, schema={"user_id": pl.Int64, "movie_id": pl.Int64}, orient="row")
    found = items_by_user(ratings, user_ids, item_ids)
    assert _lists(found) == expected
    assert _lists(items_of(found, np.array(users, dtype=int))) == [expected[user] for user in users]


def _lists(rows):
    return [own.tolist() for own in np.split(rows[1], rows[0][1:-1])] if len(rows[0]) > 1 else []


def test_relevant_is_liked_and_recommendable():
    test = pl.DataFrame(
        {"user_id": [3, 3, 5, 5, 9], "movie_id": [70, 99, 40, 40, 70], "rating": [4.0, 5.0, 3.5, 3.0, 5.0]}
    )
    users, relevant = relevant_items(test, candidates(TRAIN), 4.0)
    assert users.tolist() == [1], "user 5 liked nothing in test, user 9 is not in train"
    assert [array.tolist() for array in relevant] == [[0, 1], [0]], "movie 99 is not in train"


def test_a_user_without_a_profile_is_ranked_by_the_model_alone():
    pool = candidates(TRAIN)
    model = TowerPair(pool.user_ids, np.ones((2, 1), "f4"), pool.item_ids, np.array([[1], [2], [3]], "f4"))
    content = TowerPair(np.array([5]), np.ones((1, 1), "f4"), pool.item_ids, np.ones((3, 1), "f4"))
    branches = system_branches({"pmf": model, "minilm": content}, pool, "convex", [0.5, 0.5])
    ranking = rank(branches, pool.seen, 1)
    assert ranking.branch_scores["minilm"][:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("fusion", ["convex", "notebook", "zscore"])
@pytest.mark.parametrize("informative", ["pmf", "minilm"])
def test_the_weight_goes_to_the_branch_that_knows(informative, fusion):
    generator = np.random.default_rng(0)
    users, items = np.arange(30), np.arange(50)
    taste = generator.integers(0, 5, 30)
    kind = generator.integers(0, 5, 50)
    pairs = [(user, item) for user in users for item in generator.permutation(items[kind == taste[user]])[:8]]
    train = pl.DataFrame(pairs, schema=["user_id", "movie_id"], orient="row").with_columns(
        pl.lit(5.0).alias("rating"), pl.Series("validation", [place % 8 < 4 for place in range(len(pairs))])
    )
    knows = TowerPair(users, np.eye(5, dtype="f4")[taste], items, np.eye(5, dtype="f4")[kind])
    noise = TowerPair(
        users, generator.normal(size=(30, 5)).astype("f4"), items, generator.normal(size=(50, 5)).astype("f4")
    )
    towers = {name: knows if name == informative else noise for name in ("pmf", "minilm")}
    weights, tried = choose_weights(towers, train, fusion, k=5, threshold=4.0)
    assert (weights[0] > weights[1]) == (informative == "pmf")
    chosen = tried.filter(pl.col("pmf") == weights[0], pl.col("minilm") == weights[1])
    assert chosen["ndcg"].item() == tried["ndcg"].max()


def test_a_weight_that_cannot_be_chosen_says_how_to_set_it():
    train = TRAIN.with_columns(pl.lit(False).alias("validation"))
    with pytest.raises(ValueError, match=r"systems\.<name>\.alpha of two branches"):
        choose_weights({}, train, "convex", k=5, threshold=4.0)


def test_lists_survive_their_table():
    pool = candidates(TRAIN)
    pair = TowerPair(pool.user_ids, np.ones((2, 1), "f4"), pool.item_ids, np.array([[1], [3], [2]], "f4"))
    ranking = rank(system_branches({"pmf": pair}, pool, "convex"), pool.seen, 3)
    table = score_table(ranking, pool)
    assert table.columns == ["user_id", "rank", "movie_id", "score", "score_pmf", "part_pmf"]
    assert table.select("user_id", "rank", "movie_id").rows() == [(5, 1, 40), (3, 1, 70)]
    assert lists_of(table, pool, 3).tolist() == ranking.items.tolist()


def test_a_movie_without_an_embedding_is_refused():
    pool = candidates(TRAIN)
    content = TowerPair(pool.user_ids, np.ones((2, 1), "f4"), np.array([70, 10]), np.ones((2, 1), "f4"))
    with pytest.raises(ValueError, match="id 40 has no vector"):
        system_branches({"minilm": content}, pool, "convex")


# (3/2)^(1/2): what is standardised of -1, 0 and 1
Z = 1.5**0.5


@pytest.mark.parametrize(
    ("fusion", "of_model", "of_content"),
    [
        # sigmoid of -ln 3, 0, ln 3; and the cosines as they are
        ("convex", [1 / 4, 1 / 2, 3 / 4], [3 / 5, 1 / 5, 2 / 5]),
        # from the lowest to the highest, which is the rated movie's; and to that of the unrated
        ("notebook", [0, 1 / 4, 1 / 2], [1, 0, 1 / 2]),
        ("zscore", [-Z, 0, Z], [Z, -Z, 0]),
    ],
)
def test_a_score_is_the_weighted_sum_of_what_each_fusion_makes_of_its_branches_by_hand(fusion, of_model, of_content):
    pool = candidates(pl.DataFrame({"user_id": [1, 2, 2, 2], "movie_id": [40, 10, 20, 30]}))
    one = np.ones((1, 1), "f4")
    model = TowerPair(np.array([1]), one, np.array([10, 20, 30, 40]), np.log(3) * np.array([[-1], [0], [1], [3]], "f4"))
    content = TowerPair(np.array([1]), one, np.array([40, 30, 20, 10]), np.array([[5], [2], [1], [3]], "f4") / 5)
    branches = system_branches({"pmf": model, "minilm": content}, pool, fusion, [3 / 4, 1 / 4])
    first = score_table(rank(branches, pool.seen, 3), pool).filter(user_id=1).sort("movie_id")
    assert first["movie_id"].to_list() == [10, 20, 30]
    assert first["part_pmf"].to_list() == pytest.approx([3 / 4 * score for score in of_model], abs=1e-6)
    assert first["part_minilm"].to_list() == pytest.approx([score / 4 for score in of_content], abs=1e-6)
    fused = [3 / 4 * one + other / 4 for one, other in zip(of_model, of_content, strict=True)]
    assert first["score"].to_list() == pytest.approx(fused, abs=1e-6)
    (alone,) = system_branches({"pmf": model}, pool, fusion)
    assert (alone.weight, alone.normalise) == (1.0, identity), "one branch alone is ranked as it is"


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9))
def test_lists_of_any_length_survive_their_table_and_parts_sum_to_the_score(seed, length, k):
    generator = np.random.default_rng(seed)
    # about half of all pairs are rated: lists of many lengths
    pairs = [(u, i) for u in range(6) for i in generator.permutation(8) if generator.random() < 0.5] or [(0, 0)]
    pool = candidates(pl.DataFrame(pairs, schema=["user_id", "movie_id"], orient="row"))
    users, items = len(pool.user_ids), len(pool.item_ids)
    model, content = (
        TowerPair(
            pool.user_ids,
            generator.normal(size=(users, 3)).astype("f4"),
            pool.item_ids,
            generator.normal(size=(items, 3)).astype("f4"),
        )
        for _ in range(2)
    )
    branches = system_branches({"pmf": model, "minilm": content}, pool, "notebook", [0.85, 0.15])
    ranking = rank(branches, pool.seen, length)
    table = score_table(ranking, pool)
    parts = table["part_pmf"] + table["part_minilm"]
    np.testing.assert_allclose(parts.to_numpy(), table["score"].to_numpy(), atol=1e-5)
    assert not set(table.select("user_id", "movie_id").rows()) & set(pairs), "a rated movie is listed"
    padded = np.full((users, k), -1)
    padded[:, : min(k, length)] = ranking.items[:, :k]
    # a score table is stored and read in any order of rows
    shuffled = table.sample(fraction=1.0, shuffle=True, seed=seed)
    assert lists_of(shuffled, pool, k).tolist() == padded.tolist()


def test_weights_are_chosen_by_the_first_k_alone():
    """`pmf` puts one of three wanted movies first, the others last; `minilm` puts all three behind one other movie."""
    rows = [(1, 100, False)] + [(2, item, False) for item in range(40)] + [(1, item, True) for item in (0, 1, 2)]
    train = pl.DataFrame(rows, schema=["user_id", "movie_id", "validation"], orient="row").with_columns(rating=5.0)
    first = np.linspace(1, -1, 40, dtype="f4")[np.r_[0, 39, 38, 1:38]]
    behind = np.linspace(1, -1, 40, dtype="f4")[np.r_[1, 2, 3, 0, 4:40]]
    one, items = np.ones((2, 1), "f4"), np.append(np.arange(40), 100)
    towers = {
        name: TowerPair(np.array([1, 2]), one, items, np.append(scores, 0)[:, None].astype("f4"))
        for name, scores in (("pmf", first), ("minilm", behind))
    }
    assert choose_weights(towers, train, "convex", k=1, threshold=4.0)[0] == (1.0, 0.0)
    assert choose_weights(towers, train, "convex", k=40, threshold=4.0)[0] != (1.0, 0.0)
