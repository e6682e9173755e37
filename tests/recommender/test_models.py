"""One contract for every model: a new model is one line in MODELS."""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_matrix

from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.bert4rec import bert4rec
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.bpr import bpr
from hybrid_assets.recommender.models.ease import by_items, by_users, ease
from hybrid_assets.recommender.models.interactions import interactions
from hybrid_assets.recommender.models.lightgcn import lightgcn
from hybrid_assets.recommender.models.neighbours import item_knn, user_knn
from hybrid_assets.recommender.models.pairwise import _not_chosen, descend
from hybrid_assets.recommender.models.pmf import pmf
from hybrid_assets.recommender.models.popularity import most_popular
from hybrid_assets.recommender.models.sasrec import sasrec
from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.models.sequences import (
    Sequences,
    mean_by_user,
    movies_around,
    movies_before,
    places_of,
    popularity_unlearned,
    sequential_dataset,
    time_ordered,
)
from hybrid_assets.recommender.models.text_ease import text_ease
from hybrid_assets.recommender.models.vbpr import vbpr
from hybrid_assets.recommender.ranking import Branch, rank
from hybrid_assets.recommender.tables import factor_table, model_towers
from hybrid_assets.recommender.towers import TowerPair, first_appearance


def with_texts(
    model: Callable[..., TowerPair], users: np.ndarray, items: np.ndarray, ratings: np.ndarray, **settings: object
) -> TowerPair:
    """A model over texts that are random, so that tastes have to come from the ratings."""
    movies = np.unique(items)
    texts = np.random.default_rng(3).normal(size=(len(movies), 6))
    unit = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    return model(users, items, ratings, embeddings=(movies, unit), **settings)


def shuffled_in_time(
    model: Callable[..., TowerPair], users: np.ndarray, items: np.ndarray, ratings: np.ndarray, **settings: object
) -> TowerPair:
    """A model of sequences over an order that tells nothing, so that tastes have to come from who rated what."""
    return model(users, items, ratings, timestamps=np.random.default_rng(4).permutation(len(users)), **settings)


descent = {"factors": 8, "epochs": 300, "learning_rate": 0.02, "regularisation": 0.02, "seed": 42}
graded = {"threshold": 4.0, "liked_only": False, "power": 2.0}
pairwise = {"threshold": 4.0, "liked_only": True, "epochs": 40, "batch_size": 64, "learning_rate": 0.05}
pairwise |= {"regularisation": 1.0, "seed": 42}
sequential = {"factors": 16, "blocks": 1, "heads": 1, "longest": 12, "places": 3, "dropout": 0.5, "negatives": 60}
sequential |= {"learning_rate": 0.005, "seed": 42}
MODELS: dict[str, partial[TowerPair]] = {
    "most_popular": partial(most_popular, threshold=4.0),
    "pmf": partial(pmf, **descent),
    "biased_mf": partial(biased_mf, **descent),
    "bpr": partial(bpr, **descent),
    "als": partial(implicit_als, factors=2, epochs=10, regularisation=1.0, confidence=10.0, seed=42, **graded),
    "ease": partial(ease, regularisation=50.0, **graded),
    "sequence_ease": partial(
        shuffled_in_time, sequence_ease, regularisation=50.0, decay=10.0, most_movies=20, **graded
    ),
    "item_knn": partial(item_knn, neighbours=5, **graded),
    "user_knn": partial(user_knn, neighbours=10, **graded),
    "lightgcn": partial(lightgcn, factors=8, layers=2, **pairwise),
    "text_ease": partial(
        shuffled_in_time,
        partial(with_texts, text_ease),
        regularisation=50.0,
        decay=10.0,
        most_movies=20,
        text_weight=0.5,
        text_width=0.5,
        **graded,
    ),
    "vbpr": partial(with_texts, vbpr, factors=4, text_factors=2, **pairwise),
    "sasrec": partial(shuffled_in_time, sasrec, epochs=10, batch_size=64, **sequential),
    "bert4rec": partial(shuffled_in_time, bert4rec, masked=0.3, epochs=60, batch_size=16, **sequential),
}
# to which every rating is a choice, whatever its stars
ALL_CHOICES = ("bpr", "sasrec", "bert4rec")
PERSONAL = [name for name in MODELS if name != "most_popular"]

# what holds of a model holds of one that has hardly been trained, but that it finds tastes
QUICK = {name: partial(model, epochs=2) if "epochs" in model.keywords else model for name, model in MODELS.items()}

