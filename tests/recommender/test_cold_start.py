"""Cold start: nothing that was held out is known, and what can be known is found."""

import numpy as np
import polars as pl
import pytest
from planted_ratings import tastes, two_tastes

from hybrid_assets.recommender.cold_start import (
    cold_candidates,
    cold_split,
    item_cold,
    nearest_rated,
    user_cold,
    with_cold_movies,
    with_intervals,
)
from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.fold_in import Fitted, fold_in
from hybrid_assets.recommender.newcomers import newcomer_system
from hybrid_assets.recommender.split import drawn_ids
from hybrid_assets.recommender.systems import system_branches
from hybrid_assets.recommender.towers import TowerPair

ALS = {"threshold": 4.0, "factors": 2, "epochs": 10, "regularisation": 1.0, "confidence": 10.0, "seed": 42}
ALS |= {"liked_only": True, "power": 0.0}
COLD_USERS, COLD_MOVIES = np.array([100, 101, 102, 103]), np.array([500, 501, 510, 511])


def tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    users, items, ratings = two_tastes()
    table = pl.DataFrame({"user_id": users, "movie_id": items, "rating": ratings, "timestamp": 0})
    in_test = np.random.default_rng(1).random(table.height) < 0.2
    return table.filter(~in_test), table.filter(in_test)


def split():
    return cold_split(*tables(), users=COLD_USERS, movies=COLD_MOVIES, seed=7)


