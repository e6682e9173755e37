"""Putting a system together: candidates, relevance, the weight chosen on validation, lists as tables."""

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.ranking import rank
from hybrid_assets.recommender.systems import (
    candidates,
    choose_alpha,
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
    branches = system_branches({"pmf": model, "minilm": content}, pool, "convex", 0.5)
    ranking = rank(branches, pool.seen, 1)
    assert ranking.branch_scores["minilm"][:, 0].tolist() == [1, 0]


@pytest.mark.parametrize("informative", ["pmf", "minilm"])
def test_the_weight_goes_to_the_branch_that_knows(informative):
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
    alpha, curve = choose_alpha(towers, train, "notebook", k=5, threshold=4.0)
    assert (alpha > 0.5) == (informative == "pmf")
    assert curve.filter(pl.col("alpha") == alpha)["ndcg"].item() == curve["ndcg"].max()


def test_a_weight_that_cannot_be_chosen_says_how_to_set_it():
    train = TRAIN.with_columns(pl.lit(False).alias("validation"))
    with pytest.raises(ValueError, match="set alpha for this system in the catalog"):
        choose_alpha({}, train, "convex", k=5, threshold=4.0)


def test_lists_survive_their_table():
    pool = candidates(TRAIN)
    pair = TowerPair(pool.user_ids, np.ones((2, 1), "f4"), pool.item_ids, np.array([[1], [3], [2]], "f4"))
    ranking = rank(system_branches({"pmf": pair}, pool, "convex", None), pool.seen, 3)
    table = score_table(ranking, pool)
    assert table.columns == ["user_id", "rank", "movie_id", "score", "score_pmf", "part_pmf"]
    assert table.select("user_id", "rank", "movie_id").rows() == [(5, 1, 40), (3, 1, 70)]
    assert lists_of(table, pool, 3).tolist() == ranking.items.tolist()
