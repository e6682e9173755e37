"""What RecTools says of case.json: writes rectools.json beside this file.

Run: pip install rectools==0.19.0, then python generate_rectools.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from rectools import Columns
from rectools.metrics import (
    MAP,
    MRR,
    NDCG,
    CatalogCoverage,
    HitRate,
    IntraListDiversity,
    MeanInvUserFreq,
    Precision,
    Recall,
)
from rectools.metrics.distances import PairwiseDistanceCalculator

folder = Path(__file__).parent
case = json.loads((folder / "case.json").read_text())
k, users = case["k"], len(case["lists"])


def table(lists: list[list[int]]) -> pd.DataFrame:
    rows = [(user, item, rank) for user, items in enumerate(lists) for rank, item in enumerate(items, start=1)]
    return pd.DataFrame(rows, columns=[Columns.User, Columns.Item, Columns.Rank])


class CosineDistance(PairwiseDistanceCalculator):
    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _get_distances_for_item_pairs(self, items_0, items_1):
        return np.array([1 - self.vectors[a] @ self.vectors[b] for a, b in zip(items_0, items_1, strict=True)])


reco, relevant, train = (table(case[name]) for name in ("lists", "relevant", "train"))
judged = {
    "precision": Precision(k).calc_per_user(reco, relevant),
    "recall": Recall(k).calc_per_user(reco, relevant),
    "ndcg_over_ideal_of_k": NDCG(k).calc_per_user(reco, relevant),
    "ndcg": NDCG(k, divide_by_achievable=True).calc_per_user(reco, relevant),
    "average_precision_over_relevant": MAP(k).calc_per_user(reco, relevant),
    "average_precision_over_k": MAP(k, divide_by_k=True).calc_per_user(reco, relevant),
    "reciprocal_rank": MRR(k).calc_per_user(reco, relevant),
    "hit": HitRate(k).calc_per_user(reco, relevant),
    "novelty": MeanInvUserFreq(k).calc_per_user(reco, train),
    "diversity": IntraListDiversity(k, CosineDistance(np.array(case["vectors"], dtype=float))).calc_per_user(reco),
}
values = {name: per_user.reindex(range(users)).astype(float).tolist() for name, per_user in judged.items()}
values["coverage"] = float(CatalogCoverage(k, normalize=True).calc(reco, range(case["items"])))

rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()]
head = f'{{\n"library": "rectools",\n"version": "{version("rectools")}",\n"values": {{\n'
(folder / "rectools.json").write_text(head + ",\n".join(rows) + "\n}\n}\n")
