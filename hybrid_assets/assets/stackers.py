"""train_ratings + movies -> candidates/<system>, with embeddings -> stackers/ or gates/<system>: learned fusions.

Systems of the same models share their candidates: a changed text fits no model again.
"""

from collections.abc import Callable, Mapping

import dagster as dg
import polars as pl

from hybrid_assets.assets.factors import ALGORITHMS, fit_model
from hybrid_assets.catalog import Catalog, StackerSettings, SystemSettings
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import content_hash
from hybrid_assets.recommender.gate import gated_fusion, train_gate
from hybrid_assets.recommender.stacking import (
    LearnedFusion,
    cross_folds,
    examples,
    importances,
    stacked_fusion,
    train_ranker,
    with_contents,
)
from hybrid_assets.recommender.stacking_context import film_years
from hybrid_assets.recommender.stacking_features import centred_content, feature_names, known_from
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.recommender.towers import TowerPair
from hybrid_assets.reporting.markdown import markdown_table


def stacker_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """stackers/<system> or gates/<system> for every system that learns, and the candidates that they learn from."""
    learned = {name: system.fusion for name, system in catalog.systems.items() if system.is_learned}
    candidates = dict.fromkeys(catalog.candidates_of(name) for name in learned)
    return [
        *(_candidates_asset(name, catalog) for name in candidates),
        *((_gate_asset if fusion == "gated" else _stacker_asset)(name, catalog) for name, fusion in learned.items()),
    ]


def learned_asset(name: str, system: SystemSettings) -> str:
    """Where what a system has learned is."""
    return f"gates/{name}" if system.fusion == "gated" else f"stackers/{name}"


def _candidates_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    stacker = system.learning
    threshold = catalog.evaluation.relevance_threshold
    models = {model: catalog.models[model] for model in system.model_names}
    used = {ALGORITHMS[settings.algorithm][1] for settings in models.values()} - {None}
    features = feature_names(system.model_names, [])

    @incremental_asset(
        key=f"candidates/{name}",
        group="stackers",
        version="1",
        settings=[stacker.folds, stacker.candidates, stacker.seed, models, threshold],
        libraries=sorted({"numpy", *(library for library in used if library)}),
        inputs=["train_ratings", "movies"],
        parts={"movies": lambda movies: content_hash(film_years(movies.collect()))},
        description=(
            f"What stackers and gates over {', '.join(models)} learn from, but for texts. Train is dealt into "
            f"{stacker.folds} folds; for each, the models are fitted on the others and rank candidates, which the "
            "held-out ratings mark, so no model has seen its targets."
        ),
        columns={
            "fold": "whose ratings are held out",
            "user_id": "for whom; users without a hit teach nothing and are left out",
            "movie_id": "the candidate",
            "hit": "1 where the held-out ratings like it, else 0",
            **dict.fromkeys(features, "what is known of the candidate: recommender/stacking_features.py"),
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "movie_id": [("train_ratings", "movie_id")],
            "hit": [("train_ratings", "rating")],
        },
    )
    def stacker_candidates(step: Step, train_ratings: pl.LazyFrame, movies: pl.LazyFrame) -> Computed:
        train, years = train_ratings.collect(), film_years(movies.collect())
        fold = cross_folds(train, stacker.folds, stacker.seed)
        tables = []
        for held_out in range(stacker.folds):
            step.say(f"fold {held_out + 1} of {stacker.folds}: fitting {', '.join(models)}")
            rest = train.filter(pl.Series(fold != held_out))
            fitted = {model: fit_model(settings, threshold, rest) for model, settings in models.items()}
            known = known_from(rest, fitted, years, threshold)
            taught = examples(known, train.filter(pl.Series(fold == held_out)), stacker.candidates)
            tables.append(taught.select(pl.lit(held_out, pl.UInt8).alias("fold"), pl.all()))
        table = pl.concat(tables)
        return Computed(table, {"candidates": table.height, "hits": int(table["hit"].sum())})

    return stacker_candidates


def _stacker_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    stacker = system.learning
    threshold = catalog.evaluation.relevance_threshold

    @incremental_asset(
        key=f"stackers/{name}",
        group="stackers",
        version="3",
        settings=[stacker, system.model_names, system.encoder_names, threshold],
        libraries=["lightgbm", "numpy"],
        inputs=_taught_by(name, catalog),
        kinds=frozenset({"lightgbm"}),
        tags=system_tags(name, system),
        description=(
            f"The learned fusion of {name}: boosted trees (LambdaMART, cross-entropy loss) over its branches' "
            "scores and what is known of user and film, for candidates whose held-out ratings no branch has seen."
        ),
        columns={"ranker": "LightGBM's text form: numbers, no code; one row a ranker, their scores are averaged"},
        lineage={"ranker": _taught_by_columns(name, catalog)},
    )
    def ranker(
        step: Step, train_ratings: pl.LazyFrame, candidates: pl.LazyFrame, **embeddings: pl.LazyFrame
    ) -> Computed:
        taught = with_texts(candidates.collect(), train_ratings.collect(), embeddings, stacker, threshold)
        found = learn(system, taught, step.say)
        gains = importances(found["ranker"].to_list()).head(15).rename({"gain": "share of the gain"})
        return Computed(found, notes={"importance": markdown_table(gains)})

    return ranker


