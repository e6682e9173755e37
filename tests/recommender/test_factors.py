"""One contract for every model: a new model is one line in MODELS."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.factors import first_appearance, most_popular, pmf
from hybrid_assets.recommender.ranking import Branch, rank
from hybrid_assets.recommender.tables import factor_table, model_towers
from hybrid_assets.recommender.towers import TowerPair

Model = Callable[[np.ndarray, np.ndarray, np.ndarray], TowerPair]


def small_pmf(users: np.ndarray, items: np.ndarray, ratings: np.ndarray) -> TowerPair:
    return pmf(users, items, ratings, factors=8, epochs=300, learning_rate=0.02, regularisation=0.02, seed=42)


def popular(users: np.ndarray, items: np.ndarray, ratings: np.ndarray) -> TowerPair:
    return most_popular(users, items, ratings, threshold=4.0)


MODELS: dict[str, Model] = {"most_popular": popular, "pmf": small_pmf}
PERSONAL = ["pmf"]

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def two_tastes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """40 users: even ones give movies 0-9 five stars and 10-19 one star, odd ones the reverse; 1 in 4 is unrated."""
    generator = np.random.default_rng(0)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(40), np.arange(20), indexing="ij"))
    rating = np.where((user % 2 == 0) == (item < 10), 5.0, 1.0)
    kept = generator.random(len(user)) < 0.75
    return user[kept] + 100, item[kept] + 500, rating[kept].astype(np.float32)


@pytest.mark.parametrize("model", [MODELS[name] for name in PERSONAL], ids=PERSONAL)
def test_planted_tastes_are_found(model):
    users, items, ratings = two_tastes()
    pair = model(users, items, ratings)
    scores = pair.user_vectors @ pair.item_vectors.T
    rated = set(zip(users.tolist(), items.tolist(), strict=True))
    for row, user in enumerate(pair.user_ids.tolist()):
        own = [(movie - 500 < 10) == (user % 2 == 0) for movie in pair.item_ids.tolist()]
        unseen = [(user, movie) not in rated for movie in pair.item_ids.tolist()]
        liked, disliked = np.array(own) & unseen, ~np.array(own) & unseen
        if liked.any() and disliked.any():
            assert scores[row, liked].min() > scores[row, disliked].max()


def test_most_popular_puts_the_most_liked_first_and_counts_only_likes():
    users = np.array([1, 2, 3, 1, 2, 1, 2, 3])
    items = np.array([7, 7, 7, 8, 8, 9, 9, 9])
    ratings = np.array([4, 5, 4, 5, 5, 3.5, 1, 5], dtype=np.float32)
    pair = popular(users, items, ratings)
    assert dict(zip(pair.item_ids.tolist(), pair.item_vectors[:, 0].tolist(), strict=True)) == {7: 3, 8: 2, 9: 1}


@every_model
def test_the_same_input_gives_the_same_bytes(model):
    first, second = model(*two_tastes()), model(*two_tastes())
    assert first.user_vectors.tobytes() == second.user_vectors.tobytes()
    assert first.item_vectors.tobytes() == second.item_vectors.tobytes()


@every_model
def test_ids_stand_in_order_of_first_appearance(model):
    users, items, ratings = two_tastes()
    shuffled = np.random.default_rng(1).permutation(len(users))
    pair = model(users[shuffled], items[shuffled], ratings[shuffled])
    assert pair.user_ids.tolist() == first_appearance(users[shuffled]).tolist()
    assert pair.item_ids.tolist() == first_appearance(items[shuffled]).tolist()


@every_model
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_ratings_that_are_no_numbers_are_refused(model, bad):
    users, items, ratings = two_tastes()
    ratings[3] = bad
    with pytest.raises(ValueError, match="finite"):
        model(users, items, ratings)


@every_model
def test_no_rating_at_all_is_refused(model):
    nothing = np.empty(0, dtype=np.int64)
    with pytest.raises(ValueError, match="at least one rating"):
        model(nothing, nothing, nothing.astype(np.float32))


@every_model
def test_a_user_and_an_item_with_one_rating_and_equal_ratings_have_vectors(model):
    users, items = np.array([1, 1, 2]), np.array([5, 6, 7])
    pair = model(users, items, np.full(3, 4.0, dtype=np.float32))
    assert np.isfinite(pair.user_vectors @ pair.item_vectors.T).all()


@every_model
def test_a_tower_pair_survives_its_table(model, tmp_path):
    users, items, ratings = two_tastes()
    pairs = {"train": model(users, items, ratings), "fit": model(users[:400], items[:400], ratings[:400])}
    factor_table(pairs).write_parquet(tmp_path / "factors.parquet")
    stored = pl.scan_parquet(tmp_path / "factors.parquet")
    dimensions = pairs["train"].user_vectors.shape[1]
    assert stored.collect_schema() == {
        "fold": pl.String,
        "side": pl.String,
        "id": pl.Int64,
        "vector": pl.Array(pl.Float32, dimensions),
    }
    for fold, pair in pairs.items():
        back = model_towers(stored, fold)
        for field in ("user_ids", "user_vectors", "item_ids", "item_vectors"):
            assert getattr(back, field).tobytes() == getattr(pair, field).tobytes(), (fold, field)


@every_model
def test_the_ranking_does_not_depend_on_the_block_size(model):
    pair = model(*two_tastes())
    branch = Branch("m", pair.user_vectors, pair.item_vectors)
    seen = (np.zeros(len(pair.user_ids) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    whole = rank([branch], seen, 5)
    for block in (1, 7, 39):
        parted = rank([branch], seen, 5, block_users=block)
        np.testing.assert_allclose(parted.scores, whole.scores, rtol=1e-5)


def test_the_sigmoid_of_a_pmf_score_is_the_rating_between_the_lowest_and_the_highest():
    users, items, ratings = two_tastes()
    pair = pmf(users, items, ratings, factors=8, epochs=300, learning_rate=0.02, regularisation=0.001, seed=42)
    rows = {user: row for row, user in enumerate(pair.user_ids.tolist())}
    columns = {item: column for column, item in enumerate(pair.item_ids.tolist())}
    scores = (pair.user_vectors @ pair.item_vectors.T)[[rows[u] for u in users], [columns[i] for i in items]]
    predicted = 1 / (1 + np.exp(-scores))
    # one star is 0, five stars are 1
    np.testing.assert_allclose(predicted, (ratings - 1) / 4, atol=0.1)