def fitted():
    warm = split().warm
    columns = tuple(warm[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
    return implicit_als(*columns, **ALS), columns


def texts():
    """Two directions of text, one a taste, as the planted tastes are."""
    movies = np.arange(500, 520)
    vectors = np.where(movies[:, None] < 510, [[1.0, 0.1]], [[0.1, 1.0]]).astype(np.float32)
    return movies, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_what_is_held_out_leaves_train_whole_and_nothing_else_does():
    train, test = tables()
    cold = split()
    assert not set(cold.warm["user_id"]) & set(COLD_USERS)
    assert not set(cold.warm["movie_id"]) & set(COLD_MOVIES)
    kept = ~pl.col("user_id").is_in(COLD_USERS.tolist()) & ~pl.col("movie_id").is_in(COLD_MOVIES.tolist())
    assert cold.warm.equals(train.filter(kept))
    both = pl.concat([train, test])
    assert (
        cold.of_movies.height
        == both.filter(pl.col("movie_id").is_in(COLD_MOVIES), ~pl.col("user_id").is_in(COLD_USERS)).height
    )
    of_users = both.filter(pl.col("user_id").is_in(COLD_USERS), ~pl.col("movie_id").is_in(COLD_MOVIES))
    assert cold.of_users.drop("place").sort("user_id", "movie_id").equals(of_users.sort("user_id", "movie_id"))
    for (_,), rows in cold.of_users.group_by("user_id"):
        assert sorted(rows["place"]) == list(range(rows.height))


def test_everything_held_out_is_refused():
    train, test = tables()
    with pytest.raises(ValueError, match=r"lower cold_start\.users or movies"):
        cold_split(train, test, users=train["user_id"].unique().to_numpy(), movies=COLD_MOVIES, seed=0)


def test_a_smaller_share_is_part_of_a_larger_and_a_new_id_changes_no_other():
    ids = np.arange(1000)
    large, small = drawn_ids(ids, 0.3, 5), drawn_ids(ids, 0.1, 5)
    assert set(small) < set(large)
    assert 60 < len(small) < 140
    assert set(drawn_ids(ids[1:], 0.3, 5)) == set(large) - {0}


@pytest.mark.parametrize("only_cold", [True, False])
def test_a_model_alone_scores_cold_movies_zero_and_with_texts_as_their_neighbours(only_cold):
    pair, _ = fitted()
    alone = with_cold_movies(pair, COLD_MOVIES, None)
    nearest = nearest_rated(split(), *texts())
    assert all(set(row // 10) == {movie // 10} for movie, row in zip(COLD_MOVIES, nearest, strict=True))
    borrowed = with_cold_movies(pair, COLD_MOVIES, nearest)
    assert not alone.item_vectors[-4:].any()
    pool = cold_candidates(split(), only_cold=only_cold, seed=1)
    assert set(COLD_MOVIES) <= set(pool.item_ids)
    assert (len(pool.item_ids) == 4) == only_cold

    def quality(towers):
        branches = system_branches({"als": towers}, pool, "convex")
        return item_cold(branches, pool, split(), k=2, threshold=4.0)["recall"].mean()

    assert quality(borrowed) > quality(alone) + 0.1
    if only_cold:
        assert quality(borrowed) == 1.0, "each user likes at most the two cold movies whose texts are of their taste"
    else:
        assert quality(alone) == 0.0


def test_new_people_are_served_by_one_rating_and_judged_by_the_same_movies_for_every_number():
    pair, columns = fitted()
    user_of = fold_in("als", Fitted(pair, *columns), **ALS)
    system = newcomer_system({"als": (user_of, pair)}, {}, pair.item_ids, fusion="convex", weights=None, threshold=4.0)
    values = {n: user_cold(system, split(), known=n, most_known=3, k=3, threshold=4.0) for n in (1, 3)}
    assert len(values[1]["ndcg"]) == len(values[3]["ndcg"]) > 0
    liked = split().of_users.filter(pl.col("place") >= 3, pl.col("rating") >= 4.0).height
    chance = 3 * liked / len(COLD_USERS) / (len(pair.item_ids) - 3)
    found = [values[n]["recall"].mean() * liked / len(COLD_USERS) for n in (1, 3)]
    assert chance < found[0] <= found[1] + 1e-9
    assert found[1] > 1.5 * chance
    nobody = user_cold(system, split(), known=1, most_known=1000, k=3, threshold=4.0)
    assert len(nobody["ndcg"]) == 0


def test_intervals_hold_the_mean_and_nobody_has_none():
    values = {"ndcg": np.linspace(0, 1, 50), "recall": np.zeros(50)}
    found = with_intervals(values, resamples=200, confidence=0.9, seed=0)
    assert found["users"] == 50
    assert found["ndcg"] == pytest.approx(0.5)
    assert found["ndcg_low"] < 0.5 < found["ndcg_high"]
    assert found["recall"] == found["recall_low"] == found["recall_high"] == 0
    nobody = with_intervals({"ndcg": np.empty(0)}, resamples=200, confidence=0.9, seed=0)
    assert nobody == {"ndcg": None, "ndcg_low": None, "ndcg_high": None, "users": 0}


def test_ratings_of_new_people_are_given_at_the_last_moment_that_the_models_know():
    train, test = (table.with_columns(timestamp=pl.int_range(pl.len(), dtype=pl.Int64)) for table in tables())
    cold = cold_split(train, test, users=COLD_USERS, movies=COLD_MOVIES, seed=7)
    assert cold.of_users["timestamp"].unique().to_list() == [cold.warm["timestamp"].max()]
    assert cold.of_movies["timestamp"].n_unique() > 1


def test_ids_may_be_negative_and_change_no_draw_of_the_others():
    ids = np.array([-(2**63), -5, -1, *range(1000)])
    drawn = drawn_ids(ids, 0.3, 5)
    assert drawn[drawn >= 0].tolist() == drawn_ids(np.arange(1000), 0.3, 5).tolist()
    train, test = (table.with_columns(pl.col("user_id") - 102) for table in tables())
    cold = cold_split(train, test, users=np.array([-2, -1, 0, 1]), movies=COLD_MOVIES, seed=7)
    assert set(cold.of_users["user_id"]) == {-2, -1, 0, 1}


def test_a_cold_movie_borrows_the_mean_of_its_neighbours():
    pair = TowerPair(
        np.array([1]), np.ones((1, 2), "f4"), np.array([7, 8, 9]), np.array([[1, 2], [3, 4], [5, 9]], "f4")
    )
    found = with_cold_movies(pair, np.array([50]), np.array([[9, 7, 8]]))
    np.testing.assert_allclose(found.item_vectors[-1], [3, 5], rtol=1e-6)


@pytest.mark.parametrize("only_cold", [True, False])
def test_equal_scores_are_listed_in_an_order_that_the_seed_draws(only_cold):
    train = tastes()
    split = cold_split(train, train.clear(), users=np.empty(0, dtype=np.int64), movies=np.arange(20), seed=1)
    orders = [cold_candidates(split, only_cold=only_cold, seed=seed).item_ids.tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