def _gate_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    stacker = system.learning
    threshold = catalog.evaluation.relevance_threshold

    @incremental_asset(
        key=f"gates/{name}",
        group="stackers",
        version="1",
        settings=[stacker.folds, stacker.seed, system.model_names, system.encoder_names, threshold],
        libraries=["numpy", "scipy"],
        inputs=_taught_by(name, catalog),
        tags=system_tags(name, system),
        description=(
            f"The learned gate of {name}: how much each branch counts, linear in how active the user, how often rated "
            "and how old the film is, and how much the branches disagree, for candidates whose held-out ratings no "
            "branch has seen."
        ),
        columns={
            "branch": "whose weight",
            "input": "by what is known; always: whatever is known",
            "weight": "what 1 deviation of the input adds to the branch's weight",
            "mean": "of the input over the candidates",
            "deviation": "of the input over the candidates",
        },
        lineage={"weight": _taught_by_columns(name, catalog)},
    )
    def gate(step: Step, train_ratings: pl.LazyFrame, candidates: pl.LazyFrame, **embeddings: pl.LazyFrame) -> Computed:
        taught = with_texts(candidates.collect(), train_ratings.collect(), embeddings, stacker, threshold)
        found = learn(system, taught, step.say)
        shown = found.pivot("input", index="branch", values="weight")
        return Computed(found, notes={"gate": markdown_table(shown)})

    return gate


def _taught_by(name: str, catalog: Catalog) -> dict[str, str]:
    """What a system learns its fusion from: parameter name -> asset."""
    embeddings = {encoder: f"embeddings/{encoder}" for encoder in catalog.systems[name].encoder_names}
    return {
        "train_ratings": "train_ratings",
        "candidates": f"candidates/{catalog.candidates_of(name)}",
        **embeddings,
    }


def _taught_by_columns(name: str, catalog: Catalog) -> list[tuple[str, str]]:
    columns = {"train_ratings": "rating", "candidates": "hit"}
    return [(asset, columns.get(parameter, "vector")) for parameter, asset in _taught_by(name, catalog).items()]


def with_texts(
    taught: pl.DataFrame,
    train: pl.DataFrame,
    embeddings: Mapping[str, pl.LazyFrame],
    stacker: StackerSettings,
    threshold: float,
) -> pl.DataFrame:
    """Candidates of all folds, a table candidates/<system>, with what the texts tell of them."""
    if not embeddings:
        return taught
    fold = cross_folds(train, stacker.folds, stacker.seed)
    parts = []
    for held_out in range(stacker.folds):
        rest = train.filter(pl.Series(fold != held_out))
        of_fold = taught.filter(pl.col("fold") == held_out)
        parts.append(with_contents(of_fold, rest, content_towers(rest, embeddings, threshold), threshold))
    return pl.concat(parts)


def learn(system: SystemSettings, taught: pl.DataFrame, say: Callable[[str], None]) -> pl.DataFrame:
    """What a system learns from candidates `with_texts`: the table of its `learned_asset`."""
    if system.fusion == "gated":
        say(f"learning from {taught.height:,} candidates")
        return train_gate(taught, [*system.model_names, *system.encoder_names])
    stacker = system.learning
    names = feature_names(system.model_names, system.encoder_names)
    of_trees = stacker.model_dump(exclude={"folds", "candidates", "rankers", "seed"})
    rankers = []
    for place in range(stacker.rankers):
        say(f"ranker {place + 1} of {stacker.rankers}: training on {taught.height:,} candidates")
        rankers.append(train_ranker(taught, names, seed=stacker.seed + place, **of_trees))
    return pl.DataFrame({"ranker": rankers})


def learned_fusion(system: SystemSettings, learned: pl.DataFrame) -> LearnedFusion:
    """The fusion that a system's `learned_asset` holds."""
    if system.fusion == "gated":
        return gated_fusion(learned, [*system.model_names, *system.encoder_names])
    return stacked_fusion(learned["ranker"].to_list(), system.model_names, system.encoder_names)


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
    """The content branches of a system that learns, over some ratings."""
    return {
        encoder: centred_content(ratings, *ids_and_vectors(table.collect(), "movie_id"), threshold)
        for encoder, table in embeddings.items()
    }
