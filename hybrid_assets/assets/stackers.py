"""train_ratings + movies -> candidates/<system>, with embeddings -> stackers/ or gates/<system>: learned fusions.

factors -> shortlists/<system>: the candidates that get ranked by them. Systems share both kinds of candidates whose
models of ratings alone, which choose them, are the same: an edited tag makes none anew.
"""

from collections.abc import Iterable, Mapping

import dagster as dg
import polars as pl

from hybrid_assets.assets.raw import READS_FACTS
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.learned.features import candidate_features, known_from, shortlists
from hybrid_assets.recommender.learned.learned_systems import LearnedSpec, learn, taught_candidates, with_texts
from hybrid_assets.recommender.learned.stacking import importances
from hybrid_assets.recommender.models.algorithms import libraries_of, takes
from hybrid_assets.recommender.tables import ids_and_vectors, model_towers
from hybrid_assets.recommender.towers import Ids, Vectors
from hybrid_assets.reporting.markdown import markdown_table
from hybrid_assets.specs import code_of, learned_spec, model_specs, of_account
from hybrid_assets.system_settings import SystemSettings

WHO = "for whom: users of the data, or newcomers, who bring few ratings"
TREES = (
    "The learned fusion: boosted trees (LightGBM, XE-NDCG loss) over the branches' scores and what is known of "
    "user and film,"
)
TREE_COLUMNS = {"ranker": "LightGBM's text form: numbers, no code; one row a ranker, their scores are averaged"}
GATE = (
    "The learned gate: how much each branch counts, linear in how active the user, how often rated and how old the "
    "film is, and how much the branches disagree,"
)
GATE_COLUMNS = {
    "branch": "whose weight",
    "input": "by what is known; always: whatever is known",
    "weight": "what 1 deviation of the input adds to the branch's weight",
    "mean": "of the input over the candidates",
    "deviation": "of the input over the candidates",
}


def stacker_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """stackers/<system> or gates/<system> for every system that learns, the candidates that teach them and those that
    they rank."""
    learned = [name for name, system in catalog.systems.items() if system.is_learned]
    drawn = dict.fromkeys(catalog.candidates_of(name) for name in learned)
    return [
        *(_candidates_asset(name, catalog) for name in drawn),
        *(_shortlists_asset(name, catalog) for name in drawn),
        *(_learned_asset(name, catalog) for name in learned),
    ]


def learned_asset(name: str, system: SystemSettings) -> str:
    """Where what a system has learned is."""
    return f"gates/{name}" if system.fusion == "gated" else f"stackers/{name}"


def _candidates_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    spec, threshold = learned_spec(catalog, system), catalog.evaluation.relevance_threshold
    models = model_specs(catalog, spec.choosing)
    features = candidate_features(spec.choosing)

    @incremental_asset(
        key=f"candidates/{name}",
        group="stackers",
        version=f"6.{code_of(model.algorithm for model in models.values())}",
        settings=[
            system.learning.of_candidates,
            {model: of_account(catalog.models[model]) for model in models},
            threshold,
        ],
        libraries=sorted({"numpy"} | libraries_of(model.algorithm for model in models.values())),
        inputs=["train_ratings", "movies"],
        parts=READS_FACTS,
        description=(
            f"What stackers and gates over {', '.join(models)} learn from, but for texts. Train is dealt into "
            f"{spec.folds} folds; for each, the models are fitted on the others and rank candidates, which the "
            "held-out ratings mark, so no model has seen its targets. Then some users leave train whole and come "
            f"back as new people with {', '.join(map(str, spec.newcomer_ratings))} of their ratings."
        ),
        columns={
            "fold": f"which ratings are held out; from {spec.folds} on: new people with few ratings, then more",
            "user_id": "for whom; users without a hit teach nothing and are left out",
            "movie_id": f"the candidate; of those without a hit {spec.negatives} of each user, at random",
            "hit": "1 where the held-out ratings like it, else 0",
            "stands_for": "how many candidates it stands for: more than 1 where others were not drawn",
            **dict.fromkeys(features, "what is known of the candidate: recommender/learned/features.py"),
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "movie_id": [("train_ratings", "movie_id")],
            "hit": [("train_ratings", "rating")],
        },
    )
    def stacker_candidates(step: Step, train_ratings: pl.LazyFrame, movies: pl.LazyFrame) -> Computed:
        train, facts = train_ratings.collect(), film_facts(movies.collect())
        table = taught_candidates(spec, models, train, facts, step.say)
        return Computed(table, {"candidates": table.height, "hits": int(table["hit"].sum())})

    return stacker_candidates


