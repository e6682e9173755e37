"""Fold-in: a training user's own ratings give what training gave, as closely as each model can."""

from functools import partial

import numpy as np
import pytest
from test_models import MODELS, descent, two_tastes

from hybrid_assets.recommender.fold_in import FOLD_INS, CannotFoldIn, Fitted, fold_in
from hybrid_assets.recommender.models.als import implicit_als
from hybrid_assets.recommender.models.biased_mf import biased_mf
from hybrid_assets.recommender.towers import positions


def settings_of(algorithm):
    return MODELS[algorithm].keywords


def folded(algorithm, model, users, items, ratings, settings):
    """Scores by the trained and by the folded-in vectors of every user: two (users, items)."""
    pair = model(users, items, ratings)
    user_of = fold_in(algorithm, Fitted(pair, users, items, ratings), **settings)
    vectors = np.stack([user_of(items[users == user], ratings[users == user]) for user in pair.user_ids])
    return pair, pair.user_vectors @ pair.item_vectors.T, vectors @ pair.item_vectors.T, vectors


@pytest.mark.parametrize("few_users", [False, True])
def test_ease_scores_of_unrated_movies_are_the_trained_ones(few_users):
    users, items, ratings = two_tastes()
    if few_users:
        kept = users < 112
        users, items, ratings = users[kept], items[kept], ratings[kept]
    pair, trained, found, _ = folded("ease", MODELS["ease"], users, items, ratings, settings_of("ease"))
    assert (len(pair.user_ids) < len(pair.item_ids)) == few_users
    unrated = np.ones(trained.shape, dtype=bool)
    unrated[positions(pair.user_ids, users), positions(pair.item_ids, items)] = False
    # float32 storage is all that differs
    np.testing.assert_allclose(found[unrated], trained[unrated], atol=1e-5)


@pytest.mark.parametrize("algorithm", ["item_knn", "most_popular"])
def test_models_whose_user_vector_is_no_result_of_training_give_it_exactly(algorithm):
    pair, _, _, vectors = folded(algorithm, MODELS[algorithm], *two_tastes(), settings_of(algorithm))
    np.testing.assert_array_equal(vectors, pair.user_vectors)


def test_user_knn_gives_somebody_who_was_left_out_the_vector_that_training_would_have():
    users, items, ratings = two_tastes()
    whole = MODELS["user_knn"](users, items, ratings)
    rest = users != 100
    left = MODELS["user_knn"](users[rest], items[rest], ratings[rest])
    user_of = fold_in("user_knn", Fitted(left, users[rest], items[rest], ratings[rest]), **settings_of("user_knn"))
    own = user_of(items[~rest], ratings[~rest])
    trained = whole.user_vectors[positions(whole.user_ids, np.array([100]))[0]]
    np.testing.assert_allclose(own, trained[positions(whole.user_ids, left.user_ids)], atol=1e-6)


def test_als_agrees_with_training_as_far_as_that_has_converged():
    settings = settings_of("als") | {"epochs": 100}
    pair, trained, found, vectors = folded("als", partial(implicit_als, **settings), *two_tastes(), settings)
    # the trained vectors are those of half an alternation before, solved in float32
    np.testing.assert_allclose(vectors, pair.user_vectors, atol=1e-3 * np.abs(pair.user_vectors).max())
    early = settings | {"epochs": 1}
    pair, _, _, vectors = folded("als", partial(implicit_als, **early), *two_tastes(), early)
    assert np.abs(vectors - pair.user_vectors).max() > 1e-3 * np.abs(pair.user_vectors).max()


def test_biased_mf_agrees_with_a_converged_descent():
    settings = descent | {"epochs": 3000, "learning_rate": 0.01}
    pair, trained, found, _ = folded("biased_mf", partial(biased_mf, **settings), *two_tastes(), settings)
    # one step of the descent moves a prediction by about learning_rate x error; the scale is 1 to 5 stars
    assert np.abs(found - trained).max() < 0.1


@pytest.mark.parametrize("algorithm", ["pmf", "bpr"])
def test_descents_rank_as_training_does(algorithm):
    users, items, ratings = two_tastes()
    pair, trained, found, _ = folded(algorithm, MODELS[algorithm], users, items, ratings, settings_of(algorithm))
    correlations = [np.corrcoef(one, other)[0, 1] for one, other in zip(trained, found, strict=True)]
    print(algorithm, min(correlations), np.median(correlations))
    assert min(correlations) > 0.5
