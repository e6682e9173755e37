"""towers -> scores/<system>: the ranked lists of every user, one asset for each system of the catalog."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, SystemSettings
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.fusion import PROFILE_READING
from hybrid_assets.recommender.ranking import rank
from hybrid_assets.recommender.systems import candidates, choose_alpha, score_table, system_branches
from hybrid_assets.recommender.tables import Fold, encoder_towers, fold_of, model_towers
from hybrid_assets.recommender.towers import TowerPair


def score_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """scores/<system> for every system."""
    return [_score_asset(name, system, catalog) for name, system in catalog.systems.items()]


def system_tags(name: str, system: SystemSettings) -> dict[str, str]:
    """Tags of a system's assets, by which its branch is selected."""
    named = {"system": name, "model": system.model, "encoder": system.encoder}
    return {tag: value for tag, value in named.items() if value is not None}


def _score_asset(name: str, system: SystemSettings, catalog: Catalog) -> dg.AssetsDefinition:
    evaluation = catalog.evaluation
    branches = [branch for branch in (system.model, system.encoder) if branch is not None]
    inputs = {"train_ratings": "train_ratings"}
    if system.model:
        inputs["factors"] = f"factors/{system.model}"
    if system.encoder:
        inputs["profiles"] = f"profiles/{system.encoder}"
        inputs["embeddings"] = f"embeddings/{system.encoder}"
    branch_columns = {}
    for branch in branches:
        branch_columns[f"score_{branch}"] = f"score of {branch} before normalisation"
        branch_columns[f"part_{branch}"] = f"what {branch} adds to the score: weighted and normalised"

    @incremental_asset(
        key=f"scores/{name}",
        group="scores",
        version="1",
        settings=[
            system.model_dump(exclude={"published"}),
            [evaluation.k, evaluation.relevance_threshold, evaluation.list_length],
        ],
        inputs=inputs,
        kinds=frozenset({"pytorch"}),
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
            "movie_id": [("train_ratings", "movie_id")],
            "score": [(key, "vector") for role, key in inputs.items() if role != "train_ratings"],
        },
    )
    def scores(step: Step, train_ratings: pl.LazyFrame, **tables: pl.LazyFrame) -> Computed:
        train = train_ratings.collect()
        alpha, curve = system.alpha, None
        if len(branches) == 2 and alpha is None:
            alpha, curve = choose_alpha(
                _towers(system, tables, "fit"),
                train,
                system.fusion,
                k=evaluation.k,
                threshold=evaluation.relevance_threshold,
            )
            step.say(f"alpha = {alpha:.2f} has the highest NDCG@{evaluation.k} on validation")
        pool = candidates(fold_of(train, "train"))
        ranking = rank(
            system_branches(_towers(system, tables, "train"), pool, system.fusion, alpha),
            pool.seen,
            evaluation.list_length,
            progress=step.progress("users"),
        )
        table = score_table(ranking, pool)
        numbers: dict[str, float | int | str] = {"users": table["user_id"].n_unique()}
        if alpha is not None:
            numbers["alpha"] = alpha
        notes = {}
        if curve is not None:
            rows = "\n".join(f"| {a:.2f} | {q:.4f} |" for a, q in curve.iter_rows())
            notes["alpha_search"] = f"| alpha | NDCG@{evaluation.k} on validation |\n|---|---|\n{rows}"
        return Computed(table, numbers, notes)

    return scores


def _towers(system: SystemSettings, tables: Mapping[str, pl.LazyFrame], fold: Fold) -> dict[str, TowerPair]:
    towers = {}
    if system.model:
        towers[system.model] = model_towers(tables["factors"], fold)
    if system.encoder:
        reading = PROFILE_READING[system.fusion]
        towers[system.encoder] = encoder_towers(tables["profiles"], tables["embeddings"], fold, reading)
    return towers


def _in_words(system: SystemSettings) -> str:
    if system.model and system.encoder:
        weight = "alpha chosen on validation" if system.alpha is None else f"alpha {system.alpha}"
        return f"{system.model} and {system.encoder} fused by `{system.fusion}`, {weight}"
    return f"{system.model or system.encoder} alone"
