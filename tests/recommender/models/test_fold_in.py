"""Fold-in: a training user's own ratings give what training gave, as closely as each model can."""

from functools import partial

import numpy as np
import pytest
from every_model import MODELS, descent
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.algorithms import ALGORITHMS
from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.models.fold_in import FOLD_INS, CannotFoldIn, Fitted, fold_in
from hybrid_assets.recommender.towers import TowerPair, positions


def settings_of(algorithm):
    return MODELS[algorithm].keywords


def folded(algorithm, settings, rows, model=None):
    """The trained pair, and the vectors that every user's own ratings are folded into."""
    users, items, ratings = rows
    pair = (model or MODELS[algorithm])(users, items, ratings)
    user_of = fold_in(algorithm, Fitted(pair, users, items, ratings), **settings)
    return pair, np.stack([user_of(items[users == user], ratings[users == user]) for user in pair.user_ids])


@pytest.mark.parametrize("few_users", [False, True])
def test_ease_scores_of_unrated_movies_are_the_trained_ones(few_users):
    users, items, ratings = two_tastes()
    kept = users < (112 if few_users else 200)
    rows = users, items, ratings = users[kept], items[kept], ratings[kept]
    pair, vectors = folded("ease", settings_of("ease"), rows)
    assert (len(pair.user_ids) < len(pair.item_ids)) == few_users
    unrated = np.ones((len(pair.user_ids), len(pair.item_ids)), dtype=bool)
    unrated[positions(pair.user_ids, users), positions(pair.item_ids, items)] = False
    trained, found = pair.user_vectors @ pair.item_vectors.T, vectors @ pair.item_vectors.T
    # float32 storage is all that differs
    np.testing.assert_allclose(found[unrated], trained[unrated], atol=1e-5)
    if not few_users:
        np.testing.assert_array_equal(vectors, pair.user_vectors)


@pytest.mark.parametrize("algorithm", ["item_knn", "most_popular", "sequence_ease", "text_ease"])
def test_models_whose_user_vector_is_no_result_of_training_give_it_exactly(algorithm):
    pair, vectors = folded(algorithm, settings_of(algorithm), two_tastes())
    np.testing.assert_array_equal(vectors, pair.user_vectors)


def test_user_knn_gives_somebody_who_was_left_out_the_vector_that_training_would_have():
    users, items, ratings = two_tastes()
    whole = MODELS["user_knn"](users, items, ratings)
    rest = users != 100
    left = MODELS["user_knn"](users[rest], items[rest], ratings[rest])
    user_of = fold_in("user_knn", Fitted(left, users[rest], items[rest], ratings[rest]), **settings_of("user_knn"))
    own = user_of(items[~rest], ratings[~rest])
    trained = whole.user_vectors[positions(whole.user_ids, np.array([100]))[0]]
    assert (own > 0).sum() == settings_of("user_knn")["neighbours"]
    # cosines of rows stored in float32
    np.testing.assert_allclose(own, trained[positions(whole.user_ids, left.user_ids)], atol=1e-6)


def test_als_agrees_with_training_as_far_as_that_has_converged():
    """The trained vectors are those of half an alternation before, so each alternation brings the two together."""

    def off(epochs):
        settings = settings_of("als") | {"epochs": epochs}
        pair, vectors = folded("als", settings, two_tastes(), partial(implicit_als, **settings))
        return np.abs(vectors - pair.user_vectors).max() / np.abs(pair.user_vectors).max()

    assert off(100) < 1e-3
    assert off(1) > 10 * off(100)


def test_biased_mf_agrees_with_a_converged_descent():
    settings = descent | {"epochs": 800, "learning_rate": 0.01}
    pair, vectors = folded("biased_mf", settings, two_tastes(), partial(biased_mf, **settings))
    # the descent keeps moving by about learning_rate x error around its minimum; stars are from 1 to 5
    assert np.abs((vectors - pair.user_vectors) @ pair.item_vectors.T).max() < 0.1


@pytest.mark.parametrize(("algorithm", "least"), [("pmf", 0.999), ("bpr", 0.9)])
def test_a_descent_scores_as_training_does(algorithm, least):
    """Correlation of each user's scores: PMF's descent ends near its minimum, BPR's draws keep it further away."""
    pair, vectors = folded(algorithm, settings_of(algorithm), two_tastes())
    trained, found = pair.user_vectors @ pair.item_vectors.T, vectors @ pair.item_vectors.T
    assert min(np.corrcoef(one, other)[0, 1] for one, other in zip(trained, found, strict=True)) > least


def test_pmf_predicts_the_stars_that_were_given():
    users, items, ratings = two_tastes()
    pair = MODELS["pmf"](users, items, ratings)
    user_of = fold_in("pmf", Fitted(pair, users, items, ratings), regularisation=1e-6)
    rated, stars = np.array([500, 501, 510]), np.array([5, 5, 1], dtype=np.float32)
    predicted = 1 / (1 + np.exp(-pair.item_vectors[positions(pair.item_ids, rated)] @ user_of(rated, stars)))
    np.testing.assert_allclose(predicted, [1, 1, 0], atol=0.05)


