"""How fast somebody new gets a list, once a system is loaded, over ml-latest-small (movielens.py).

Prints, in the same run, fold-in and top 25 for one person with 20 ratings, by each system, against the floor of one
bare product of a vector and the same item vectors and its top 25. Usage: python benchmarks/new_user.py
"""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from movielens import ratings_movies_tags

from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.learned.context import films_of
from hybrid_assets.recommender.learned.learned_newcomers import (
    learned_newcomer_system,
    leave_out,
    newcomer_examples,
    with_newcomer_contents,
)
from hybrid_assets.recommender.learned.learned_ranking import LearnedFusion
from hybrid_assets.recommender.learned.learned_systems import learn, learned_fusion
from hybrid_assets.recommender.models.algorithms import fit_model, fold_in_models
from hybrid_assets.recommender.models.fold_in import UserOf
from hybrid_assets.recommender.newcomers import NewcomerSystem, newcomer_system
from hybrid_assets.recommender.split import split_ratings
from hybrid_assets.recommender.systems import candidates
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors
from hybrid_assets.specs import learned_spec, model_specs
from hybrid_assets.system_settings import SystemSettings

K, THRESHOLD, KNOWN, REPEATS = 25, 4.0, 20, 51
GOAL_MS = 50.0
# length of MiniLM's vectors: speed does not depend on their values
TEXT_DIMENSIONS = 384


def main() -> None:
    """Measure and print."""
    train, movies = _tables()
    item_ids = candidates(train).item_ids
    own = train.filter(pl.col("user_id") == train["user_id"][0]).head(KNOWN)
    catalog = load_catalog()
    stacked = catalog.systems["stacked_minilm"]
    texts = np.random.default_rng(0).normal(size=(len(item_ids), TEXT_DIMENSIONS)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    facts = film_facts(movies)
    models = _fitted(catalog, ("most_popular", "pmf", *stacked.model_names), train, (item_ids, texts), facts)
    print(f"{train.height:,} ratings, {len(item_ids):,} movies, {own.height} known, {torch.get_num_threads()} threads")
    print(f"{'':24}{'ms':>8}{'CPU ms':>8}{'floor, ms':>11}{'ratio':>8}")
    for title, names, with_texts in (
        *((name, (name,), False) for name in models),
        ("pmf and texts", ("pmf",), True),
        ("four models and texts", ("ease", "ease_liked", "als", "als_liked"), True),
    ):
        system = newcomer_system(
            {name: models[name] for name in names},
            {"texts": (item_ids, texts)} if with_texts else {},
            item_ids,
            fusion="zscore" if len(names) + with_texts > 1 else "convex",
            weights=None,
            threshold=THRESHOLD,
        )
        _row(title, system, own, [*(models[name][1].item_vectors for name in names), *([texts] * with_texts)])
    fusion = _learned(catalog, stacked, train, facts, {"minilm": (item_ids, texts)})
    of_stacked = {name: models[name] for name in stacked.model_names}
    system = learned_newcomer_system(
        of_stacked,
        {"minilm": (item_ids, texts)},
        films_of(train, facts, THRESHOLD),
        few=fusion,
        many=fusion,
        most_few=KNOWN,
        choosing=learned_spec(catalog, stacked).choosing,
        size=stacked.learning.candidates,
        explained=0,
    )
    _row("stacked_minilm", system, own, [*(pair.item_vectors for _, pair in of_stacked.values()), texts])
    print(f"goal: under {GOAL_MS:g} ms")


def _fitted(
    catalog: Catalog, names: Iterable[str], train: pl.DataFrame, texts: tuple[Ids, Vectors], facts: pl.DataFrame
) -> dict[str, tuple[UserOf, TowerPair]]:
    specs = model_specs(catalog, names)
    if "pmf" in specs:  # speed does not depend on the values of the factors
        specs["pmf"] = replace(specs["pmf"], settings={**specs["pmf"].settings, "epochs": 5})
    fitted = {name: fit_model(model, train, texts, facts=facts) for name, model in specs.items()}
    return fold_in_models(specs, fitted, train)


def _learned(
    catalog: Catalog,
    system: SystemSettings,
    train: pl.DataFrame,
    facts: pl.DataFrame,
    embeddings: dict[str, tuple[Ids, Vectors]],
) -> LearnedFusion:
    """As many trees as the system's, taught by newcomers with as many ratings as are known here."""
    spec = learned_spec(catalog, system)
    left_out = leave_out(train, spec.newcomers, spec.seed)
    assert left_out
    films = films_of(left_out.warm, facts, THRESHOLD)
    models = _fitted(catalog, system.model_names, left_out.warm, embeddings["minilm"], facts)
    choosing, reading = ({name: models[name] for name in names} for names in (spec.choosing, spec.text_models))
    taught = newcomer_examples(choosing, films, left_out, KNOWN, spec.candidates)
    taught = with_newcomer_contents(taught, embeddings, left_out, KNOWN, THRESHOLD, reading)
    table = learn(spec, taught.with_columns(fold=pl.lit(spec.folds)), lambda told: None, for_users=False)
    return learned_fusion(spec, table)


def _row(title: str, system: NewcomerSystem, own: pl.DataFrame, item_vectors: list[Vectors]) -> None:
    taken, cpu = _milliseconds(lambda: system(own, K))
    floor, _ = _milliseconds(_bare(item_vectors))
    print(f"{title:24}{taken:8.2f}{cpu:8.2f}{floor:11.2f}{taken / floor:8.1f}")


def _tables() -> tuple[pl.DataFrame, pl.DataFrame]:
    ratings, movies, _ = ratings_movies_tags()
    return split_ratings(ratings, test_share=0.2, min_ratings=5, validation_share=0.2, seed=42)[0], movies


def _bare(item_vectors: list[Vectors]) -> Callable[[], object]:
    tables = [torch.from_numpy(vectors) for vectors in item_vectors]
    users = [torch.ones(table.shape[1]) for table in tables]

    def scores_and_top() -> object:
        total = torch.stack([table @ user for table, user in zip(tables, users, strict=True)]).sum(dim=0)
        return total.topk(K)

    return scores_and_top


def _milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """Median of the time on the clock, and mean of the CPU time, which a busy machine disturbs less."""
    work()
    taken = []
    cpu = time.process_time()
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e3, (time.process_time() - cpu) / REPEATS * 1e3


if __name__ == "__main__":
    main()
