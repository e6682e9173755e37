"""The search over settings: seeded, goes on where it was stopped, and sees the validation part alone."""

import os
import signal
import subprocess
import sys
import typing

import numpy as np
import polars as pl
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from hybrid_assets.model_settings import ModelSettings
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.model_search import (
    Trial,
    _open,
    best_of,
    cannot_be_tried,
    search,
    trial_of,
    validation_quality,
)
from hybrid_assets.recommender.models.algorithms import ALGORITHMS
from hybrid_assets.recommender.models.search_spaces import search_space
from hybrid_assets.recommender.towers import TowerPair

SPACE = {"x": FloatDistribution(-2.0, 2.0), "up": CategoricalDistribution([False, True])}
START = {"x": 1.5, "up": False}
KINDS = typing.get_args(typing.get_args(ModelSettings)[0])


def hill(settings) -> float:
    """Highest, 1.0, at x = 0.5 with up."""
    return 1.0 - (settings["x"] - 0.5) ** 2 - (not settings["up"])


def run(tmp_path, trials: int, quality=hill, start=START, **more) -> list[Trial]:
    given = {"identity": "a", "timeout": None, "seed": 1, "told": lambda made: None} | more
    return search(quality, SPACE, start, file=tmp_path / "t" / "trials.jsonl", trials=trials, **given)


def plain(trials: list[Trial]) -> list[tuple]:
    return [(trial.number, dict(trial.settings), trial.quality) for trial in trials]


def test_the_first_trial_is_the_catalogs_and_the_best_is_near_the_top(tmp_path):
    trials = run(tmp_path, 40)
    assert trials[0].settings == START
    assert [trial.number for trial in trials] == list(range(40))
    assert best_of(trials).settings["up"]
    assert best_of(trials).quality > 0.95
    assert best_of(trials).quality == max(trial.quality for trial in trials)


def test_of_equal_trials_the_earliest_is_the_best():
    assert best_of([Trial(0, {}, 0.5, 1.0, ""), Trial(1, {}, 0.5, 1.0, "")]).number == 0


def test_in_parts_it_finds_what_it_finds_in_one_go(tmp_path):
    whole = run(tmp_path / "whole", 14)
    for parts in (3, 12, 14):
        parted = run(tmp_path / "parts", parts)
    assert plain(parted) == plain(whole)
    assert plain(run(tmp_path / "other", 14, seed=2)) != plain(whole)


def test_a_catalog_that_changed_since_is_tried_next_and_known_by_its_settings(tmp_path):
    other = {"x": 0.25, "up": True}
    assert trial_of(run(tmp_path, 3), other) is None
    assert trial_of(run(tmp_path, 3, start=other), other) is None, "as many trials as asked for"
    trials = run(tmp_path, 6, start=other)
    assert trial_of(trials, other) == trials[3]
    assert trial_of(trials, START) == trials[0]
    assert [trial.settings for trial in trials].count(other) == 1


def test_the_catalogs_settings_are_tried_with_all_their_digits(tmp_path):
    exact = {"x": 0.123456789, "up": True}
    trials = run(tmp_path, 2, start=exact)
    assert trials[0].settings == exact
    assert trial_of(run(tmp_path, 2, start=exact), exact) == trials[0]


def test_settings_that_a_logarithm_cannot_reach_are_left_out_and_named(tmp_path):
    space = {"x": FloatDistribution(0.01, 1.0, log=True), "up": CategoricalDistribution([False, True])}
    none = {"x": 0.0, "up": True}
    assert cannot_be_tried(space, none) == ["x"]
    assert cannot_be_tried(space, START) == []
    given = {"identity": "a", "timeout": None, "seed": 1, "told": lambda made: None}
    trials = search(hill, space, none, file=tmp_path / "trials.jsonl", trials=2, **given)
    assert len(trials) == 2
    assert all(trial.settings["x"] > 0 for trial in trials)


def test_a_line_that_was_cut_is_as_if_it_had_never_been_begun(tmp_path):
    whole = run(tmp_path, 3)
    with (tmp_path / "t" / "trials.jsonl").open("a") as journal:
        journal.write('{"op_code": 4, "wor')
    assert plain(run(tmp_path, 3)) == plain(whole)
    assert len(run(tmp_path, 5)) == 5


def test_the_same_call_again_makes_no_trial(tmp_path):
    told: list[int] = []
    run(tmp_path, 3, told=lambda made: told.append(len(made)))
    assert len(run(tmp_path, 3, told=lambda made: told.append(len(made)))) == 3
    assert told == [1, 2, 3]


