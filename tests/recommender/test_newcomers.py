"""Lists for newcomers: the ones they would have as users."""

import tracemalloc

import numpy as np
import polars as pl
import pytest
from every_model import MODELS
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.fold_in import Fitted, fold_in
from hybrid_assets.recommender.newcomers import Arrivals, arrive, newcomer_system, reordered
from hybrid_assets.recommender.profiles import liked_weights, user_profiles
from hybrid_assets.recommender.ranking import Ranking, rank
from hybrid_assets.recommender.systems import candidates, system_branches
from hybrid_assets.recommender.towers import TowerPair

USERS, ITEMS, RATINGS = two_tastes()
TABLE = pl.DataFrame({"user_id": USERS, "movie_id": ITEMS, "rating": RATINGS, "timestamp": 0})
MOVIES = TABLE["movie_id"].unique(maintain_order=True).to_numpy()


def texts() -> tuple[np.ndarray, np.ndarray]:
    vectors = np.random.default_rng(0).normal(size=(len(MOVIES), 4)).astype(np.float32)
    return MOVIES, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def loaded(fusion="zscore", weights=(1.0, 0.5)):
    pair = MODELS["ease"](USERS, ITEMS, RATINGS)
    user_of = fold_in("ease", Fitted(pair, USERS, ITEMS, RATINGS), **MODELS["ease"].keywords)
    return newcomer_system(
        {"ease": (user_of, pair)},
        {"text": texts()},
        MOVIES,
        fusion=fusion,
        weights=weights,
        threshold=4.0,
    )


def test_a_user_who_comes_anew_gets_the_list_of_the_user():
    pool = candidates(TABLE)
    pair = MODELS["ease"](USERS, ITEMS, RATINGS)
    profiles = user_profiles(USERS, ITEMS, liked_weights(RATINGS, 4.0), *texts())
    branches = system_branches({"ease": pair, "text": TowerPair(*profiles, *texts())}, pool, "zscore", [1.0, 0.5])
    of_users = rank(branches, pool.seen, 5)
    anew, _ = loaded()(TABLE, 5)
    np.testing.assert_array_equal(anew.items, of_users.items)
    found = of_users.items >= 0
    np.testing.assert_allclose(anew.scores[found], of_users.scores[found], atol=1e-5)
    for branch in ("ease", "text"):
        np.testing.assert_allclose(anew.branch_parts[branch], of_users.branch_parts[branch], atol=1e-5)


def test_what_was_rated_or_is_to_be_hidden_is_not_listed():
    own = TABLE.filter(pl.col("user_id") == 100)
    ranking, pool = loaded()(own, 20)
    listed = pool.item_ids[ranking.items[ranking.items >= 0]]
    assert sorted(listed) == sorted(set(MOVIES) - set(own["movie_id"]))
    hidden = pl.DataFrame({"user_id": [100, 100], "movie_id": [500, 519]})
    ranking, pool = loaded()(own, 20, seen=hidden)
    assert sorted(pool.item_ids[ranking.items[ranking.items >= 0]]) == sorted(set(MOVIES) - {500, 519})


@pytest.mark.parametrize("fusion", ["convex", "notebook", "zscore"])
def test_somebody_who_liked_nothing_or_only_the_unknown_has_a_list(fusion):
    system = loaded(fusion)
    for movie, rating in ((500, 1.0), (99, 5.0)):
        own = pl.DataFrame({"user_id": [1], "movie_id": [movie], "rating": [rating], "timestamp": [0]})
        ranking, _ = system(own.with_columns(pl.col("rating").cast(pl.Float32)), 3)
        assert (ranking.items >= 0).all()
        assert np.isfinite(ranking.scores).all()