def _shortlists_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    spec, size = learned_spec(catalog, catalog.systems[name]), catalog.systems[name].learning.candidates

    @incremental_asset(
        key=f"shortlists/{name}",
        group="stackers",
        version="1",
        settings=[size, spec.threshold],
        libraries=["numpy", "scipy"],
        inputs={
            "train_ratings": "train_ratings",
            "movies": "movies",
            **{f"factors_{model}": f"factors/{model}" for model in spec.choosing},
        },
        parts=READS_FACTS,
        description=(
            f"The {size} candidates of each user that a learned fusion over {', '.join(spec.choosing)} ranks, with "
            "what these models and the context tell of them."
        ),
        columns={
            "user_id": "for whom",
            "movie_id": "the candidate; a user's best by the sum of the models' standardised scores first",
            **dict.fromkeys(candidate_features(spec.choosing), "as in candidates/<system>"),
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "movie_id": [("train_ratings", "movie_id")],
            **{f"{model}.score": [(f"factors/{model}", "vector")] for model in spec.choosing},
        },
    )
    def ranked_candidates(step: Step, train_ratings: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        fitted = {model: model_towers(tables[f"factors_{model}"], "train") for model in spec.choosing}
        facts = film_facts(tables["movies"].collect())
        return Computed(shortlists(known_from(train_ratings.collect(), fitted, facts, spec.threshold), size))

    return ranked_candidates


def _learned_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    stacker = system.learning
    spec = learned_spec(catalog, system)
    algorithms = [model.algorithm for model, _ in spec.text_models.values()]
    gated = system.fusion == "gated"

    @incremental_asset(
        key=learned_asset(name, system),
        group="stackers",
        version=f"{6 if gated else 7}.{code_of(algorithms)}",
        settings=[
            stacker.of_candidates if gated else stacker,
            system.model_names,
            {model: of_account(catalog.models[model]) for model in spec.text_models},
            system.encoder_names,
            spec.threshold,
        ],
        libraries=sorted({"numpy", "scipy" if gated else "lightgbm"} | libraries_of(algorithms)),
        inputs=_taught_by(name, catalog, spec),
        parts=READS_FACTS,
        kinds=frozenset() if gated else frozenset({"lightgbm"}),
        tags=system_tags(name, system),
        description=f"{GATE if gated else TREES} for candidates whose held-out ratings no branch has seen.",
        columns={"who": WHO} | (GATE_COLUMNS if gated else TREE_COLUMNS),
        lineage={"weight" if gated else "ranker": _taught_by_columns(name, catalog, spec)},
    )
    def learned(step: Step, train_ratings: pl.LazyFrame, candidates: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        facts = film_facts(tables["movies"].collect()) if "movies" in tables else None
        embeddings = embeddings_of(spec.reads, tables)
        taught = with_texts(spec, candidates.collect(), train_ratings.collect(), embeddings, facts)
        found = learn(spec, taught, step.say)
        shown = {
            f"{'gate' if gated else 'importance'}_{who}": markdown_table(_weights(rows) if gated else _gains(rows))
            for (who,), rows in found.group_by("who", maintain_order=True)
        }
        return Computed(found, notes=shown)

    return learned


def _weights(gate: pl.DataFrame) -> pl.DataFrame:
    return gate.pivot("input", index="branch", values="weight")


def _gains(rankers: pl.DataFrame) -> pl.DataFrame:
    return importances(rankers["ranker"].to_list()).head(15).rename({"gain": "share of the gain"})


def _taught_by(name: str, catalog: Catalog, spec: LearnedSpec) -> dict[str, str]:
    """What a system learns its fusion from: parameter name -> asset."""
    embeddings = {f"embeddings_{encoder}": f"embeddings/{encoder}" for encoder in spec.reads}
    reads_facts = any(takes(model.algorithm, "facts") for model, _ in spec.text_models.values())
    return {
        "train_ratings": "train_ratings",
        "candidates": f"candidates/{catalog.candidates_of(name)}",
        **embeddings,
        **({"movies": "movies"} if reads_facts else {}),
    }


def _taught_by_columns(name: str, catalog: Catalog, spec: LearnedSpec) -> list[tuple[str, str]]:
    columns = {"train_ratings": "rating", "candidates": "hit", "movies": "genres"}
    return [(asset, columns.get(parameter, "vector")) for parameter, asset in _taught_by(name, catalog, spec).items()]


def embeddings_of(encoders: Iterable[str], tables: Mapping[str, pl.LazyFrame]) -> dict[str, tuple[Ids, Vectors]]:
    """Encoder -> movies and their vectors, from the inputs of an asset."""
    return {name: ids_and_vectors(tables[f"embeddings_{name}"].collect(), "movie_id") for name in encoders}


def system_tags(name: str, system: SystemSettings) -> dict[str, str]:
    """Tags of a system's assets, to search by; a tag has one value, so only a single model or encoder has one."""
    tags = {"system": name}
    for tag, names in (("model", system.model_names), ("encoder", system.encoder_names)):
        if len(names) == 1:
            tags[tag] = names[0]
    return tags
