"""The command `tune`: a search over a model's settings, from the tables of a dataset to a snippet for the catalog.

Belongs here: which tables and settings a search is made of, and where it is kept. Does not: the search itself
(recommender/model_search.py), printing (cli.py).
"""

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from hybrid_assets import queries
from hybrid_assets.catalog import Catalog, settings_digest
from hybrid_assets.model_settings import ModelSettings
from hybrid_assets.orchestration.storage import LOCAL, TableStore
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.model_search import (
    Trial,
    best_of,
    cannot_be_tried,
    search,
    trial_of,
    validation_quality,
)
from hybrid_assets.recommender.models.algorithms import fit_model, libraries_of, takes
from hybrid_assets.recommender.models.search_spaces import search_space
from hybrid_assets.recommender.tables import fold_of, ids_and_vectors
from hybrid_assets.reporting.plots import search_plot
from hybrid_assets.specs import model_spec

SEED = 42


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        trials: all of them, those of earlier calls too.
        best: the best one.
        current: that of the catalog's settings; None where there are as many trials as asked for without it.
        untried: of the catalog's settings those for which it never is (`cannot_be_tried`).
        snippet: the model's settings with those of the best trial, as TOML for the catalog.
        plot: the PNG of the trials.
    """

    trials: list[Trial]
    best: Trial
    current: Trial | None
    untried: list[str]
    snippet: str
    plot: Path


def tables_needed(catalog: Catalog, model: str) -> dg.AssetSelection:
    """What a search reads and what that is made from: train ratings, the texts and facts that it reads; no test."""
    return dg.AssetSelection.assets(*_inputs(catalog, model)).upstream()


def tune_model(
    store: TableStore,
    catalog: Catalog,
    model: str,
    *,
    trials: int,
    timeout: float | None,
    told: Callable[[list[Trial]], None],
) -> Tuned:
    """Search a model's settings on the validation part of train, going on from what was searched before.

    Args:
        store: tables of the dataset, in a folder of this machine.
        catalog: whose entry of the model is tried first.
        model: a name under [models].
        trials: how many there shall be in all.
        timeout: seconds after which no trial is started; None: no limit.
        told: called after each new trial with all there are.

    Raises:
        NotFound: the catalog has no such model, or its tables have not been materialized.
        ValueError: the model has nothing to search or could never be fitted, or the storage is not a local folder.
    """
    settings = catalog.models[queries.known(model, list(catalog.models), "model")]
    threshold, k = catalog.evaluation.relevance_threshold, catalog.evaluation.k
    space = search_space(settings.algorithm)
    train = queries.table(store, "train_ratings").collect()
    encoder = catalog.encoder_of(model)
    texts = None
    if encoder:
        texts = ids_and_vectors(queries.table(store, f"embeddings/{encoder}").collect(), "movie_id")
    facts = None
    if takes(settings.algorithm, "facts"):
        facts = film_facts(queries.table(store, "movies").collect())
    judged = validation_quality(train, k=k, threshold=threshold)
    fit_rows = fold_of(train, "fit")

    def quality(searched: Mapping[str, Any]) -> float:
        return judged(fit_model(model_spec(with_settings(settings, searched), threshold), fit_rows, texts, facts=facts))

    given = settings.model_dump(mode="json", exclude={"refresh"})
    held = {name: value for name, value in given.items() if name not in space}
    made_from = [stamp.data_version for key in _inputs(catalog, model) if (stamp := store.stamp(key))]
    versions = {
        name: importlib.metadata.version(name) for name in ("optuna", *sorted(libraries_of([settings.algorithm])))
    }
    values = {name: repr(distribution) for name, distribution in space.items()}
    folder = _folder(store, model)
    current = {name: given[name] for name in space}
    found = search(
        quality,
        space,
        current,
        identity=f"{model} {settings_digest(held, made_from, versions, values, k, threshold, SEED)}",
        file=folder / "trials.jsonl",
        trials=trials,
        timeout=timeout,
        seed=SEED,
        told=told,
    )
    best = best_of(found)
    table = pl.DataFrame([{**trial.settings, "quality": trial.quality} for trial in found], infer_schema_length=None)
    plot = folder / "trials.png"
    plot.write_bytes(search_plot(table, f"{model} on {catalog.dataset}", f"NDCG@{k}, validation"))
    entry = snippet(model, with_settings(settings, best.settings))
    return Tuned(found, best, trial_of(found, current), cannot_be_tried(space, current), entry, plot)


def with_settings(settings: ModelSettings, searched: Mapping[str, Any]) -> ModelSettings:
    """A model's settings with some replaced, checked as the catalog checks them."""
    return type(settings).model_validate(settings.model_dump() | dict(searched))


def snippet(model: str, settings: ModelSettings) -> str:
    """A model's entry in the catalog as TOML: every setting that is searched, and what differs from its default."""
    searched = search_space(settings.algorithm)
    usual = settings.model_dump(mode="json", exclude_defaults=True)
    written = {"algorithm": settings.algorithm} | {
        name: value for name, value in settings.model_dump(mode="json").items() if name in searched or name in usual
    }
    return "\n".join([f"[models.{model}]", *(f"{name} = {json.dumps(value)}" for name, value in written.items())])


def _inputs(catalog: Catalog, model: str) -> list[dg.AssetKey]:
    encoder = catalog.encoder_of(model)
    return [
        dg.AssetKey("train_ratings"),
        *([dg.AssetKey(["embeddings", encoder])] if encoder else []),
        *([dg.AssetKey("movies")] if takes(catalog.models[model].algorithm, "facts") else []),
    ]


def _folder(store: TableStore, model: str) -> Path:
    place = store.path(dg.AssetKey(["searches", model]), "")
    if place.protocol not in LOCAL:
        raise ValueError(
            f"a search is kept in a folder of this machine and the storage is {store.url}; "
            "set HYBRID_STORAGE to a folder for this command"
        )
    return Path(place.path)
