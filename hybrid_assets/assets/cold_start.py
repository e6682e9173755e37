"""train_ratings + embeddings + scores -> cold_start: lists for movies, and for people, that no model has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TypeAlias

import dagster as dg
import polars as pl

from hybrid_assets.assets.raw import READS_FACTS
from hybrid_assets.assets.scores import stored_weights
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.cold_start import (
    ColdSplit,
    cold_candidates,
    cold_split,
    cold_towers,
    item_cold,
    user_cold,
    with_intervals,
)
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.fusion import PROFILE_READING
from hybrid_assets.recommender.learned.context import Films, films_of
from hybrid_assets.recommender.learned.learned_systems import learn_for_newcomers, learned_system, with_texts
from hybrid_assets.recommender.models.algorithms import fit_model, fold_in_models, libraries_of, takes
from hybrid_assets.recommender.models.fold_in import CannotFoldIn
from hybrid_assets.recommender.newcomers import newcomer_system
from hybrid_assets.recommender.split import drawn_ids
from hybrid_assets.recommender.systems import system_branches
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors
from hybrid_assets.recommender.validity import outside
from hybrid_assets.specs import code_of, learned_spec, model_specs, of_account
from hybrid_assets.system_settings import SystemSettings

MEASURED = "measured"
FIGURES = ("ndcg", "ndcg_low", "ndcg_high", "recall", "recall_low", "recall_high")
SCHEMA = {
    "protocol": pl.String,
    "candidates": pl.String,
    "system": pl.String,
    "kind": pl.String,
    "known": pl.Int64,
    "k": pl.Int64,
    "users": pl.Int64,
    **dict.fromkeys(FIGURES, pl.Float64),
    "state": pl.String,
}
COLUMNS = {
    "protocol": '"movies": movies held out of train; "people": users held out and folded in',
    "candidates": '"cold": the held-out movies alone; "all": all movies; "warm": those in train',
    "system": "name in the catalog",
    "kind": '"hybrid", "collaborative" or "content"',
    "known": "ratings of the new user that were folded in; null for movies",
    "k": "cutoff",
    "users": "users judged",
    "ndcg": "mean NDCG@k over users",
    "ndcg_low": "lower end of its bootstrap interval over users",
    "ndcg_high": "upper end of its interval",
    "recall": "mean recall@k over users",
    "recall_low": "lower end of its interval",
    "recall_high": "upper end of its interval",
    "state": '"measured", or why not',
}
Embedded = Mapping[str, tuple[Ids, Vectors]]


def cold_start_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """The asset cold_start, where cold_start.systems names any."""
    return [_cold_start_asset(catalog)] if catalog.cold_start.systems else []


def _cold_start_asset(catalog: Catalog) -> dg.AssetsDefinition:
    settings, evaluation = catalog.cold_start, catalog.evaluation
    systems = {name: catalog.systems[name] for name in settings.systems}
    models = model_specs(catalog, dict.fromkeys(model for it in systems.values() for model in it.model_names))
    threshold = evaluation.relevance_threshold
    encoders = sorted({encoder for system in systems.values() for encoder in catalog.encoders_behind(system)})
    # what fuses the branches: weights that validation chose stand beside the lists, learned ones are learned anew
    fused_by = {name: f"scores/{name}" for name, system in systems.items() if system.weighs_branches}
    fused_by |= {name: f"candidates/{catalog.candidates_of(name)}" for name in systems if systems[name].is_learned}
    reads_facts = any(system.is_learned for system in systems.values())
    reads_facts |= any(takes(model.algorithm, "facts") for model in models.values())
    used = {"numpy", "scipy", "torch"} | libraries_of(model.algorithm for model in models.values())
    used |= {"lightgbm" for system in systems.values() if system.fusion == "stacked"}

    @incremental_asset(
        key="cold_start",
        group="metrics",
        version=f"7.{code_of(model.algorithm for model in models.values())}",
        settings=[
            settings,
            {name: system.model_dump(exclude={"published"}) for name, system in systems.items()},
            {model: of_account(catalog.models[model]) for model in models},
            {encoder: catalog.encoders[encoder].tuning is not None for encoder in encoders},
            evaluation.of_figures,
            [catalog.pairs.cold_share, catalog.pairs.seed],
        ],
        libraries=sorted(used),
        inputs={
            "train_ratings": "train_ratings",
            "test_ratings": "test_ratings",
            **{f"embeddings_{encoder}": f"embeddings/{encoder}" for encoder in encoders},
            **({"movies": "movies"} if reads_facts else {}),
            **{f"fused_by_{name}": asset for name, asset in fused_by.items()},
        },
        parts=READS_FACTS,
        optional=[
            *(f"embeddings_{encoder}" for encoder in encoders),
            *(f"fused_by_{name}" for name in fused_by),
        ],
        description=(
            f"NDCG@{evaluation.k} and recall@{evaluation.k} on cold start: {settings.movies:.0%} of the movies and "
            f"{settings.users:.0%} of the users leave train, the models are fitted on the rest. Movies: who finds the "
            "held-out ones; a collaborative model scores them 0, a hybrid borrows from similar texts. People: the "
            "held-out ones are folded in with "
            f"{', '.join(map(str, settings.known))} of their ratings and judged by the others."
        ),
        columns=COLUMNS,
        lineage={
            "ndcg": [
                ("train_ratings", "rating"),
                ("test_ratings", "rating"),
                *((f"embeddings/{encoder}", "vector") for encoder in encoders),
                # systems share the candidates that the same models choose
                *{
                    asset: (asset, "hit" if systems[name].is_learned else "score") for name, asset in fused_by.items()
                }.values(),
            ]
        },
        checks=[
            Check(
                "in_unit_interval",
                "Every figure is in [0, 1].",
                lambda made: "".join(outside(made.table.drop_nulls(column), column, 0.0, 1.0) for column in FIGURES),
            )
        ],
    )
    def cold_start(
        step: Step, train_ratings: pl.LazyFrame, test_ratings: pl.LazyFrame, **tables: pl.LazyFrame | None
    ) -> Computed:
        train, test = train_ratings.collect(), test_ratings.collect()
        users = drawn_ids(train["user_id"].unique().sort().to_numpy(), settings.users, settings.seed)
        split = cold_split(
            train,
            test,
            users=users,
            movies=drawn_ids(train["movie_id"].unique().sort().to_numpy(), settings.movies, catalog.pairs.seed),
            seed=settings.seed,
        )
        here = {name: table for name, table in tables.items() if table is not None}
        embedded = {
            encoder: ids_and_vectors(here[f"embeddings_{encoder}"].collect(), "movie_id")
            for encoder in encoders
            if f"embeddings_{encoder}" in here
        }
        facts = cache(lambda: film_facts(here["movies"].collect()))
        fitted = {}
        for name, model in models.items():
            read = catalog.encoder_of(name)
            if read and read not in embedded:
                continue  # the systems with it say why they have no figures
            step.say(f"fitting {name} on {split.warm.height:,} ratings, without the cold users and movies")
            told = facts() if takes(model.algorithm, "facts") else None
            fitted[name] = fit_model(model, split.warm, embedded[read] if read else None, facts=told)
        held = _HeldOut(catalog, split, fitted, embedded)
        films = cache(lambda: films_of(split.warm, facts(), threshold))
        rows = []
        for name, system in systems.items():
            needed = fused_by.get(name, "") if f"fused_by_{name}" not in here else ""
            missing = _why_missing(catalog, name, embedded, needed)
            fusion: Fusion = None
            if not missing and system.is_learned:
                taught = here[f"fused_by_{name}"].collect().filter(~pl.col("user_id").is_in(users.tolist()))
                spec = learned_spec(catalog, system)
                texts = {encoder: embedded[encoder] for encoder in spec.reads}
                tell = partial(with_texts, spec, train=train, embeddings=texts, facts=facts())
                step.say(f"{name}: learning from those who are not held out")
                fusion = _Learned(learn_for_newcomers(spec, taught, tell, max(settings.known), step.say), films())
            elif not missing:
                fusion = stored_weights(step.store, name, system)
            rows += _movie_rows(name, system, held, fusion, missing)
            rows += _people_rows(name, system, held, fusion, missing)
        kinds = {name: catalog.kind_of(system) for name, system in systems.items()}
        figures = pl.DataFrame(
            [row | {"k": evaluation.k, "kind": kinds[str(row["system"])]} for row in rows], schema=SCHEMA
        )
        shown = figures.filter((pl.col("candidates") == "cold") & pl.col("ndcg").is_not_null())
        return Computed(
            figures,
            {
                "cold_movies": len(split.movies),
                "cold_users": split.of_users["user_id"].n_unique(),
                **{f"cold_ndcg_{name}": value for name, value in shown.select("system", "ndcg").iter_rows()},
            },
        )

    return cold_start


@dataclass(frozen=True)
class _HeldOut:
    """What every system is judged with: the split, the models fitted without what is held out, the texts' vectors."""

    catalog: Catalog
    split: ColdSplit
    fitted: Mapping[str, TowerPair]
    embedded: Embedded