def test_a_search_of_something_else_starts_anew(tmp_path):
    run(tmp_path, 3)
    assert len(run(tmp_path, 2, identity="b")) == 2


def test_a_trial_that_was_killed_is_made_again(tmp_path):
    script = f"""
import os, signal
from pathlib import Path
import sys; sys.path[:0] = {[os.path.dirname(os.path.dirname(__file__)), os.path.dirname(__file__)]!r}
from recommender.test_model_search import hill, run
def killed(settings, seen=[]):
    seen.append(settings)
    if len(seen) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return hill(settings)
run(Path({str(tmp_path)!r}), 5, quality=killed)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert plain(run(tmp_path, 5)) == plain(run(tmp_path / "whole", 5))


def test_a_trial_whose_end_was_not_written_is_made_again(tmp_path):
    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "cut", 3)
    asked = _open(tmp_path / "cut" / "t" / "trials.jsonl", "a").ask(dict(SPACE))
    for name, value in (("settings", {"x": 1.0, "up": True}), ("seconds", 1.0), ("problem", "")):
        asked.set_user_attr(name, value)
    assert plain(run(tmp_path / "cut", 4)) == plain(whole)


def test_settings_that_cannot_be_fitted_are_told_and_passed_over(tmp_path):
    def fragile(settings) -> float:
        if settings["up"]:
            raise ValueError("the descent diverged")
        return hill(settings)

    trials = run(tmp_path, 12, quality=fragile)
    failed = [trial for trial in trials if trial.quality is None]
    assert failed
    assert {trial.problem for trial in failed} == {"the descent diverged"}
    assert not best_of(trials).settings["up"]
    assert plain(run(tmp_path, 12, quality=fragile)) == plain(trials)
    with pytest.raises(ValueError, match="no trial could be fitted; the last one: the descent diverged"):
        best_of(failed)


def test_after_the_time_no_trial_is_started(tmp_path):
    assert run(tmp_path, 5, timeout=0.0) == []


def test_a_trial_is_measured_with_the_digits_that_are_shown(tmp_path):
    seen: list[float] = []
    trials = run(tmp_path, 5, quality=lambda settings: seen.append(settings["x"]) or 0.0)
    assert [trial.settings["x"] for trial in trials] == seen == [float(f"{x:.3g}") for x in seen]


def test_the_quality_is_the_ndcg_of_the_lists_on_the_validation_part():
    train = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 2, 2, 2, 2],
            "movie_id": [10, 20, 30, 30, 40, 10, 20],
            "rating": pl.Series([5, 5, 4, 5, 5, 2, 5], dtype=pl.Float32),
            "timestamp": range(7),
            "validation": [False, False, True, False, False, True, True],
        }
    )
    # scores fall from movie 10 to 40: user 1 is offered 30, 40 and liked 30; user 2 10, 20 and liked the second
    pair = TowerPair(
        np.array([1, 2]),
        np.ones((2, 1), dtype=np.float32),
        np.array([10, 20, 30, 40]),
        np.array([[4], [3], [2], [1]], dtype=np.float32),
    )
    expected = ndcg(np.array([[0, 1], [0, 1]]), (np.array([0, 1, 2]), np.array([0, 1])))
    assert validation_quality(train, k=2, threshold=4.0)(pair) == pytest.approx(float(expected.mean()))
    with pytest.raises(ValueError, match=r"lower evaluation\.relevance_threshold"):
        validation_quality(train, k=2, threshold=6.0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_is_searched_are_settings_and_both_ends_of_a_range_are_allowed(kind):
    [algorithm] = typing.get_args(kind.model_fields["algorithm"].annotation)
    assert algorithm in ALGORITHMS
    if algorithm == "most_popular":
        with pytest.raises(ValueError, match="most_popular has nothing to search; models that have: pmf"):
            search_space(algorithm)
        return
    needed = {"algorithm": algorithm} | ({"encoder": "minilm"} if "encoder" in kind.model_fields else {})
    defaults = kind(**needed)
    for name, values in search_space(algorithm).items():
        ends = values.choices if isinstance(values, CategoricalDistribution) else (values.low, values.high)
        for end in ends:
            kind(**needed, **{name: end})
        current = getattr(defaults, name)
        assert values._contains(values.to_internal_repr(current)), f"the default of {name} is outside its range"