@pytest.mark.parametrize("algorithm", FOLD_INS)
def test_unknown_movies_are_of_no_account_and_nobody_is_without_a_vector(algorithm):
    users, items, ratings = two_tastes()
    pair = MODELS[algorithm](users, items, ratings)
    user_of = fold_in(algorithm, Fitted(pair, users, items, ratings), **settings_of(algorithm))
    one, both = np.array([500]), np.array([99, 500])
    with_unknown = user_of(both, np.array([1, 5], dtype=np.float32))
    assert with_unknown.dtype == np.float32
    np.testing.assert_array_equal(with_unknown, user_of(one, np.array([5], dtype=np.float32)))
    nothing = user_of(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
    assert nothing.shape == (pair.item_vectors.shape[1],)
    assert np.isfinite(nothing).all()
    with pytest.raises(ValueError, match="finite"):
        user_of(one, np.array([np.nan], dtype=np.float32))


@pytest.mark.parametrize("algorithm", sorted({*ALGORITHMS, "dream"} - set(FOLD_INS)))
def test_what_cannot_fold_in_says_which_can(algorithm):
    rows = two_tastes()
    fitted = Fitted(MODELS["most_popular"](*rows), *rows)
    with pytest.raises(CannotFoldIn, match=f"a {algorithm} model cannot.*these can: als, .*ease"):
        fold_in(algorithm, fitted)


def test_a_model_of_other_ratings_is_refused():
    users, items, ratings = two_tastes()
    pair = MODELS["ease"](users, items, ratings)
    with pytest.raises(ValueError, match="fitted on other ratings"):
        fold_in("ease", Fitted(pair, users[50:], items[50:], ratings[50:]), **settings_of("ease"))


def of_many_movies(algorithm, movies=700, **settings):
    """A model of 4 factors whose items are drawn at random; its fold-in."""
    generator = np.random.default_rng(0)
    width = {"pmf": 4, "bpr": 5, "biased_mf": 6}[algorithm]
    items = generator.normal(size=(movies, width)).astype("f4")
    if algorithm == "biased_mf":
        items[:, 4] = 1
    pair = TowerPair(np.array([1]), np.ones((1, width), "f4"), np.arange(movies), items)
    rated = np.array([1, 2, 3, 4, 5], dtype=np.float32)
    given = Fitted(pair, np.ones(5, np.int64), np.arange(5), rated)
    return pair, fold_in(algorithm, given, **settings)


def test_the_same_ratings_give_the_same_bpr_vector_and_another_seed_another():
    movies, stars = np.array([3, 9]), np.array([5, 4], dtype=np.float32)
    one, same, other = (of_many_movies("bpr", regularisation=0.1, seed=seed)[1](movies, stars) for seed in (1, 1, 2))
    assert one.tobytes() == same.tobytes() != other.tobytes()


def minimum(objective, at, step=1e-3):
    """Whether no small step lowers it."""
    here = objective(at)
    return all(objective(at + sign * step * unit) > here for unit in np.eye(len(at)) for sign in (1, -1))


def test_a_folded_in_vector_is_the_minimum_of_its_objective():
    movies, stars = np.arange(20, 26), np.array([1, 5, 4, 2, 5, 3], dtype=np.float32)
    pair, user_of = of_many_movies("pmf", regularisation=0.05)
    rows = pair.item_vectors[movies].astype(float)
    target = (stars - 1) / 4
    assert minimum(
        lambda u: ((target - 1 / (1 + np.exp(-rows @ u))) ** 2).sum() + 0.05 * 6 * u @ u,
        user_of(movies, stars).astype(float),
    )

    pair, user_of = of_many_movies("biased_mf", regularisation=0.05)
    rows = pair.item_vectors[movies].astype(float)
    own = user_of(movies, stars).astype(float)
    assert own[-1] == 1
    mean = 3.0  # of the ratings that it was fitted on

    def squares(u):  # factors and bias
        error = stars - mean - rows[:, 5] - u[4] - rows[:, :4] @ u[:4]
        return error @ error + 0.05 * 6 * u @ u

    assert minimum(squares, np.append(own[:4], own[4] - mean))

    pair, user_of = of_many_movies("bpr", movies=60, regularisation=0.05, seed=1)
    items = pair.item_vectors.astype(float)
    unrated = np.setdiff1d(np.arange(60), movies)
    own = user_of(movies, stars).astype(float)

    def lost(u):
        scores = items[:, :4] @ u + items[:, 4]
        return np.log1p(np.exp(-(scores[movies][:, None] - scores[unrated]))).mean() + 0.5 * 0.05 * u @ u

    assert own[-1] == 1
    assert minimum(lost, own[:4])
