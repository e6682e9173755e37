"""Candidates and what models and texts tell of them: the best by the models, by hand, in whatever block."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_fusion import known, model, noise, texts
from planted_ratings import facts, tastes

from hybrid_assets.recommender.learned.context import GENRE_LIFT
from hybrid_assets.recommender.learned.features import (
    aligned,
    candidate_blocks,
    candidate_features,
    centred_content,
    content_features,
    feature_names,
    known_from,
    rows_by_block,
    shortlists,
)
from hybrid_assets.recommender.systems import candidates
from hybrid_assets.recommender.towers import TowerPair


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 100))
def test_candidates_are_the_best_by_score_and_of_equal_ones_the_first(size, levels, seed):
    """A single model gives movies one of a few scores, so that most are equal: as in a stable sort of all of them."""
    ratings = tastes(users=4)
    pool = candidates(ratings)
    scores = np.random.default_rng(seed).integers(0, levels, len(pool.item_ids)).astype(np.float32)
    pair = TowerPair(pool.user_ids, np.ones((4, 1), np.float32), pool.item_ids, scores[:, None])
    (block,) = candidate_blocks(known_from(ratings, {"few": pair}, facts(ratings), 4.0), size, lambda block: block)
    for user in range(4):
        unrated = np.setdiff1d(np.arange(len(scores)), pool.seen[1][slice(*pool.seen[0][user : user + 2])])
        expected = unrated[np.argsort(-scores[unrated], kind="stable")][:size]
        assert block.items[block.users == user].tolist() == expected.tolist()


def test_candidates_are_chosen_by_standardised_scores_and_told_both_by_hand():
    """A model that scores in hundreds decides no more than one that scores in ones."""
    ratings = pl.DataFrame(
        {"user_id": [1, 2, 2, 2, 2], "movie_id": [50, 10, 20, 30, 40], "rating": 4.0, "timestamp": 0}
    )

    def scoring(*scores: float) -> TowerPair:
        """Of films 10 to 40, which user 1 has not rated, and 50."""
        items = np.array(scores, dtype=np.float32)[:, None]
        return TowerPair(np.array([1, 2]), np.ones((2, 1), np.float32), np.array([10, 20, 30, 40, 50]), items)

    models = {
        "large": scoring(200, 400, 200, 400, 9000),  # mean 300, deviation 100
        "small": scoring(3, 1, 1, -5, 90),  # mean 0, deviation 3
    }
    (block,) = candidate_blocks(known_from(ratings, models, facts(ratings), 4.0), 2, lambda block: block)
    first = block.users == 0
    assert candidates(ratings).item_ids[block.items[first]].tolist() == [20, 10], "by the sum of scores 20 and 40"
    found = {name: values[first].tolist() for name, values in block.features.items()}
    assert (found["large.score"], found["small.score"]) == ([400, 200], [1, 3])
    assert found["large.z"] == pytest.approx([1, -1])
    assert found["small.z"] == pytest.approx([1 / 3, 1])


def test_only_beside_texts_a_fusion_sees_genres():
    ratings = tastes()
    (block,) = candidate_blocks(known(ratings), 7, lambda block: block)
    assert list(block.features) == candidate_features(["ease", "noise"])
    assert set(candidate_features(["ease", "noise"])) - set(feature_names(["ease", "noise"], [])) == {GENRE_LIFT}
    assert GENRE_LIFT in feature_names(["ease", "noise"], ["text"])


def test_a_model_that_does_not_choose_is_told_of_what_the_others_chose():
    ratings = tastes()
    pairs = {"ease": model(ratings), "noise": noise(ratings)}
    alone = known_from(ratings, {"ease": pairs["ease"]}, facts(ratings), 4.0)
    both = known_from(ratings, pairs, facts(ratings), 4.0)
    (chosen,) = candidate_blocks(alone, 7, lambda block: block)
    told = content_features(ratings, alone.pool, {}, 4.0, {"noise": both.models["noise"]})(chosen.users, chosen.items)
    vectors, items = both.models["noise"]
    scores = (vectors[chosen.users] * items[chosen.items]).sum(axis=1)
    np.testing.assert_allclose(told["noise.score"], scores, atol=1e-5)
    (all_movies,) = candidate_blocks(both, len(both.pool.item_ids), lambda block: block)
    of_pair = dict(
        zip(zip(all_movies.users, all_movies.items, strict=True), all_movies.features["noise.z"], strict=True)
    )
    expected = [of_pair[pair] for pair in zip(chosen.users, chosen.items, strict=True)]
    np.testing.assert_allclose(told["noise.z"], expected, atol=1e-5)


def test_a_shortlist_holds_the_candidates_by_their_ids():
    ratings = tastes(users=150)
    of = known(ratings)
    table = shortlists(of, 7)
    assert table.columns == ["user_id", "movie_id", *candidate_features(["ease", "noise"])]
    blocks = candidate_blocks(of, 7, lambda block: block)
    assert table["user_id"].to_list() == [int(of.pool.user_ids[user]) for block in blocks for user in block.users]
    assert table["movie_id"].to_list() == [int(of.pool.item_ids[item]) for block in blocks for item in block.items]
    assert [len(range(*rows.indices(table.height))) for rows in rows_by_block(np.repeat(np.arange(150), 7))] == [
        len(block.users) for block in blocks
    ]


def test_candidates_are_unrated_and_the_best_by_the_models():
    ratings = tastes()
    rated = set(ratings.select("user_id", "movie_id").rows())
    pool = candidates(ratings)
    for block in candidate_blocks(known(ratings), 7, lambda block: block):
        pairs = list(zip(pool.user_ids[block.users].tolist(), pool.item_ids[block.items].tolist(), strict=True))
        assert not rated & set(pairs)
        assert set(np.unique(block.users, return_counts=True)[1].tolist()) == {7}


def test_what_texts_tell_of_a_candidate_by_hand_and_in_whatever_block_its_user_is():
    ratings = tastes(users=150)
    pool, (text,) = candidates(ratings), texts(ratings).values()
    features = content_features(ratings, pool, aligned({"text": text}, pool), 4.0)
    users = np.repeat(np.arange(150), 60)
    items = np.tile(np.arange(60), 150)
    found = features(users, items)
    kind = {int(movie): text.item_vectors[place] for place, movie in enumerate(text.item_ids)}
    for row in (0, 64 * 60 - 1, 64 * 60, 149 * 60 + 7):
        user, movie = pool.user_ids[users[row]], int(pool.item_ids[items[row]])
        own = ratings.filter(pl.col("user_id") == user)
        profile = text.user_vectors[text.user_ids == user][0]
        free = [profile @ kind[other] for other in kind if other not in own["movie_id"]]
        assert found["text.score"][row] == pytest.approx(profile @ kind[movie], abs=1e-6)
        assert found["text.z"][row] == pytest.approx((profile @ kind[movie] - np.mean(free)) / np.std(free), abs=1e-3)
        liked = own.filter(pl.col("rating") >= 4)["movie_id"]
        near = sorted(kind[other] @ kind[movie] for other in liked)
        assert found["text.closest"][row] == pytest.approx(np.mean(near[-3:]), abs=1e-6)
    some = np.array([5, 64 * 60, 64 * 60 + 1, 8999])
    for name, values in features(users[some], items[some]).items():
        np.testing.assert_allclose(values, found[name][some], rtol=1e-6)
    disliked = ratings.with_columns(rating=pl.lit(1.0))
    nobody = content_features(disliked, pool, aligned({"text": text}, pool), 4.0)(users[:3], items[:3])
    assert np.isnan(nobody["text.closest"]).all()


def test_content_is_the_cosine_without_the_common_direction():
    ratings = pl.DataFrame({"user_id": [1, 1, 2], "movie_id": [10, 20, 30], "rating": [5.0, 2.0, 5.0]})
    embeddings = np.array([[0, 0, 1], [3, 0, 1], [0, 3, 1], [9, 9, 9]], dtype=np.float32)
    pair = centred_content(ratings, np.array([10, 20, 30, 40]), embeddings, 4.0)
    assert pair.item_ids.tolist() == [10, 20, 30], "a film that nobody rated is no candidate and moves no mean"
    centred = np.array([[-1, -1, 0], [2, -1, 0], [-1, 2, 0]]) / np.sqrt([[2], [5], [5]])
    np.testing.assert_allclose(pair.item_vectors, centred, atol=1e-6)
    np.testing.assert_allclose(pair.user_vectors, centred[[0, 2]], atol=1e-6)
