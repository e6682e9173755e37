"""Who and what falls into which stratum, and the means of each by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_assets.recommender.strata import activity_strata, strata_table

COUNTS = np.array([40, 20, 19, 10, 1])
RULES = {"seed": 0, "resamples": 100, "confidence": 0.95}


def users(**changes) -> pl.DataFrame:
    """Six users, two in each tercile; each has one relevant movie of the head, the first three one of the tail."""
    table = {
        "user_id": range(6),
        "train_ratings": [10, 11, 20, 21, 300, 400],
        "ndcg": [0.0, 0.2, 0.3, 0.5, 1.0, 1.0],
        "relevant_head": [1] * 6,
        "hits_head": [1, 1, 1, 0, 0, 0],
        "relevant_middle": [0] * 6,
        "hits_middle": [0] * 6,
        "relevant_tail": [2, 1, 1, 0, 0, 0],
        "hits_tail": [1, 0, 0, 0, 0, 0],
    }
    return pl.DataFrame(table | changes)


def test_the_means_of_each_stratum_by_hand():
    table = strata_table({"ease": users()}, COUNTS, **RULES)
    found = {(row["by"], row["stratum"]): row for row in table.iter_rows(named=True)}
    assert [found["user activity", name]["value"] for name in ("few", "middle", "many")] == pytest.approx([0.1, 0.4, 1])
    assert [found["user activity", name]["members"] for name in ("few", "middle", "many")] == [2, 2, 2]
    assert (found["user activity", "many"]["fewest"], found["user activity", "many"]["most"]) == (300, 400)
    head, middle, tail = (found["movie popularity", name] for name in ("head", "middle", "tail"))
    assert (head["value"], head["users"]) == (0.5, 6)
    assert (middle["value"], middle["users"], middle["members"]) == (None, 0, 1)
    assert (tail["value"], tail["users"], tail["members"]) == (pytest.approx(1 / 6), 3, 3)
    assert (tail["fewest"], tail["most"]) == (1, 19)


def test_intervals_hold_the_value_and_the_same_seed_gives_the_same_table():
    table = strata_table({"ease": users(), "other": users(ndcg=[0.5] * 6)}, COUNTS, **RULES)
    some = table.drop_nulls("value")
    assert ((some["low"] <= some["value"]) & (some["value"] <= some["high"])).all()
    assert table.equals(strata_table({"ease": users(), "other": users(ndcg=[0.5] * 6)}, COUNTS, **RULES))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_who_rated_more_is_in_no_lower_stratum_and_equals_stay_together(counts):
    strata = activity_strata(np.array(counts))
    assert strata.min() == 0
    assert strata.max() <= 2
    order = np.argsort(counts, kind="stable")
    assert (np.diff(strata[order]) >= 0).all()
    assert all(len(set(strata[np.array(counts) == count])) == 1 for count in set(counts))
    # each stratum's upper edge is a user's own count, so that none is far below its third
    assert (strata == 0).sum() >= len(counts) / 3


def test_where_all_rated_as_many_there_is_one_stratum():
    table = strata_table({"ease": users(train_ratings=[7] * 6)}, COUNTS, **RULES)
    few, middle, many = (
        table.filter(by="user activity", stratum=name).row(0, named=True) for name in ("few", "middle", "many")
    )
    assert (few["users"], middle["users"], many["users"]) == (6, 0, 0)
    assert (many["value"], many["fewest"]) == (None, None)


def test_without_systems_there_are_no_rows():
    assert strata_table({}, COUNTS, **RULES).is_empty()
