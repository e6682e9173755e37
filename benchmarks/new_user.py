"""How fast somebody new gets a list, once a system is loaded: ml-latest-small, or the sample where that is not at hand.

Prints, in the same run, fold-in and top 25 for one person with 20 ratings, by each system, against the floor of one
bare product of a vector and the same item vectors and its top 25. Usage: python benchmarks/new_user.py
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
import torch

from hybrid_assets.assets.factors import fit_model, fold_in_model
from hybrid_assets.catalog import load_catalog
from hybrid_assets.datasets.reading import find_table, read_ratings
from hybrid_assets.datasets.sources import locate
from hybrid_assets.environment import project_folder, raw_cache
from hybrid_assets.recommender.fold_in import UserOf
from hybrid_assets.recommender.newcomers import newcomer_ranking, newcomer_system
from hybrid_assets.recommender.split import split_ratings
from hybrid_assets.recommender.towers import TowerPair, Vectors

K, THRESHOLD, KNOWN, REPEATS = 25, 4.0, 20, 51
GOAL_MS = 50.0
# length of MiniLM's vectors: speed does not depend on their values
TEXT_DIMENSIONS = 384


def main() -> None:
    """Measure and print."""
    train = _train()
    item_ids = train["movie_id"].unique(maintain_order=True).to_numpy()
    own = train.filter(pl.col("user_id") == train["user_id"][0]).head(KNOWN)
    catalog = load_catalog()
    models: dict[str, tuple[UserOf, TowerPair]] = {}
    for name in ("most_popular", "pmf", "ease", "ease_liked", "als", "als_liked", "user_knn"):
        settings = catalog.models[name]
        if name == "pmf":  # speed does not depend on the values of the factors: few epochs are enough
            settings = settings.model_copy(update={"epochs": 5})
        pair = fit_model(settings, THRESHOLD, train)
        models[name] = (fold_in_model(settings, THRESHOLD, pair, train), pair)
    texts = np.random.default_rng(0).normal(size=(len(item_ids), TEXT_DIMENSIONS)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    print(f"{train.height:,} ratings, {len(item_ids):,} movies, {own.height} known, {torch.get_num_threads()} threads")
    print(f"{'':24}{'ms':>8}{'CPU ms':>8}{'floor, ms':>11}{'ratio':>8}")
    for title, names, with_texts in (
        *((name, (name,), False) for name in models),
        ("pmf and texts", ("pmf",), True),
        ("four models and texts", ("ease", "ease_liked", "als", "als_liked"), True),
    ):
        chosen = {name: models[name] for name in names}
        system = newcomer_system(
            chosen,
            {"texts": (item_ids, texts)} if with_texts else {},
            item_ids,
            fusion="zscore" if len(names) + with_texts > 1 else "convex",
            alpha=None,
            weights=None,
            threshold=THRESHOLD,
        )
        taken, cpu = _milliseconds(lambda system=system: newcomer_ranking(system, own, K))  # type: ignore[misc]
        floor, _ = _milliseconds(_bare({branch.name: branch.item_vectors for branch in system.branches}))
        print(f"{title:24}{taken:8.2f}{cpu:8.2f}{floor:11.2f}{taken / floor:8.1f}")
    print(f"goal: under {GOAL_MS:g} ms")


def _train() -> pl.DataFrame:
    shared = project_folder().parent / "shared" / "data" / "ml-latest-small"
    environment = dict(os.environ)
    if shared.exists():
        environment.setdefault("HYBRID_ML_LATEST_SMALL", str(shared))
    name = "ml-latest-small" if "HYBRID_ML_LATEST_SMALL" in environment else "sample"
    folder = locate(name, cache=raw_cache(), environment=environment, on_progress=lambda done, total: None, say=print)
    print(f"dataset {name}")
    ratings = read_ratings(find_table(folder, "ratings"))
    return split_ratings(ratings, test_share=0.2, min_ratings=5, validation_share=0.2, seed=42)[0]


def _bare(item_vectors: Mapping[str, Vectors]) -> Callable[[], object]:
    tables = [torch.from_numpy(vectors) for vectors in item_vectors.values()]
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
