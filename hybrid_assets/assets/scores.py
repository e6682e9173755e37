"""towers -> scores/<system>: the ranked lists of every user, one asset for each system of the catalog."""

from collections.abc import Callable, Mapping

import dagster as dg
import polars as pl

from hybrid_assets.assets.stackers import embeddings_of, learned_asset, system_tags
from hybrid_assets.catalog import Catalog
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.fusion import FUSIONS, PROFILE_READING
from hybrid_assets.recommender.learned.context import CONTEXT
from hybrid_assets.recommender.learned.features import aligned, content_features
from hybrid_assets.recommender.learned.learned_ranking import learned_ranking
from hybrid_assets.recommender.learned.learned_systems import content_towers, learned_fusion
from hybrid_assets.recommender.ranking import Branch, Ranking, rank
from hybrid_assets.recommender.rerank import RERANK, less_popular, mmr
from hybrid_assets.recommender.systems import (
    Candidates,
    candidates,
    choose_weights,
    score_table,
    system_branches,
)
from hybrid_assets.recommender.tables import Fold, encoder_towers, fold_of, ids_and_vectors, model_towers
from hybrid_assets.recommender.towers import TowerPair, align
from hybrid_assets.recommender.validity import wrong_lists
from hybrid_assets.reporting.markdown import markdown_table
from hybrid_assets.specs import learned_spec
from hybrid_assets.system_settings import RerankSettings, SystemSettings

Tables = Mapping[str, pl.LazyFrame]
# How far down trees say what each branch adds: as far as `recommend` looks unless told otherwise. It costs more than
# the ranking.
EXPLAINED = 10


def score_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """scores/<system> for every system."""
    return [_score_asset(name, system, catalog) for name, system in catalog.systems.items()]


