"""Learned fusions as a whole: who teaches them where there is little to learn from."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hybrid_assets.recommender.learned_systems import USERS, learn, learn_for_newcomers
from hybrid_assets.recommender.stacking import TooFewRows
from hybrid_assets.recommender.stacking_features import feature_names
from hybrid_assets.specs import learned_spec
from hybrid_assets.system_settings import StackerSettings, SystemSettings


def test_too_few_newcomers_to_learn_from_are_ranked_as_users_are():
    stacker = StackerSettings(folds=2, trees=5, rankers=1, smallest_leaf=50)
    system = SystemSettings(models=("ease", "als"), fusion="stacked", stacker=stacker)
    names, generator = feature_names(system.model_names, []), np.random.default_rng(0)
    rows = [(fold, user) for fold, users in ((0, 20), (1, 20), (2, 2)) for user in range(users) for _ in range(10)]
    taught = pl.DataFrame(rows, schema={"fold": pl.UInt8, "user_id": pl.Int64}, orient="row").with_columns(
        movie_id=pl.int_range(pl.len()),
        hit=pl.Series(generator.integers(0, 2, len(rows)), dtype=pl.Int8),
        **{name: pl.Series(generator.random(len(rows)), dtype=pl.Float32) for name in names},
    )
    said: list[str] = []
    spec = learned_spec(system, 4.0)
    found = learn(spec, taught, said.append)
    assert found["who"].to_list() == [USERS]
    assert any(
        "newcomers will be ranked as users are: no tree" in told and "smallest_leaf = 50" in told for told in said
    )
    assert learn_for_newcomers(spec, taught, lambda rows: rows, 1, said.append).equals(found)
    with pytest.raises(TooFewRows, match="its 400 rows"):
        learn(replace(spec, trees={**spec.trees, "smallest_leaf": 999}), taught, print)
