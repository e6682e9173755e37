"""The learned fusion by trees: a gradient-boosted ranker over the branches' scores and what is known of user and film.

Belongs here: training rankers and scoring by them. Does not: what they learn from (examples.py), ranking
(learned_ranking.py), a gate (gate.py).
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from hybrid_assets.recommender.learned.context import CONTEXT
from hybrid_assets.recommender.learned.features import feature_names
from hybrid_assets.recommender.learned.learned_ranking import Features, LearnedFusion, Scores
from hybrid_assets.recommender.towers import Vectors

if TYPE_CHECKING:
    from lightgbm import Booster, Dataset

# Of one ranker: several at a time keep the cores busy, and where others use them too, LightGBM's threads wait for each
# other so busily that training takes five times as long.
THREADS = 1
_SETTINGS = {"num_threads": THREADS, "deterministic": True, "force_row_wise": True, "verbose": -1}


class TooFewRows(ValueError):
    """A ranker's trees have no split, so that it scores everything alike; the message says what to do."""


def ranker_rows(taught: pl.DataFrame, names: Sequence[str], *, smallest_leaf: int, seed: int) -> "Dataset":
    """What rankers are trained on, put into LightGBM's bins once for all of them.

    Args:
        taught: `fold`, `user_id`, `hit` and the features of the examples of all held-out folds.
        names: of the features (`feature_names`), in this order.
        smallest_leaf: as of `train_ranker`: features that cannot split so many rows are left out.
        seed: of the rows that bins are drawn up by.

    Raises:
        ValueError: no held-out fold has a liked movie among a user's candidates.
    """
    from lightgbm import Dataset

    if taught.is_empty():
        raise ValueError(
            "no user likes a candidate in any held-out fold, so the stacker has nothing to learn from; lower "
            "evaluation.relevance_threshold, raise stacker.candidates, or choose another fusion"
        )
    return Dataset(
        taught.select(names).to_numpy(order="c"),
        label=taught["hit"].to_numpy(),
        group=taught.group_by("fold", "user_id", maintain_order=True).len()["len"].to_numpy(),
        feature_name=list(names),
        params={**_SETTINGS, "min_data_in_leaf": smallest_leaf, "data_random_seed": seed},
    ).construct()


def train_ranker(
    rows: "Dataset",
    *,
    trees: int,
    learning_rate: float,
    leaves: int,
    smallest_leaf: int,
    feature_share: float,
    row_share: float,
    seed: int,
) -> str:
    """A ranker of boosted trees with the loss XE-NDCG, in LightGBM's text form: numbers and no code.

    It ranks held-out folds as well as LambdaMART's loss and trains in 0.4 of the time (docs/results.md).

    Fixed seeds and LightGBM's deterministic mode: the same examples give the same text.
    Sources: Bruch, "An Alternative Cross Entropy Loss for Learning-to-Rank", WWW 2021 (arXiv 1911.09798); Ke et al.,
    "LightGBM", NIPS 2017; of LambdaMART: Burges, "From RankNet to LambdaRank to LambdaMART", MSR-TR-2010-82.

    Args:
        rows: `ranker_rows`; several rankers may be trained on them at a time.
        trees: how many.
        learning_rate: share of each tree's values that is added.
        leaves: most leaves of a tree.
        smallest_leaf: fewest rows of a leaf.
        feature_share: share of the features each tree may use.
        row_share: share of the rows each tree sees.
        seed: of both draws.

    Raises:
        TooFewRows: no tree splits them.
    """
    from lightgbm import train

    settings = _SETTINGS | {
        "objective": "rank_xendcg",
        "learning_rate": learning_rate,
        "num_leaves": leaves,
        "min_data_in_leaf": smallest_leaf,
        "feature_fraction": feature_share,
        "bagging_fraction": row_share,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": seed,
    }
    ranker = train(settings, rows, num_boost_round=trees)
    if not ranker.feature_importance("split").any():
        raise TooFewRows(
            f"no tree of the stacker splits its {rows.num_data():,} rows, so everybody would be ranked alike: they are "
            f"too few for smallest_leaf = {smallest_leaf}; lower systems.<name>.stacker.smallest_leaf or choose "
            "another fusion"
        )
    text: str = ranker.model_to_string()
    return text


def importances(rankers: Sequence[str]) -> pl.DataFrame:
    """`feature` and `gain`, the share of the rankers' total gain that it brought; largest first."""
    boosters = [_booster(text) for text in rankers]
    gain = np.sum([booster.feature_importance("gain") for booster in boosters], axis=0)
    return pl.DataFrame({"feature": boosters[0].feature_name(), "gain": gain / max(gain.sum(), 1e-12)}).sort(
        "gain", "feature", descending=[True, False]
    )


def stacked_fusion(rankers: Sequence[str], models: Sequence[str], contents: Sequence[str]) -> LearnedFusion:
    """The rankers' mean score, and what each branch adds to it.

    The part of a branch is the sum of its features' contributions (TreeSHAP: Lundberg et al., "From local
    explanations to global understanding with explainable AI for trees", 2020), that of CONTEXT the sum of the others
    and of the mean prediction; they sum to the score.

    Args:
        rankers: what `train_ranker` returned, at least one.
        models: names of the collaborative branches.
        contents: names of the content branches.

    Raises:
        ValueError: a ranker was trained on other features.
    """
    boosters = [_booster(text) for text in rankers]
    names = feature_names(models, contents)
    for booster in boosters:
        if booster.feature_name() != names:
            raise ValueError(
                f"the stacker knows the features {booster.feature_name()}, expected {names}; train it again"
            )
    owner = np.array([name.partition(".")[0] for name in names])

    def matrix(features: Features) -> Vectors:
        return np.stack([features[name] for name in names], axis=1)

    def score(features: Features) -> Scores:
        return _mean(boosters, matrix(features), raw_score=True)

    def shares(features: Features) -> dict[str, Scores]:
        found = _mean(boosters, matrix(features), pred_contrib=True)
        parts = {name: found[:, :-1][:, owner == name].sum(axis=1) for name in dict.fromkeys(owner.tolist())}
        return parts | {CONTEXT: parts[CONTEXT] + found[:, -1]}

    return LearnedFusion((*models, *contents), score, shares, (CONTEXT,))


def _booster(text: str) -> "Booster":
    from lightgbm import Booster

    return Booster(model_str=text)


def _mean(boosters: Sequence["Booster"], rows: Vectors, **what: bool) -> Scores:
    """The mean of what the boosters predict."""
    # side by side for one person too, who is a single block
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        found = workers.map(lambda booster: booster.predict(rows, num_threads=THREADS, **what), boosters)
        mean: Scores = np.mean(list(found), axis=0)
    return mean
