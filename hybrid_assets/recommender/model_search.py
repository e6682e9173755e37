"""Settings of a model chosen on the validation part of train: a seeded search that goes on where it was stopped.

Belongs here: what a trial is worth, and the search over trials. Does not: where each model is searched
(models/search_spaces.py), fitting a model, fusion weights (systems.py).
"""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.ranking import rank
from hybrid_assets.recommender.systems import system_branches, validation_task
from hybrid_assets.recommender.towers import TowerPair

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

# Digits of a searched number: few enough to write down, and the trial is measured with what is written down.
DIGITS = 3


@dataclass(frozen=True)
class Trial:
    """One set of settings and what it is worth.

    Attributes:
        number: 0 for the settings that the catalog had at first.
        settings: what was searched.
        quality: mean NDCG@k on validation; None where the model could not be fitted.
        seconds: fitting and ranking.
        problem: why it could not, else empty.
    """

    number: int
    settings: Mapping[str, Any]
    quality: float | None
    seconds: float
    problem: str


def validation_quality(train: pl.DataFrame, *, k: int, threshold: float) -> Callable[[TowerPair], float]:
    """A function: tower pair fitted on train without its validation part -> mean NDCG@k of its lists there.

    Args:
        train: train ratings with the column `validation`; no other rating is ever seen.
        k: cutoff.
        threshold: a validation rating of at least this is relevant.

    Raises:
        ValueError: no user has a relevant movie in the validation part.
    """
    pool, users, relevant = validation_task(train, threshold)

    def quality(pair: TowerPair) -> float:
        lists = rank(system_branches({"model": pair}, pool, "convex"), pool.seen, k).items
        return float(ndcg(lists[users], relevant).mean())

    return quality


def search(
    quality: Callable[[Mapping[str, Any]], float],
    space: "Mapping[str, BaseDistribution]",
    current: Mapping[str, Any],
    *,
    identity: str,
    file: Path,
    trials: int,
    timeout: float | None,
    seed: int,
    told: Callable[[list[Trial]], None],
) -> list[Trial]:
    """Make trials until there are so many, or the time is over; the current settings come before what is drawn.

    Each trial is written to `file` (Optuna's journal: JSON lines) when it ends, so that a search that was stopped, or
    is asked for more trials, goes on from there and finds what it would have found in one go: trial n is drawn by the
    seed and n from those before it. Optuna's TPE sampler, its first ten trials at random.
    Source: Akiba et al., "Optuna", KDD 2019; Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011.

    Args:
        quality: what settings are worth, the higher the better.
        space: setting -> values to search.
        current: settings of the same names that are tried first, unless the file has a trial of them or they
            `cannot_be_tried`.
        identity: what the quality depends on but the settings (data, model, protocol); a search of another identity
            starts anew in the same file.
        file: the journal; its folder is created.
        trials: how many there shall be in all, with those that the file holds.
        timeout: seconds after which no trial is started; None: no limit.
        seed: of the draws.
        told: called after each new trial with all there are.

    Returns:
        Every trial of this identity, the file's and the new ones, by number.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _open(file, identity)
    deadline = None if timeout is None else time.monotonic() + timeout
    made = _finished(study)
    first = not cannot_be_tried(space, current)
    while len(made) < trials and (deadline is None or time.monotonic() < deadline):
        study.sampler = optuna.samplers.TPESampler(seed=_seed_of(seed, len(made)), n_startup_trials=10)
        if first and trial_of(made, current) is None:
            study.enqueue_trial(dict(current))
        with warnings.catch_warnings():
            # the current settings may lie outside the space and are measured all the same
            warnings.filterwarnings("ignore", message="Fixed parameter .* is out of range")
            asked = study.ask(dict(space))
        settings = _rounded(asked.params)
        if settings == _rounded(current):  # measured as they are
            settings = dict(current)
        started = time.monotonic()
        found, problem = None, ""
        try:
            found = quality(settings)
        except ValueError as error:  # settings with which the model cannot be fitted, as a step that is too long
            problem = str(error)
        seconds = time.monotonic() - started
        trial = Trial(len(made), settings, found, seconds, problem)
        for name in ("settings", "seconds", "problem"):
            asked.set_user_attr(name, getattr(trial, name))
        study.tell(asked, found, state=None if found is not None else optuna.trial.TrialState.FAIL)
        made.append(trial)
        told(made)
    return made


def cannot_be_tried(space: "Mapping[str, BaseDistribution]", settings: Mapping[str, Any]) -> list[str]:
    """Those of some settings that a search cannot try: 0 or less, and searched by the logarithm."""
    return [name for name, values in space.items() if getattr(values, "log", False) and settings[name] <= 0]


def trial_of(trials: Sequence[Trial], settings: Mapping[str, Any]) -> Trial | None:
    """The trial of these settings; None where there is none."""
    return next((trial for trial in trials if _rounded(trial.settings) == _rounded(settings)), None)


def best_of(trials: list[Trial]) -> Trial:
    """The trial with the highest quality, the earliest of equal ones.

    Raises:
        ValueError: with none of the settings the model could be fitted.
    """
    fitted = [trial for trial in trials if trial.quality is not None]
    if not fitted:
        raise ValueError(f"no trial could be fitted; the last one: {trials[-1].problem if trials else 'there is none'}")
    return max(fitted, key=lambda trial: (trial.quality or 0.0, -trial.number))


def _open(file: Path, identity: str) -> "Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        # a line that a full disk or a kill has cut would make one with the next
        written = file.read_bytes()
        os.truncate(file, written.rfind(b"\n") + 1)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(file))),
        study_name=identity,
        direction="maximize",
        load_if_exists=True,
    )


def _finished(study: "Study") -> list[Trial]:
    """What the file holds; a trial that was cut off by a kill counts as never made."""
    done = [it for it in study.get_trials(deepcopy=False) if it.state.is_finished()]
    return [
        Trial(number, it.user_attrs["settings"], it.value, it.user_attrs["seconds"], it.user_attrs["problem"])
        for number, it in enumerate(done)
    ]


def _rounded(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for name, value in settings.items()
    }


def _seed_of(seed: int, number: int) -> int:
    """Another seed for each trial, the same whenever it is made."""
    digest = hashlib.sha256(json.dumps([seed, number]).encode()).digest()
    return int.from_bytes(digest[:4], "little")
