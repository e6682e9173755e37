"""One contract for every model; a new model is one line in every_model.py."""

import numpy as np
import polars as pl
import pytest
from every_model import MODELS, QUICK
from planted_ratings import two_tastes

from hybrid_assets.recommender.ranking import Branch, rank
from hybrid_assets.recommender.tables import factor_table, model_towers
from hybrid_assets.recommender.towers import first_appearance

# to which every rating is a choice, whatever its stars
ALL_CHOICES = ("bpr", "sasrec", "bert4rec")


PERSONAL = [name for name in MODELS if name != "most_popular"]


every_model = pytest.mark.parametrize("model", QUICK.values(), ids=QUICK)


@pytest.mark.parametrize("model", [MODELS[name] for name in PERSONAL], ids=PERSONAL)
def test_planted_tastes_are_found(model):
    users, items, ratings = two_tastes()
    if any(model is MODELS[name] for name in ALL_CHOICES):
        chosen = ratings > 3
        users, items, ratings = users[chosen], items[chosen], ratings[chosen]
    pair = model(users, items, ratings)
    scores = pair.user_vectors @ pair.item_vectors.T
    rated = set(zip(users.tolist(), items.tolist(), strict=True))
    for row, user in enumerate(pair.user_ids.tolist()):
        own = [(movie - 500 < 10) == (user % 2 == 0) for movie in pair.item_ids.tolist()]
        unseen = [(user, movie) not in rated for movie in pair.item_ids.tolist()]
        liked, disliked = np.array(own) & unseen, ~np.array(own) & unseen
        if liked.any() and disliked.any():
            assert scores[row, liked].min() > scores[row, disliked].max()


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
        more = ((0, 0), (0, dimensions - pair.user_vectors.shape[1]))
        for side in ("user", "item"):
            assert getattr(back, f"{side}_ids").tobytes() == getattr(pair, f"{side}_ids").tobytes(), (fold, side)
            vectors = np.pad(getattr(pair, f"{side}_vectors"), more)
            assert getattr(back, f"{side}_vectors").tobytes() == vectors.tobytes(), (fold, side)


@every_model
def test_the_ranking_does_not_depend_on_the_block_size(model):
    pair = model(*two_tastes())
    branch = Branch("m", pair.user_vectors, pair.item_vectors)
    seen = (np.zeros(len(pair.user_ids) + 1, dtype=np.int64), np.empty(0, dtype=np.int64))
    whole = rank([branch], seen, 5)
    for block in (1, 7, 39):
        parted = rank([branch], seen, 5, block_users=block)
        np.testing.assert_allclose(parted.scores, whole.scores, rtol=1e-5)


@pytest.mark.parametrize("name", ["lightgcn", "vbpr", "sasrec", "bert4rec"])
def test_a_model_that_takes_long_tells_of_each_step(name):
    told: list[tuple[int, int | None]] = []
    with_telling = QUICK[name](*two_tastes(), progress=lambda done, total: told.append((done, total)))
    # Cornac tells nobody how many there will be
    total = None if name in ("sasrec", "bert4rec") else len(told)
    assert told == [(step, total) for step in range(1, len(told) + 1)]
    assert len(told) >= 2, "two epochs"
    said = len(told)
    assert with_telling.item_vectors.tobytes() == QUICK[name](*two_tastes()).item_vectors.tobytes()
    assert len(told) == said, "nothing is told of what is fitted later"


OTHER = {
    "threshold": lambda value: 0.9,
    "liked_only": lambda value: not value,
    "most_movies": lambda value: value // 2,
    "neighbours": lambda value: value // 2,
    "places": lambda value: 2,
    "factors": lambda value: value + 2,
}


SETTINGS = [(name, setting) for name, model in QUICK.items() for setting in model.keywords]


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_every_setting_of_a_model_counts(name, setting):
    value = QUICK[name].keywords[setting]
    other = OTHER.get(setting, lambda it: it + 1 if isinstance(it, int) else it * 1.5)(value)
    one, two = QUICK[name](*two_tastes()), QUICK[name](*two_tastes(), **{setting: other})
    assert (one.user_vectors.tobytes(), one.item_vectors.tobytes()) != (
        two.user_vectors.tobytes(),
        two.item_vectors.tobytes(),
    )
