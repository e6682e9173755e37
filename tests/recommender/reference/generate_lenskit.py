"""What LensKit says of case.json: writes lenskit.json beside this file.

Run (Python 3.12.5 or later): pip install lenskit==2026.4.0, then python generate_lenskit.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lenskit.data import DatasetBuilder, ItemList
from lenskit.metrics import ILS, NDCG, Hit, LogRankWeight, Precision, Recall, RecipRank
from lenskit.metrics.ranking import AveragePrecision
from scipy.sparse import csr_array

folder = Path(__file__).parent
case = json.loads((folder / "case.json").read_text())
k = case["k"]

items = np.arange(case["items"])
builder = DatasetBuilder()
builder.add_entities("item", items)
# sparse, as 2026.4.0 forgets a dense vector attribute
builder.add_vector_attribute("item", "vector", items, csr_array(np.array(case["vectors"], dtype=float)))

metrics = {
    "precision_over_length": Precision(k),
    "recall_over_at_most_k": Recall(k),
    "ndcg_first_two_ranks_alike": NDCG(k),
    "ndcg": NDCG(k, weight=LogRankWeight(offset=1)),
    "average_precision_over_length": AveragePrecision(k),
    "reciprocal_rank": RecipRank(k),
    "hit": Hit(k),
    "similarity": ILS(builder.build(), "vector", k),
}
values = {
    name: [
        float(metric.measure_list(ItemList(item_ids=np.array(listed), ordered=True), ItemList(item_ids=wanted)))
        for listed, wanted in zip(case["lists"], case["relevant"], strict=True)
    ]
    for name, metric in metrics.items()
}

rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()]
head = f'{{\n"library": "lenskit",\n"version": "{version("lenskit")}",\n"values": {{\n'
(folder / "lenskit.json").write_text(head + ",\n".join(rows) + "\n}\n}\n")
