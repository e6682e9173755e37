"""train_ratings + movies -> candidates/<system>, with embeddings -> stackers/ or gates/<system>: learned fusions.

Systems of the same models share their candidates: a changed text fits no model again.
"""

from collections.abc import Callable, Mapping

import dagster as dg
import polars as pl

from hybrid_assets.assets.factors import fit_model, fold_in_model, libraries_of, of_account
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import content_hash
from hybrid_assets.recommender.cold_start import ColdSplit
from hybrid_assets.recommender.fold_in import FOLD_INS
from hybrid_assets.recommender.gate import gated_fusion, train_gate
from hybrid_assets.recommender.learned_newcomers import (
    Embeddings,
    Models,
    learned_newcomer_system,
    leave_out,
    newcomer_examples,
    with_newcomer_contents,
)
from hybrid_assets.recommender.newcomers import NewcomerSystem
from hybrid_assets.recommender.stacking import (
    LearnedFusion,
    TooFewRows,
    cross_folds,
    examples,
    importances,
    stacked_fusion,
    train_ranker,
    with_contents,
)
from hybrid_assets.recommender.stacking_context import Films, film_years, films_of
from hybrid_assets.recommender.stacking_features import aligned, centred_content, feature_names, known_from
from hybrid_assets.recommender.systems import candidates
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.recommender.towers import TowerPair
from hybrid_assets.reporting.markdown import markdown_table
from hybrid_assets.system_settings import StackerSettings, SystemSettings

# Whom a fusion was learned for: those in the data with all their ratings, or those who bring a few.
USERS, NEWCOMERS = "users", "newcomers"
WHO = "for whom: users of the data, or newcomers, who bring few ratings"