def _score_asset(name: str, system: SystemSettings, catalog: Catalog) -> dg.AssetsDefinition:
    evaluation = catalog.evaluation
    inputs = _inputs(name, system, catalog)
    branch_columns = {}
    for branch in system.branch_names:
        branch_columns[f"score_{branch}"] = f"score of {branch} before normalisation"
        branch_columns[f"part_{branch}"] = f"what {branch} adds to the score"
    if system.fusion == "stacked":
        branch_columns[f"part_{CONTEXT}"] = "what is known of user and film adds to the score"
        for column in [name for name in branch_columns if name.startswith("part_")]:
            branch_columns[column] += f"; NaN below rank {EXPLAINED}"
    if system.rerank:
        branch_columns[f"part_{RERANK}"] = "what re-ranking takes off the score"

    @incremental_asset(
        key=f"scores/{name}",
        group="scores",
        version={"stacked": "7", "gated": "4"}.get(system.fusion, "2"),
        settings=[
            system.model_dump(exclude={"published"}),
            [evaluation.k, evaluation.relevance_threshold, evaluation.list_length],
        ],
        libraries=["numpy", *(["lightgbm"] * (system.fusion == "stacked"))] if system.is_learned else ["torch"],
        inputs=inputs,
        kinds=frozenset({"lightgbm" if system.fusion == "stacked" else "pytorch"}),
        tags=system_tags(name, system),
        description=(
            f"The best {evaluation.list_length} movies for each user by {name}: {_in_words(system)}. Movies that the "
            "user rated in train are left out."
        ),
        columns={
            "user_id": "for whom",
            "rank": "1 = best",
            "movie_id": "what",
            "score": "what it is ranked by: the sum of the parts",
            **branch_columns,
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "movie_id": [(inputs.get("shortlists", "train_ratings"), "movie_id")],
            "score": [
                (key, {"learned": "weight" if system.fusion == "gated" else "ranker"}.get(role, "vector"))
                for role, key in inputs.items()
                if role not in ("train_ratings", "shortlists")
            ],
        },
        checks=[
            # one check: Dagster writes five records for each
            Check(
                "sound_lists",
                "Every user who has not rated every movie has a list of distinct movies that were not rated in train; "
                "ranks count from 1 and scores do not rise.",
                lambda made: wrong_lists(made.table, made.given("train_ratings")),
            ),
        ],
    )
    def scores(step: Step, train_ratings: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        train = train_ratings.collect()
        pool = candidates(fold_of(train, "train"))
        numbers: dict[str, float | int | str] = {}
        notes: dict[str, str] = {}
        if system.is_learned:
            ranking = _learned(system, catalog, train, pool, tables)
        else:
            branches = _branches(step, system, catalog, train, pool, tables, numbers, notes)
            ranking = rank(branches, pool.seen, evaluation.list_length, progress=step.progress("users"))
        if system.rerank:
            reorder = reordering(system.rerank, pool, tables.get(f"embeddings_{system.rerank.encoder}"))
            ranking = reorder(ranking)
        table = score_table(ranking, pool)
        return Computed(table, {"users": table["user_id"].n_unique(), **numbers}, notes)

    return scores


def _inputs(name: str, system: SystemSettings, catalog: Catalog) -> dict[str, str]:
    inputs = {"train_ratings": "train_ratings"}
    models = [model for model in system.model_names if not system.is_learned or catalog.encoder_of(model)]
    inputs |= {f"factors_{model}": f"factors/{model}" for model in models}
    inputs |= {f"embeddings_{encoder}": f"embeddings/{encoder}" for encoder in system.needed_encoders}
    if system.is_learned:
        shortlists = f"shortlists/{catalog.candidates_of(name)}"
        return inputs | {"shortlists": shortlists, "learned": learned_asset(name, system)}
    return inputs | {f"profiles_{encoder}": f"profiles/{encoder}" for encoder in system.encoder_names}


def _branches(
    step: Step,
    system: SystemSettings,
    catalog: Catalog,
    train: pl.DataFrame,
    pool: Candidates,
    tables: Tables,
    numbers: dict[str, float | int | str],
    notes: dict[str, str],
) -> list[Branch]:
    """The weighted branches over the candidates; weights that validation has to choose go into numbers and notes."""
    k, threshold = catalog.evaluation.k, catalog.evaluation.relevance_threshold
    if system.weighs_branches:
        weights, tried = choose_weights(_towers(system, tables, "fit"), train, system.fusion, k=k, threshold=threshold)
        numbers |= (
            {"alpha": weights[0]}
            if system.fusion in FUSIONS
            else dict(zip(_weight_names(system), weights, strict=True))
        )
        step.say(f"weights {', '.join(f'{weight:g}' for weight in weights)} have the highest NDCG@{k} on validation")
        notes["weight_search"] = markdown_table(tried)
    elif system.alpha is not None:
        numbers["alpha"] = system.alpha
    return system_branches(_towers(system, tables, "train"), pool, system.fusion, chosen_weights(system, numbers))


def chosen_weights(system: SystemSettings, numbers: Mapping[str, float | int | str]) -> tuple[float, ...] | None:
    """The weight of each branch: as set, or as in the numbers of scores/<system>; None for a single branch."""
    if system.alpha is None and not system.weighs_branches:
        return None
    if system.fusion in FUSIONS:
        alpha = float(numbers["alpha"]) if system.alpha is None else system.alpha
        return alpha, 1.0 - alpha
    return tuple(float(numbers[name]) for name in _weight_names(system))


def stored_weights(store: TableStore, name: str, system: SystemSettings) -> tuple[float, ...] | None:
    """`chosen_weights` of a system whose lists are in storage, where validation chose them."""
    stamp = store.stamp(dg.AssetKey(["scores", name])) if system.weighs_branches else None
    return chosen_weights(system, stamp.numbers if stamp else {})


def _weight_names(system: SystemSettings) -> list[str]:
    return [f"weight_{branch}" for branch in system.branch_names]


def _learned(
    system: SystemSettings, catalog: Catalog, train: pl.DataFrame, pool: Candidates, tables: Tables
) -> Ranking:
    threshold, k = catalog.evaluation.relevance_threshold, catalog.evaluation.list_length
    spec = learned_spec(catalog, system)
    contents = content_towers(train, embeddings_of(spec.encoders, tables), threshold)
    text_models = {model: model_towers(tables[f"factors_{model}"], "train") for model in spec.text_models}
    told = content_features(train, pool, aligned(contents, pool), threshold, aligned(text_models, pool))
    fusion = learned_fusion(spec, tables["learned"].collect())
    chosen = tables["shortlists"].collect()
    return learned_ranking(fusion, chosen, pool, told, k, explained=explained_ranks(system, k))


def explained_ranks(system: SystemSettings, k: int) -> int:
    """How far down lists of k the parts of a learned score are told."""
    return EXPLAINED if system.fusion == "stacked" else k


def reordering(
    rerank: RerankSettings, pool: Candidates, embeddings: pl.LazyFrame | None
) -> Callable[[Ranking], Ranking]:
    """What puts lists into another order.

    Args:
        rerank: how.
        pool: the candidates, and what everybody rated.
        embeddings: of the encoder that it goes by, where it goes by any.
    """
    if embeddings is None:
        counts = pool.item_counts
        return lambda ranking: less_popular(ranking, counts, rerank.weight)
    vectors = align(*ids_and_vectors(embeddings.collect(), "movie_id"), pool.item_ids, missing="refuse")
    return lambda ranking: mmr(ranking, vectors, rerank.weight)


def _towers(system: SystemSettings, tables: Tables, fold: Fold) -> dict[str, TowerPair]:
    towers = {model: model_towers(tables[f"factors_{model}"], fold) for model in system.model_names}
    for encoder in system.encoder_names:
        profiles, embeddings = tables[f"profiles_{encoder}"], tables[f"embeddings_{encoder}"]
        towers[encoder] = encoder_towers(profiles, embeddings, fold, PROFILE_READING[system.fusion])
    return towers


def _in_words(system: SystemSettings) -> str:
    branches = system.branch_names
    if system.rerank:
        by = f" over {system.rerank.encoder}" if system.rerank.encoder else ""
        plain = system.model_copy(update={"rerank": None})
        return f"{_in_words(plain)}, re-ranked by `{system.rerank.method}`{by} with weight {system.rerank.weight:g}"
    if len(branches) == 1 and not system.is_learned:
        return f"{branches[0]} alone"
    if system.is_learned:
        weight = "learned on held-out folds of train"
    elif system.fusion == "zscore":
        weight = "weights chosen on validation"
    else:
        weight = "alpha chosen on validation" if system.alpha is None else f"alpha {system.alpha}"
    return f"{', '.join(branches[:-1])} and {branches[-1]} fused by `{system.fusion}`, {weight}"
