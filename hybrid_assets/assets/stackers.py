"""train_ratings + movies + embeddings -> stackers/<system>: the learned fusion of each system that has one."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from hybrid_assets.assets.factors import ALGORITHMS, fit_model
from hybrid_assets.catalog import Catalog, StackerSettings, SystemSettings
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.stacking import (
    Known,
    centred_content,
    cross_folds,
    examples,
    feature_names,
    film_years,
    importances,
    train_ranker,
)
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.recommender.towers import TowerPair


def stacker_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """stackers/<system> for every system with fusion = "stacked"."""
    return [
        _stacker_asset(name, system, catalog) for name, system in catalog.systems.items() if system.fusion == "stacked"
    ]


def _stacker_asset(name: str, system: SystemSettings, catalog: Catalog) -> dg.AssetsDefinition:
    stacker = system.stacker or StackerSettings()
    threshold = catalog.evaluation.relevance_threshold
    models = {model: catalog.models[model] for model in system.model_names}
    used = {ALGORITHMS[settings.algorithm][1] for settings in models.values()} - {None}

    @incremental_asset(
        key=f"stackers/{name}",
        group="stackers",
        version="2",
        settings=[stacker, models, system.encoder_names, threshold],
        libraries=sorted({"lightgbm", "numpy", *(library for library in used if library)}),
        inputs={
            "train_ratings": "train_ratings",
            "movies": "movies",
            **{encoder: f"embeddings/{encoder}" for encoder in system.encoder_names},
        },
        kinds=frozenset({"lightgbm"}),
        tags=system_tags(name, system),
        description=(
            f"The learned fusion of {name}: boosted trees (LambdaMART, cross-entropy loss) over its branches' "
            "scores and what is known of user and film. "
            f"Train is dealt into {stacker.folds} folds; for each, branches are fitted on the others and the ranker "
            "learns from the held-out ratings, so no branch has seen its targets."
        ),
        columns={"ranker": "LightGBM's text form: numbers, no code"},
        lineage={
            "ranker": [
                ("train_ratings", "rating"),
                *((f"embeddings/{name}", "vector") for name in system.encoder_names),
            ]
        },
    )
    def ranker(step: Step, train_ratings: pl.LazyFrame, movies: pl.LazyFrame, **embeddings: pl.LazyFrame) -> Computed:
        train, years = train_ratings.collect(), film_years(movies.collect())
        fold = cross_folds(train, stacker.folds, stacker.seed)
        parts = []
        for held_out in range(stacker.folds):
            step.say(f"fold {held_out + 1} of {stacker.folds}: fitting {', '.join(models)}")
            rest = train.filter(pl.Series(fold != held_out))
            known = Known(
                rest,
                {model: fit_model(settings, threshold, rest) for model, settings in models.items()},
                content_towers(rest, embeddings, threshold),
                years,
                threshold,
            )
            parts.append(examples(known, train.filter(pl.Series(fold == held_out)), stacker.candidates))
        rows = sum(len(part.hits) for part in parts)
        step.say(f"training on {rows:,} candidates")
        text = train_ranker(
            parts,
            feature_names(system.model_names, system.encoder_names),
            **stacker.model_dump(exclude={"folds", "candidates"}),
        )
        gains = importances(text).head(15)
        table = "\n".join(f"| {feature} | {gain:.3f} |" for feature, gain in gains.iter_rows())
        return Computed(
            pl.DataFrame({"ranker": [text]}),
            {"candidates": rows, "hits": int(sum(int(part.hits.sum()) for part in parts))},
            {"importance": f"| feature | share of the gain |\n|---|---|\n{table}"},
        )

    return ranker


def system_tags(name: str, system: SystemSettings) -> dict[str, str]:
    """Tags of a system's assets, to search by; a tag has one value, so only a single model or encoder has one."""
    tags = {"system": name}
    for tag, names in (("model", system.model_names), ("encoder", system.encoder_names)):
        if len(names) == 1:
            tags[tag] = names[0]
    return tags


def content_towers(
    ratings: pl.DataFrame, embeddings: Mapping[str, pl.LazyFrame], threshold: float
) -> dict[str, TowerPair]:
    """The content branches of a stacked system over some ratings."""
    return {
        encoder: centred_content(ratings, *ids_and_vectors(table.collect(), "movie_id"), threshold)
        for encoder, table in embeddings.items()
    }
