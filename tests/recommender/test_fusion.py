"""Normalisations by hand, and the choice of a weight."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender.fusion import (
    ALPHA_GRID,
    best_alpha,
    best_weights,
    identity,
    min_max_over_candidates,
    min_max_over_train,
    sigmoid,
    z_score_over_candidates,
)

ROW = [2.0, 6.0, 4.0, 10.0]


def normalised(function, rated: list[int], row: list[float] = ROW) -> list[float]:
    seen = (torch.zeros(len(rated), dtype=torch.long), torch.tensor(rated, dtype=torch.long))
    return function(torch.tensor([row]), seen)[0].tolist()


def test_each_normalisation_by_hand():
    assert normalised(identity, [3]) == ROW
    assert normalised(sigmoid, [3], [0.0, np.log(3)]) == pytest.approx([1 / 2, 3 / 4])
    assert normalised(min_max_over_train, [3]) == [0, 1 / 2, 1 / 4, 1]
    assert normalised(min_max_over_candidates, [3])[:3] == [0, 1, 1 / 2]


def test_equal_scores_and_no_candidates_give_zeros():
    assert normalised(min_max_over_train, [], [7.0, 7.0]) == [0, 0]
    assert normalised(min_max_over_candidates, [0], [1.0, 7.0, 7.0])[1:] == [0, 0]
    assert normalised(min_max_over_candidates, [0, 1], [1.0, 7.0]) == [0, 0]


def test_equal_scores_stay_equal_whatever_rounding_makes_of_their_mean():
    scores = torch.full((1, 9000), 0.1)
    assert not z_score_over_candidates(scores, (torch.zeros(0, dtype=torch.long),) * 2).any()


def test_z_scores_are_those_of_the_unrated_movies():
    # 2, 6, 4: mean 4, variance 8/3
    assert normalised(z_score_over_candidates, [3])[:3] == pytest.approx([-(1.5**0.5), 1.5**0.5, 0])
    assert normalised(z_score_over_candidates, [0], [1.0, 7.0, 7.0])[1:] == [0, 0]
    assert normalised(z_score_over_candidates, [0, 1], [1.0, 7.0]) == [0, 0]


def of_each(quality):
    return lambda weightings: [quality(weights) for weights in weightings]


def test_the_best_weights_are_found_one_branch_at_a_time():
    weights, tried = best_weights(of_each(lambda w: -abs(w[0] - 2) - abs(w[1]) - abs(w[2] - 0.25)), 3)
    assert weights == (2.0, 0.0, 0.25)
    assert dict(tried)[weights] == max(quality for _, quality in tried)
    assert best_weights(of_each(lambda w: 1.0), 3)[0] == (1.0, 1.0, 1.0), "only a better quality changes a weight"
    assert any(best_weights(of_each(lambda w: -sum(w)), 2)[0])


def test_a_branch_is_weighed_again_when_another_ones_weight_has_changed():
    """Best is 2 w1 - |w0 - w1|: at w1 = 1 that wants w0 = 1, then it wants w1 = 2, and of that, later, w0 = 2."""
    quality = of_each(lambda w: 2 * w[1] - abs(w[0] - w[1]))
    assert best_weights(quality, 2)[0] == (2.0, 2.0)


def test_the_best_weight_is_found_and_of_equal_ones_the_largest():
    weights, tried = best_alpha(of_each(lambda w: -((w[0] - 0.35) ** 2)))
    assert weights == (0.35, 0.65)
    assert dict(tried)[weights] == 0
    assert len(tried) == len(ALPHA_GRID) == 21
    assert best_alpha(of_each(lambda w: 1.0))[0] == (1.0, 0.0)


# few different values, so that many are equal; and a span too small to divide by
cells = st.sampled_from([-3.0, -1.5, 0.0, 1e-40, 0.5, 2.0, 7.0])
blocks = st.integers(1, 6).flatmap(
    lambda items: st.lists(st.tuples(*[st.tuples(cells, st.booleans())] * items), min_size=1, max_size=4)
)


def scaled(row: np.ndarray, over: np.ndarray) -> np.ndarray:
    span = np.ptp(over) if len(over) else 0.0
    return (row - over.min()) / span if span > 1e-30 else np.zeros(len(row))


@settings(max_examples=100)
@given(blocks)
def test_each_normalisation_is_its_formula_for_each_user(block):
    scores = np.array([[cell for cell, _ in row] for row in block], dtype=np.float32)
    rated = np.array([[is_rated for _, is_rated in row] for row in block])
    seen = tuple(torch.from_numpy(index) for index in np.nonzero(rated))
    train, candidates = (
        function(torch.from_numpy(scores.copy()), seen).numpy()
        for function in (min_max_over_train, min_max_over_candidates)
    )
    np.testing.assert_allclose(sigmoid(torch.from_numpy(scores.copy()), seen), 1 / (1 + np.exp(-scores)), rtol=1e-6)
    for user, row in enumerate(scores):
        free = ~rated[user]
        np.testing.assert_allclose(train[user], scaled(row, row), atol=1e-6)
        np.testing.assert_allclose(candidates[user, free], scaled(row[free], row[free]), atol=1e-6)


def test_the_order_of_the_grid_does_not_decide_between_equal_weights():
    assert best_alpha(of_each(lambda w: min(w[0], 0.5)), [1.0, 0.5, 0.0])[0] == (1.0, 0.0)
    assert best_alpha(of_each(lambda w: -w[0]), [1.0, 0.0]) == ((0.0, 1.0), [((1.0, 0.0), -1.0), ((0.0, 1.0), 0.0)])