every_model = pytest.mark.parametrize("model", QUICK.values(), ids=QUICK)


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


def test_most_popular_puts_the_most_liked_first_and_counts_only_likes():
    users = np.array([1, 2, 3, 1, 2, 1, 2, 3])
    items = np.array([7, 7, 7, 8, 8, 9, 9, 9])
    ratings = np.array([4, 5, 4, 5, 5, 3.5, 1, 5], dtype=np.float32)
    pair = MODELS["most_popular"](users, items, ratings)
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


def test_the_sigmoid_of_a_pmf_score_is_the_rating_between_the_lowest_and_the_highest():
    users, items, ratings = two_tastes()
    pair = pmf(users, items, ratings, factors=8, epochs=300, learning_rate=0.02, regularisation=0.001, seed=42)
    rows = {user: row for row, user in enumerate(pair.user_ids.tolist())}
    columns = {item: column for column, item in enumerate(pair.item_ids.tolist())}
    scores = (pair.user_vectors @ pair.item_vectors.T)[[rows[u] for u in users], [columns[i] for i in items]]
    predicted = 1 / (1 + np.exp(-scores))
    # one star is 0, five stars are 1
    np.testing.assert_allclose(predicted, (ratings - 1) / 4, atol=0.1)


def random_weights(users: int, items: int) -> np.ndarray:
    generator = np.random.default_rng(7)
    return (generator.random((users, items)) < 0.4) * generator.choice([0.25, 1.0, 1.5], (users, items))


@pytest.mark.parametrize(("users", "items"), [(12, 30), (30, 12)])
def test_both_forms_of_ease_give_the_scores_of_the_papers_listing(users, items):
    weights, regularisation = random_weights(users, items), 3.0
    # Steck 2019, algorithm 1, as printed
    gram = weights.T @ weights
    diagonal = np.diag_indices(items)
    gram[diagonal] += regularisation
    inverse = np.linalg.inv(gram)
    expected = inverse / (-np.diag(inverse))
    expected[diagonal] = 0
    scores = weights @ expected
    for form in (by_items, by_users):
        user_vectors, item_vectors = form(weights, regularisation)
        # of rated movies too
        np.testing.assert_allclose(user_vectors @ item_vectors.T, scores, atol=1e-12)


@pytest.mark.parametrize("swap", [False, True])
def test_ease_inverts_the_smaller_matrix(swap):
    users, items, ratings = two_tastes()
    if swap:
        users, items = items, users
    vectors = MODELS["ease"](users, items, ratings).user_vectors
    assert vectors.shape[1] == (2 * 20 if swap else 20)
    assert np.array_equal(vectors[:, :20], np.eye(20)) == swap


def test_a_regularisation_that_is_lost_in_rounding_is_refused():
    same = np.full((1, 2), 2.0)
    with pytest.raises(ValueError, match="regularisation = 1e-30 is too small"):
        by_items(same, 1e-30)


def test_a_rating_weighs_its_power_and_disliked_ones_nothing_where_only_liked_count():
    columns = np.array([1, 1, 2]), np.array([5, 6, 5]), np.array([2.0, 4.0, 5.0], dtype=np.float32)
    weigh = partial(interactions, *columns, threshold=4.0)
    assert weigh(liked_only=False, power=2.0).matrix.toarray().tolist() == [[0.25, 1.0], [1.5625, 0.0]]
    assert weigh(liked_only=False, power=0.0).matrix.toarray().tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert weigh(liked_only=True, power=0.0).matrix.toarray().tolist() == [[0.0, 1.0], [1.0, 0.0]]


def test_a_power_needs_a_threshold_above_zero():
    columns = np.array([1]), np.array([5]), np.array([2.0], dtype=np.float32)
    with pytest.raises(ValueError, match=r"set evaluation\.relevance_threshold above 0, or power = 0"):
        interactions(*columns, threshold=0.0, liked_only=False, power=1.0)


def test_neighbours_are_those_of_the_highest_cosine():
    # users 1 and 2 agree on both films, user 3 shares one with them; user 3 alone brings film 30
    users, items = np.array([1, 1, 2, 2, 2, 3, 3]), np.array([10, 20, 10, 20, 40, 10, 30])
    ratings = np.full(7, 5.0, dtype=np.float32)
    alike = {"threshold": 4.0, "liked_only": False, "power": 0.0}
    pair = user_knn(users, items, ratings, neighbours=1, **alike)
    scores = dict(zip(pair.item_ids.tolist(), (pair.user_vectors @ pair.item_vectors.T)[0].tolist(), strict=True))
    assert scores == pytest.approx({10: 2 / 6**0.5, 20: 2 / 6**0.5, 40: 2 / 6**0.5, 30: 0.0})
    pair = item_knn(users, items, ratings, neighbours=3, **alike)
    scores = dict(zip(pair.item_ids.tolist(), (pair.user_vectors @ pair.item_vectors.T)[0].tolist(), strict=True))
    # cos(40, 10) + cos(40, 20) and cos(30, 10) + cos(30, 20)
    assert (scores[40], scores[30]) == pytest.approx((1 / 3**0.5 + 1 / 2**0.5, 1 / 3**0.5))