@dataclass(frozen=True)
class _Learned:
    """What a system has learned from those who are not held out, as `learn` gives it, and what they tell of films."""

    table: pl.DataFrame
    films: Films


# The branches' weights, or what was learned.
Fusion: TypeAlias = Sequence[float] | _Learned | None


def _why_missing(catalog: Catalog, name: str, embedded: Embedded, needed: str) -> str:
    """`needed`: the asset that is not there and tells how the branches are fused; "" where none is lacking."""
    without = [encoder for encoder in catalog.encoders_behind(catalog.systems[name]) if encoder not in embedded]
    if without:
        return f"not materialized: {catalog.backfill_command(*without)}"
    return f"{needed} is not materialized: {catalog.command_for(name)}" if needed else ""


def _movie_rows(
    name: str, system: SystemSettings, held: _HeldOut, fusion: Fusion, missing: str
) -> list[dict[str, object]]:
    """Both sets of candidates."""
    catalog, split = held.catalog, held.split
    threshold, k = catalog.evaluation.relevance_threshold, catalog.evaluation.k
    learnt = catalog.cold_start.movies > catalog.pairs.cold_share and _tuned(system, catalog)
    state = missing or (f"{learnt} has learnt from cold movies: cold_start.movies > pairs.cold_share" if learnt else "")
    if state:
        return _movie_states(name, state)
    if isinstance(fusion, _Learned):
        return _movie_states(name, "what it has learnt holds for movies that somebody rated")
    models, embedded = _branches(system, held)
    towers = cold_towers(models, embedded, split, PROFILE_READING[system.fusion], threshold)
    rows = []
    for candidates in ("cold", "all"):
        pool = cold_candidates(split, only_cold=candidates == "cold", seed=catalog.cold_start.seed)
        branches = system_branches(towers, pool, system.fusion, fusion)
        values = item_cold(branches, pool, split, k=k, threshold=threshold)
        rows.append(
            _row(name, "movies", candidates, None, MEASURED) | with_intervals(values, **catalog.evaluation.bootstrap)
        )
    return rows


