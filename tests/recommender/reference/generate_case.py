"""The case that the other libraries judged: writes case.json beside this file. Run: python generate_case.py (numpy).

40 users, lists of 25 of 240 items. Users 0 to 2 have shorter lists, users 3 to 5 more relevant items than 25,
user 6 no hit. The vectors are small integers, not normalised.
"""

import json
from pathlib import Path

import numpy as np

USERS, K, ITEMS, TRAIN_USERS = 40, 25, 240, 120
rng = np.random.default_rng(20240917)
shares = 1 / np.arange(1, ITEMS + 1) ** 0.7
shares /= shares.sum()

lists, relevant = [], []
for user in range(USERS):
    listed = rng.choice(ITEMS, size=(1, 2, 13)[user] if user < 3 else K, replace=False, p=shares)
    many = rng.integers(26, 50) if 3 <= user < 6 else rng.integers(1, 26)
    wanted = rng.choice(ITEMS, size=many, replace=False, p=shares)
    if user < 2:
        wanted = np.union1d(wanted, listed[:1])
    if user == 6:
        wanted = np.setdiff1d(np.arange(ITEMS), listed)[:5]
    lists.append(listed.tolist())
    relevant.append(sorted(wanted.tolist()))

# everybody has two items of their own, so that all items have a rating and all train users are counted
train = [
    sorted({user, user + TRAIN_USERS, *rng.choice(ITEMS, size=rng.integers(1, 12), p=shares).tolist()})
    for user in range(TRAIN_USERS)
]
vectors = rng.integers(-4, 5, size=(ITEMS, 5))
vectors[:, 0] += np.where((vectors == 0).all(axis=1), 1, 0)

case = {"k": K, "items": ITEMS, "lists": lists, "relevant": relevant, "train": train, "vectors": vectors.tolist()}
rows = [f"{json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in case.items()]
(Path(__file__).parent / "case.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")