def test_biased_mf_predicts_the_stars():
    users, items, ratings = two_tastes()
    pair = MODELS["biased_mf"](users, items, ratings)
    rows = {user: row for row, user in enumerate(pair.user_ids.tolist())}
    columns = {item: column for column, item in enumerate(pair.item_ids.tolist())}
    scores = (pair.user_vectors @ pair.item_vectors.T)[[rows[u] for u in users], [columns[i] for i in items]]
    np.testing.assert_allclose(scores, ratings, atol=0.5)


def test_lightgcn_without_layers_is_plain_factorization_and_layers_mix_neighbours():
    users, items = np.array([1, 1, 2]), np.array([5, 6, 6])
    ratings = np.full(3, 5.0, dtype=np.float32)
    # a step that changes nothing: what is left is the propagation of the initial factors
    still = {**pairwise, "learning_rate": 1e-12, "epochs": 1, "factors": 3}
    own, mixed = (lightgcn(users, items, ratings, layers=layers, **still) for layers in (0, 1))
    adjacent = np.array([[1.0, 1.0], [0.0, 1.0]])  # users 1, 2 and movies 5, 6
    strength = adjacent / np.sqrt(np.outer(adjacent.sum(axis=1), adjacent.sum(axis=0)))
    np.testing.assert_allclose(
        mixed.user_vectors, (own.user_vectors + strength @ own.item_vectors) / 2, rtol=1e-5, atol=1e-7
    )
    np.testing.assert_allclose(
        mixed.item_vectors, (own.item_vectors + strength.T @ own.user_vectors) / 2, rtol=1e-5, atol=1e-7
    )


def test_vbpr_scores_a_movie_that_nobody_chose_by_its_text():
    users, items, ratings = two_tastes()
    movies = np.unique(items)
    of_a_kind = np.where((movies < 510)[:, None], [1.0, 0.0], [0.0, 1.0]).astype(np.float32)
    nobody = (items != 500) | (ratings < 4)  # what stays of movie 500 is that some disliked it
    settings = {**pairwise, "factors": 1, "text_factors": 2}
    pair = vbpr(users[nobody], items[nobody], ratings[nobody], embeddings=(movies, of_a_kind), **settings)
    unknown, other = (int(np.flatnonzero(pair.item_ids == movie)[0]) for movie in (500, 510))
    scores = pair.user_vectors @ pair.item_vectors.T
    even = pair.user_ids % 2 == 0
    # told from the kind alone: who likes movies 501 to 509 gains from it more than who does not
    assert (scores[even, unknown] - scores[even, other]).mean() > (scores[~even, unknown] - scores[~even, other]).mean()