def stacker_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """stackers/<system> or gates/<system> for every system that learns, and the candidates that they learn from."""
    learned = {name: system.fusion for name, system in catalog.systems.items() if system.is_learned}
    drawn = dict.fromkeys(catalog.candidates_of(name) for name in learned)
    return [
        *(_candidates_asset(name, catalog) for name in drawn),
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
    features = feature_names(system.model_names, [])

    @incremental_asset(
        key=f"candidates/{name}",
        group="stackers",
        version="3",
        settings=[
            [stacker.folds, stacker.candidates, stacker.newcomers, stacker.newcomer_ratings, stacker.seed],
            {model: of_account(settings) for model, settings in models.items()},
            threshold,
        ],
        libraries=sorted({"numpy"} | libraries_of(models.values())),
        inputs=["train_ratings", "movies"],
        parts={"movies": lambda movies: content_hash(film_years(movies.collect()))},
        description=(
            f"What stackers and gates over {', '.join(models)} learn from, but for texts. Train is dealt into "
            f"{stacker.folds} folds; for each, the models are fitted on the others and rank candidates, which the "
            "held-out ratings mark, so no model has seen its targets. Then some users leave train whole and come "
            f"back as new people with {', '.join(map(str, stacker.newcomer_ratings))} of their ratings."
        ),
        columns={
            "fold": f"which ratings are held out; from {stacker.folds} on: new people with few ratings, then more",
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
        left_out = _left_out(train, stacker)
        if left_out and all(settings.algorithm in FOLD_INS for settings in models.values()):
            rest = left_out.warm
            step.say(f"new people: fitting {', '.join(models)} on the ratings of the others")
            fitted = {model: fit_model(settings, threshold, rest) for model, settings in models.items()}
            folds_in = {
                model: (fold_in_model(models[model], threshold, pair, rest), pair) for model, pair in fitted.items()
            }
            films = films_of(rest, years, threshold)
            for place, ratings in enumerate(stacker.newcomer_ratings, stacker.folds):
                taught = newcomer_examples(folds_in, films, left_out, ratings, stacker.candidates)
                tables.append(taught.select(pl.lit(place, pl.UInt8).alias("fold"), pl.all()))
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
        version="4",
        settings=[stacker, system.model_names, system.encoder_names, threshold],
        libraries=["lightgbm", "numpy"],
        inputs=_taught_by(name, catalog),
        kinds=frozenset({"lightgbm"}),
        tags=system_tags(name, system),
        description=(
            f"The learned fusion of {name}: boosted trees (LambdaMART, cross-entropy loss) over its branches' "
            "scores and what is known of user and film, for candidates whose held-out ratings no branch has seen."
        ),
        columns={
            "who": WHO,
            "ranker": "LightGBM's text form: numbers, no code; one row a ranker, their scores are averaged",
        },
        lineage={"ranker": _taught_by_columns(name, catalog)},
    )
    def ranker(step: Step, train_ratings: pl.LazyFrame, candidates: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        embeddings = {encoder: tables[f"embeddings_{encoder}"] for encoder in system.encoder_names}
        taught = with_texts(candidates.collect(), train_ratings.collect(), embeddings, stacker, threshold)
        found = learn(system, taught, step.say)
        gains = {
            who: importances(rows["ranker"].to_list()).head(15).rename({"gain": "share of the gain"})
            for (who,), rows in found.group_by("who", maintain_order=True)
        }
        return Computed(found, notes={f"importance_{who}": markdown_table(table) for who, table in gains.items()})

    return ranker


def _gate_asset(name: str, catalog: Catalog) -> dg.AssetsDefinition:
    system = catalog.systems[name]
    stacker = system.learning
    threshold = catalog.evaluation.relevance_threshold

    @incremental_asset(
        key=f"gates/{name}",
        group="stackers",
        version="3",
        settings=[
            [stacker.folds, stacker.newcomers, stacker.newcomer_ratings, stacker.seed],
            [system.model_names, system.encoder_names],
            threshold,
        ],
        libraries=["numpy", "scipy"],
        inputs=_taught_by(name, catalog),
        tags=system_tags(name, system),
        description=(
            f"The learned gate of {name}: how much each branch counts, linear in how active the user, how often rated "
            "and how old the film is, and how much the branches disagree, for candidates whose held-out ratings no "
            "branch has seen."
        ),
        columns={
            "who": WHO,
            "branch": "whose weight",
            "input": "by what is known; always: whatever is known",
            "weight": "what 1 deviation of the input adds to the branch's weight",
            "mean": "of the input over the candidates",
            "deviation": "of the input over the candidates",
        },
        lineage={"weight": _taught_by_columns(name, catalog)},
    )
    def gate(step: Step, train_ratings: pl.LazyFrame, candidates: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        embeddings = {encoder: tables[f"embeddings_{encoder}"] for encoder in system.encoder_names}
        taught = with_texts(candidates.collect(), train_ratings.collect(), embeddings, stacker, threshold)
        found = learn(system, taught, step.say)
        shown = {
            str(who): rows.pivot("input", index="branch", values="weight")
            for (who,), rows in found.group_by("who", maintain_order=True)
        }
        return Computed(found, notes={f"gate_{who}": markdown_table(table) for who, table in shown.items()})

    return gate


def _taught_by(name: str, catalog: Catalog) -> dict[str, str]:
    """What a system learns its fusion from: parameter name -> asset."""
    embeddings = {f"embeddings_{encoder}": f"embeddings/{encoder}" for encoder in catalog.systems[name].encoder_names}
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
    embedded = {encoder: ids_and_vectors(table.collect(), "movie_id") for encoder, table in embeddings.items()}
    fold = cross_folds(train, stacker.folds, stacker.seed)
    parts = []
    for held_out in range(stacker.folds):
        rest = train.filter(pl.Series(fold != held_out))
        of_fold, pool = taught.filter(pl.col("fold") == held_out), candidates(rest)
        if of_fold.is_empty():
            continue
        contents = content_towers(rest, embedded, threshold)
        parts.append(with_contents(of_fold, rest, pool, aligned(contents, pool), threshold))
    left_out = _left_out(train, stacker)
    for place, ratings in enumerate(stacker.newcomer_ratings, stacker.folds):
        of_fold = taught.filter(pl.col("fold") == place)
        if left_out and not of_fold.is_empty():
            parts.append(with_newcomer_contents(of_fold, embedded, left_out, ratings, threshold))
    return pl.concat(parts)


def _left_out(train: pl.DataFrame, stacker: StackerSettings) -> ColdSplit | None:
    # not the seed of cold_start's people: with that, those who are judged there would be those who teach
    return leave_out(train, stacker.newcomers, stacker.seed + 1)


def of_newcomers(system: SystemSettings) -> pl.Expr:
    """Whether a row of candidates/<system> is a newcomer's."""
    return pl.col("fold") >= system.learning.folds


def learn(
    system: SystemSettings, taught: pl.DataFrame, say: Callable[[str], None], *, for_users: bool = True
) -> pl.DataFrame:
    """What a system learns from candidates `with_texts`: the table of its `learned_asset`.

    Where no newcomer has a hit among the candidates, or these are too few to learn from, as with a handful of users,
    it holds nothing for newcomers; without `for_users` it holds nothing for users.

    Raises:
        TooFewRows: there is too little to learn from for users, or for newcomers without `for_users`.
    """
    newcomers = taught.filter(of_newcomers(system))
    learners = {USERS: taught.filter(~of_newcomers(system))} if for_users else {}
    if newcomers.is_empty():
        say("no newcomer likes a candidate: they will be ranked as users are")
    else:
        learners[NEWCOMERS] = newcomers
    tables = []
    for who, rows in learners.items():
        say(f"{who}: learning from {rows.height:,} candidates")
        try:
            learnt = _learn(system, rows, say)
        except TooFewRows as few:
            if who == USERS or not for_users:
                raise
            say(f"newcomers will be ranked as users are: {few}")
            continue
        tables.append(learnt.select(pl.lit(who).alias("who"), pl.all()))
    return pl.concat(tables)


def _learn(system: SystemSettings, taught: pl.DataFrame, say: Callable[[str], None]) -> pl.DataFrame:
    if system.fusion == "gated":
        return train_gate(taught, [*system.model_names, *system.encoder_names])
    stacker = system.learning
    names = feature_names(system.model_names, system.encoder_names)
    of_trees = stacker.model_dump(
        include={"trees", "learning_rate", "leaves", "smallest_leaf", "feature_share", "row_share"}
    )
    rankers = []
    for place in range(stacker.rankers):
        say(f"ranker {place + 1} of {stacker.rankers}")
        rankers.append(train_ranker(taught, names, seed=stacker.seed + place, **of_trees))
    return pl.DataFrame({"ranker": rankers})


def learned_fusion(system: SystemSettings, learned: pl.DataFrame, who: str = USERS) -> LearnedFusion:
    """The fusion that a system's `learned_asset` holds for users, or for newcomers; where it holds one alone, that."""
    rows = learned.filter(pl.col("who") == who)
    if rows.is_empty():
        rows = learned
    if system.fusion == "gated":
        return gated_fusion(rows, [*system.model_names, *system.encoder_names])
    return stacked_fusion(rows["ranker"].to_list(), system.model_names, system.encoder_names)


def learned_system(
    system: SystemSettings, learned: pl.DataFrame, models: Models, embeddings: Embeddings, films: Films, explained: int
) -> NewcomerSystem:
    """The system that a `learned_asset` holds, for newcomers; the other arguments are learned_newcomer_system's."""
    return learned_newcomer_system(
        models,
        embeddings,
        films,
        few=learned_fusion(system, learned, NEWCOMERS),
        many=learned_fusion(system, learned),
        most_few=max(system.learning.newcomer_ratings),
        size=system.learning.candidates,
        explained=explained,
    )


def system_tags(name: str, system: SystemSettings) -> dict[str, str]:
    """Tags of a system's assets, to search by; a tag has one value, so only a single model or encoder has one."""
    tags = {"system": name}
    for tag, names in (("model", system.model_names), ("encoder", system.encoder_names)):
        if len(names) == 1:
            tags[tag] = names[0]
    return tags


def content_towers(ratings: pl.DataFrame, embeddings: Embeddings, threshold: float) -> dict[str, TowerPair]:
    """The content branches of a system that learns, over some ratings."""
    return {name: centred_content(ratings, *embedded, threshold) for name, embedded in embeddings.items()}
