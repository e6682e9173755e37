"""How much a rating counts for a model of choices, by hand."""

from functools import partial

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.models.interactions import interactions


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


@pytest.mark.parametrize("threshold", [0.3, 0.7, 4.1])
def test_a_rating_of_the_threshold_is_liked_whether_or_not_binary_numbers_can_say_it(threshold):
    rated = np.array([threshold], dtype=np.float32)
    assert interactions(np.array([1]), np.array([5]), rated, threshold=threshold, liked_only=True, power=0.0).matrix.nnz
    assert pl.Series(rated).to_frame("rating").filter(pl.col("rating") >= threshold).height, "as the tables say"