@pytest.mark.parametrize(
    ("fusion", "of_model", "of_text"),
    [
        # sigmoid of -ln 3, 0, ln 3; the first movie alone was liked
        ("convex", [1 / 4, 1 / 2, 3 / 4], [1, 0, 3 / 5]),
        # of all from -2 ln 3 to 2 ln 3; the profile is 4 : 3 e, for what was rated last counts e times, and that gives
        # 4, 3 e and (12 + 12 e) / 5
        ("notebook", [1 / 4, 1 / 2, 3 / 4], [0, (15 * np.e - 20) / (12 * np.e - 8), 1]),
        # mean 0, variance 2/3; mean 8/15, variance 38/225
        ("zscore", [-(1.5**0.5), 0, 1.5**0.5], [7 / 38**0.5, -8 / 38**0.5, 1 / 38**0.5]),
    ],
)
def test_the_list_of_somebody_with_two_ratings_by_hand(fusion, of_model, of_text):
    movies = np.array([1, 2, 3, 4, 5])
    scores = np.log(3) * np.array([[-2], [2], [-1], [0], [1]], dtype=np.float32)
    pair = TowerPair(np.array([100]), np.ones((1, 1), dtype=np.float32), movies, scores)
    fitted = Fitted(pair, np.array([100]), np.array([2]), np.array([4.0], dtype=np.float32))
    models = {"same": (fold_in("most_popular", fitted, threshold=4.0), pair)}
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [3 / 5, 4 / 5]], dtype=np.float32)
    system = newcomer_system(models, {"text": (movies, vectors)}, movies, fusion=fusion, weights=(1, 2), threshold=4.0)
    own = pl.DataFrame({"user_id": 7, "movie_id": [1, 2], "rating": [4.0, 3.0], "timestamp": [50, 60]})
    ranking, pool = system(own.with_columns(pl.col("rating").cast(pl.Float32)), 3)
    fused = {movie: one + 2 * other for movie, one, other in zip((3, 4, 5), of_model, of_text, strict=True)}
    assert pool.item_ids[ranking.items[0]].tolist() == sorted(fused, key=fused.__getitem__, reverse=True)
    assert ranking.scores[0].tolist() == pytest.approx(sorted(fused.values(), reverse=True), abs=1e-6)


def test_a_fusion_without_weights_is_refused_with_those_that_have_them():
    with pytest.raises(ValueError, match="'stacked' weighs no branches; these do: convex"):
        loaded("stacked")


def test_lists_are_cut_after_they_are_put_into_another_order():
    own = TABLE.filter(pl.col("user_id") == 100)
    plain, _ = loaded()(own, 5)

    def turned(ranking: Ranking) -> Ranking:
        own, parts = ({n: v[:, ::-1] for n, v in c.items()} for c in (ranking.branch_scores, ranking.branch_parts))
        return Ranking(ranking.items[:, ::-1], ranking.scores[:, ::-1], own, parts)

    ranking, _ = reordered(loaded(), turned, 5)(own, 2)
    assert ranking.items.tolist() == [plain.items[0, :-3:-1].tolist()]
    assert ranking.branch_parts["text"].tolist() == [plain.branch_parts["text"][0, :-3:-1].tolist()]


def test_many_newcomers_arrive_in_memory_for_each_of_their_ratings_once():
    newcomers = 3000
    ratings = pl.DataFrame(
        {"user_id": np.tile(np.arange(newcomers), 2), "movie_id": [500] * newcomers + [501] * newcomers, "rating": 5.0}
    )

    def user_of(movies, stars):
        assert movies.tolist() == [500, 501], "in the order of the rows"
        return np.zeros(1, dtype=np.float32)

    tracemalloc.start()
    try:
        vectors, pool = arrive(Arrivals(MOVIES, {"nothing": user_of}, {}, "liked", 4.0), ratings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(vectors["nothing"]) == len(pool.user_ids) == newcomers
    assert peak < newcomers * 2 * newcomers / 4, "a mask of all ratings for each would be four times this"


def test_what_is_hidden_stays_hidden_when_a_list_is_put_into_another_order():
    own = TABLE.filter(pl.col("user_id") == 100)
    hidden = pl.DataFrame({"user_id": [100, 100], "movie_id": [500, 519]})
    plain, _ = loaded()(own, 18, seen=hidden)
    again, _ = reordered(loaded(), lambda ranking: ranking, 10)(own, 18, seen=hidden)
    assert again.items.tolist() == plain.items.tolist()
