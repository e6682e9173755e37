"""What pytrec-eval (NIST's trec_eval) says of case.json: writes pytrec_eval.json beside this file.

Run: pip install pytrec-eval-terrier==0.5.11, then python generate_pytrec_eval.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import pytrec_eval

folder = Path(__file__).parent
case = json.loads((folder / "case.json").read_text())
k = case["k"]

run = {
    str(user): {str(item): float(-rank) for rank, item in enumerate(listed)}
    for user, listed in enumerate(case["lists"])
}
relevant = {str(user): {str(item): 1 for item in wanted} for user, wanted in enumerate(case["relevant"])}
# The list-NDCG's ideal knows of no relevant item but those of the list.
listed_only = {user: {item: 1 for item in wanted if item in run[user]} for user, wanted in relevant.items()}


def judge(measure: str, truth: dict[str, dict[str, int]]) -> list[float]:
    name, _, cut = measure.partition(".")
    results = pytrec_eval.RelevanceEvaluator(truth, {measure}).evaluate(run)
    # a user with nothing relevant, as where the truth is the list's own hits, is not judged
    return [results[user][f"{name}_{cut}" if cut else name] if user in results else 0.0 for user in run]


values = {
    "precision": judge(f"P.{k}", relevant),
    "recall": judge(f"recall.{k}", relevant),
    "ndcg": judge(f"ndcg_cut.{k}", relevant),
    "ndcg_list": judge(f"ndcg_cut.{k}", listed_only),
    "average_precision_over_relevant": judge(f"map_cut.{k}", relevant),
    "reciprocal_rank": judge("recip_rank", relevant),
    "hit": judge(f"success.{k}", relevant),
}

rows = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items()]
head = f'{{\n"library": "pytrec-eval-terrier",\n"version": "{version("pytrec-eval-terrier")}",\n"values": {{\n'
(folder / "pytrec_eval.json").write_text(head + ",\n".join(rows) + "\n}\n}\n")
