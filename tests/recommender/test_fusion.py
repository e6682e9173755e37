"""Normalisations by hand, and the choice of a weight."""

import numpy as np
import pytest
import torch

from hybrid_assets.recommender.fusion import (
    ALPHA_GRID,
    best_alpha,
    identity,
    min_max_over_candidates,
    min_max_over_train,
    sigmoid,
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


def test_the_best_weight_is_found_and_of_equal_ones_the_largest():
    alpha, curve = best_alpha(lambda a: -((a - 0.35) ** 2))
    assert alpha == 0.35
    assert len(curve) == len(ALPHA_GRID) == 21
    assert best_alpha(lambda a: 1.0)[0] == 1.0