def _movie_states(name: str, state: str) -> list[dict[str, object]]:
    return [_row(name, "movies", only, None, state) for only in ("cold", "all")]


def _people_rows(
    name: str, system: SystemSettings, held: _HeldOut, fusion: Fusion, missing: str
) -> list[dict[str, object]]:
    """Every number of known ratings."""
    catalog, split = held.catalog, held.split
    models, embedded = _branches(system, held)
    threshold, numbers_known = catalog.evaluation.relevance_threshold, catalog.cold_start.known
    learnt = _tuned(system, catalog)
    state = missing or (f"{learnt} has learnt from what these users liked" if learnt else "")
    try:
        folds_in = fold_in_models(model_specs(catalog, models), models, split.warm)
    except CannotFoldIn as error:
        state = str(error)
    if state:
        return [_row(name, "people", "warm", known, state) for known in numbers_known]
    if isinstance(fusion, _Learned):
        spec = learned_spec(catalog, system)
        loaded = learned_system(spec, fusion.table, folds_in, embedded, fusion.films, explained=0)
    else:
        warm = split.warm["movie_id"].unique(maintain_order=True).to_numpy()
        loaded = newcomer_system(folds_in, embedded, warm, fusion=system.fusion, weights=fusion, threshold=threshold)
    rows = []
    for known in numbers_known:
        values = user_cold(
            loaded, split, known=known, most_known=max(numbers_known), k=catalog.evaluation.k, threshold=threshold
        )
        rows.append(
            _row(name, "people", "warm", known, MEASURED) | with_intervals(values, **catalog.evaluation.bootstrap)
        )
    return rows


def _branches(system: SystemSettings, held: _HeldOut) -> tuple[dict[str, TowerPair], dict[str, tuple[Ids, Vectors]]]:
    """The system's models and texts that are there."""
    return (
        {model: held.fitted[model] for model in system.model_names if model in held.fitted},
        {encoder: held.embedded[encoder] for encoder in system.encoder_names if encoder in held.embedded},
    )


def _tuned(system: SystemSettings, catalog: Catalog) -> str:
    return ", ".join(name for name in catalog.encoders_behind(system) if catalog.encoders[name].tuning is not None)


def _row(name: str, protocol: str, candidates: str, known: int | None, state: str) -> dict[str, object]:
    return dict.fromkeys(SCHEMA) | {
        "protocol": protocol,
        "candidates": candidates,
        "system": name,
        "known": known,
        "state": state,
    }