def test_vbpr_refuses_a_movie_without_a_text():
    users, items, ratings = two_tastes()
    texts = (np.arange(500, 519), np.ones((19, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="id 519 has no vector"):
        vbpr(users, items, ratings, embeddings=texts, factors=1, text_factors=1, **pairwise)


def test_sequences_are_in_the_order_of_time_and_of_rows_where_times_are_equal():
    users, items = np.array([7, 8, 7, 7, 8]), np.array([30, 10, 20, 10, 20])
    found = time_ordered(users, items, np.ones(5, dtype=np.float32), np.array([5, 9, 5, 1, 2]))
    assert [found.item_ids[sequence].tolist() for sequence in found.of_user] == [[10, 30, 20], [20, 10]]
    assert found.user_ids.tolist() == [7, 8]


def of_five_and_one() -> Sequences:
    """A user with the movies 0 to 4 in this order, and one with movie 0."""
    return time_ordered(
        np.array([1, 1, 1, 1, 1, 2]), np.array([5, 6, 7, 8, 9, 5]), np.ones(6, dtype=np.float32), np.arange(6)
    )


@pytest.mark.parametrize(("count", "before"), [(1, [5, 1]), (2, [1, 5, 1]), (3, [1, 3, 5, 1]), (9, [1, 2, 3, 4, 5, 1])])
def test_a_sequence_is_looked_at_from_its_end_and_from_places_spread_evenly(count, before):
    places = places_of(of_five_and_one(), count)
    assert places.before.tolist() == before
    assert places.users.tolist() == [0] * (len(before) - 1) + [1]


def test_before_a_place_the_latest_movies_are_looked_at():
    found = of_five_and_one()
    assert movies_before(found, places_of(found, 2), 2, padding=7).tolist() == [[7, 0], [3, 4], [7, 0]]


def test_around_a_place_stand_as_many_movies_as_fit_and_a_mask_at_it():
    found = of_five_and_one()
    rows, mask = movies_around(found, places_of(found, 3), 4, padding=7, mask=8)
    assert rows.tolist() == [[0, 8, 1, 2], [2, 8, 3, 4], [2, 3, 4, 8], [7, 7, 0, 8]]
    assert mask.tolist() == [1, 1, 3, 3]
    rows, mask = movies_around(found, places_of(found, 1), 9, padding=7, mask=8)
    assert rows[0].tolist() == [7, 7, 7, 0, 1, 2, 3, 4, 8]
    assert mask.tolist() == [8, 8]


def test_the_mean_over_the_places_of_each_user():
    states = np.array([[1, 0], [3, 6], [5, 0], [7, 7]], dtype=np.float32)
    found = mean_by_user(states, places_of(of_five_and_one(), 3))
    assert found.tolist() == [[3, 2], [7, 7]]
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("longest", "pieces"), [(None, [[0, 1, 2, 3, 4]]), (2, [[0], [1, 2], [3, 4]]), (9, [[0, 1, 2, 3, 4]])]
)
def test_a_long_sequence_is_learnt_in_pieces_the_last_one_whole(longest, pieces):
    found = time_ordered(np.ones(5, dtype=np.int64), np.arange(5), np.ones(5, dtype=np.float32), np.arange(5))
    dataset = sequential_dataset(found, longest=longest, seed=1)
    assert [dataset.uir_tuple[1][rows].tolist() for rows in dataset.sessions.values()] == pieces


def test_what_is_drawn_often_is_told_by_hand():
    # the first movie has 4 of 5 ratings, and 2 / (2 + 1) of their roots
    found = time_ordered(np.arange(5), np.array([7, 7, 7, 7, 9]), np.ones(5, dtype=np.float32), np.arange(5))
    often = popularity_unlearned(found, in_batch=5, drawn=3)
    np.testing.assert_allclose(often, np.log([5 * 4 / 5 + 3 * 2 / 3, 5 * 1 / 5 + 3 * 1 / 3]), rtol=1e-6)


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_where_neither_order_nor_taste_tells_anything_scores_are_the_log_of_how_often_a_movie_is_rated(name):
    generator = np.random.default_rng(0)
    chance = 1 / np.arange(1, 31)
    rated = [generator.choice(30, size=10, replace=False, p=chance / chance.sum()) for _ in range(60)]
    users, items = np.repeat(np.arange(60), 10), np.concatenate(rated)
    pair = MODELS[name](users, items, np.full(600, 5.0, np.float32))
    scores = (pair.user_vectors @ pair.item_vectors.T).mean(axis=0)
    slope, _ = np.polyfit(np.log(np.bincount(items)[pair.item_ids]), scores, 1)
    # without popularity_unlearned it is 0.2 and 0.1
    assert 0.75 < slope < 1.25


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


@pytest.mark.parametrize("model", [QUICK["lightgcn"], QUICK["vbpr"]], ids=["lightgcn", "vbpr"])
def test_a_descent_on_two_threads_gives_the_same_bytes(model):
    # sums of gradients this large are shared out among threads
    generator = np.random.default_rng(1)
    users, items = generator.integers(400, size=20_000), generator.integers(300, size=20_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (model(users, items, np.full(len(users), 5.0, np.float32), batch_size=8192) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert first.item_vectors.tobytes() == second.item_vectors.tobytes()


@pytest.mark.parametrize("model", [sasrec, bert4rec])
def test_a_model_of_sequences_refuses_ratings_without_times(model):
    users, items, ratings = two_tastes()
    settings = QUICK[model.__name__].keywords
    with pytest.raises(ValueError, match="all 586 have the timestamp 0; bring a timestamp column, or take another"):
        model(users, items, ratings, timestamps=np.zeros(len(users), dtype=np.int64), **settings)


@pytest.mark.parametrize("threshold", [0.3, 0.7, 4.1])
def test_a_rating_of_the_threshold_is_liked_whether_or_not_binary_numbers_can_say_it(threshold):
    rated = np.array([threshold], dtype=np.float32)
    assert interactions(np.array([1]), np.array([5]), rated, threshold=threshold, liked_only=True, power=0.0).matrix.nnz
    assert pl.Series(rated).to_frame("rating").filter(pl.col("rating") >= threshold).height, "as the tables say"


def test_what_is_drawn_against_a_choice_was_not_chosen():
    chosen = {(user, item) for user in range(4) for item in range(10) if (user + item) % 3}
    users = np.repeat(np.arange(4), 200)
    known = np.sort(np.array([user * 10 + item for user, item in chosen]))
    found = _not_chosen(users, known, 10, np.random.default_rng(0))
    pairs = set(zip(users.tolist(), found.tolist(), strict=True))
    assert pairs == {(user, item) for user in range(4) for item in range(10)} - chosen


@pytest.mark.parametrize("name", ["lightgcn", "vbpr"])
def test_another_seed_draws_other_movies(name):
    """From the same initial factors: by the seed of the draws alone."""

    def after(seed):
        weights = torch.ones(30, 2, requires_grad=True)
        items = torch.linspace(-1, 1, 40).reshape(20, 2)
        chosen = csr_matrix(np.random.default_rng(1).random((30, 20)) < 0.3)
        descend(
            [weights],
            lambda: (weights, items),
            chosen,
            epochs=1,
            batch_size=10,
            learning_rate=0.1,
            regularisation=0.0,
            seed=seed,
        )
        return weights.detach().numpy().tobytes()

    assert after(1) == after(1) != after(2)


def test_vbpr_learns_what_a_text_alone_says_of_how_many_like_a_movie():
    # everybody chooses movies of the one kind; movie 5 of that kind nobody chose, nor 15 of the other
    users, items = np.repeat(np.arange(30), 5), np.tile(np.arange(5), 30)
    some = np.array([[40, 5], [40, 15], [40, 16]])
    users, items = np.append(users, some[:, 0]), np.append(items, some[:, 1])
    ratings = np.append(np.full(150, 5.0), [1.0, 1.0, 5.0]).astype("f4")
    movies = np.unique(items)
    kind = np.where((movies <= 5)[:, None], [1.0, 0.0], [0.0, 1.0]).astype("f4")
    pair = vbpr(users, items, ratings, embeddings=(movies, kind), factors=1, text_factors=1, **pairwise)
    bias = dict(zip(pair.item_ids.tolist(), pair.item_vectors[:, -1].tolist(), strict=True))
    assert bias[5] > bias[15] + 0.05


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


@pytest.mark.parametrize("batch_size", [10, 40, 5000])
@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_how_often_a_movie_is_drawn_is_told_by_how_many_movies_a_step_learns_on(name, batch_size):
    """As it is before anything is learnt, but for what each movie begins with, which the batch does not change."""
    users, items, ratings = two_tastes()
    found = time_ordered(users, items, ratings, np.random.default_rng(4).permutation(len(users)))
    lengths = np.array([len(movies) for movies in found.of_user])

    def learnt_on(batch: int) -> float:
        if name == "sasrec":  # a movie after another is one lesson
            return min(batch, (lengths - 1).sum())
        pieces = np.ceil(lengths / 12).sum()  # of at most 12 movies, 0.3 of them hidden
        return 0.3 * lengths.sum() * min(1.0, batch / pieces)

    still = {"epochs": 1, "learning_rate": 1e-12}
    one, other = (
        QUICK[name](users, items, ratings, **still, batch_size=size).item_vectors[:, -1] for size in (batch_size, 20)
    )
    expected = [popularity_unlearned(found, in_batch=learnt_on(size), drawn=60) for size in (batch_size, 20)]
    np.testing.assert_allclose(one - other, expected[0] - expected[1], atol=1e-4)


def test_bert4rec_learns_a_bias_of_each_movie():
    users, items, ratings = two_tastes()
    pair = MODELS["bert4rec"](users, items, ratings)
    found = time_ordered(users, items, ratings, np.random.default_rng(4).permutation(len(users)))
    lengths = np.array([len(movies) for movies in found.of_user])
    often = popularity_unlearned(
        found, in_batch=0.3 * lengths.sum() * min(1.0, 16 / np.ceil(lengths / 12).sum()), drawn=60
    )
    assert np.ptp(pair.item_vectors[:, -1] - often) > 0.01
