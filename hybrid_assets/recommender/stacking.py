"""The learned fusion: a gradient-boosted ranker over the branches' scores and what is known of user and film.

Belongs here: folds, examples, training, ranking with each branch's share. Does not: candidates and their features
(stacking_features.py), fitting the branches.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.ranking import Index, Ranking
from hybrid_assets.recommender.stacking_context import CONTEXT, Feature
from hybrid_assets.recommender.stacking_features import (
    Aligned,
    Known,
    candidate_blocks,
    content_features,
    feature_names,
)
from hybrid_assets.recommender.systems import Candidates
from hybrid_assets.recommender.towers import Vectors, positions

if TYPE_CHECKING:
    from lightgbm import Booster

# Name -> what is known of some candidates, as content_features and candidate_blocks give it.
Features: TypeAlias = Mapping[str, Feature]
Scores: TypeAlias = npt.NDArray[np.float64]


# How many examples a row stands for: a column of what teaches.
STANDS_FOR = "stands_for"
# Of one ranker: several at a time keep the cores busy, and where others use them too, LightGBM's threads wait for each
# other so busily that training takes five times as long.
THREADS = 1


class TooFewRows(ValueError):
    """A ranker's trees have no split, so that it scores everything alike; the message says what to do."""


def cross_folds(train: pl.DataFrame, folds: int, seed: int) -> Index:
    """Fold of each train rating: each user's ratings, shuffled, are dealt out evenly from a random fold on.

    Every fold is held out once, and the branches fitted on the others have not seen it.
    """
    generator = np.random.default_rng(seed)
    _, user = np.unique(train["user_id"].to_numpy(), return_inverse=True)
    order = np.lexsort((generator.random(len(user)), user))
    counts = np.bincount(user)
    place = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    fold = np.empty(len(user), dtype=np.int64)
    fold[order] = (place + np.repeat(generator.integers(0, folds, len(counts)), counts)) % folds
    return fold


def examples(known: Known, held_out: pl.DataFrame, size: int) -> pl.DataFrame:
    """The candidates from `known` with what models and context tell of them, marked by the held-out ratings.

    Users without a hit teach nothing and are left out.

    Returns:
        `user_id`, `movie_id`, `hit` (1 where the held-out ratings like the film, else 0), a column a feature; a user's
        candidates stand together.
    """
    pool = known.pool
    liked = held_out.filter(pl.col("rating") >= known.films.threshold)
    rows = positions(pool.user_ids, liked["user_id"].to_numpy())
    items = positions(pool.item_ids, liked["movie_id"].to_numpy())
    width = len(pool.item_ids)
    wanted = (rows * width + items)[(rows >= 0) & (items >= 0)]
    tables = []
    for block in candidate_blocks(known, size):
        hit = np.isin(block.users * width + block.items, wanted)
        named = {
            "user_id": pool.user_ids[block.users],
            "movie_id": pool.item_ids[block.items],
            "hit": hit.astype(np.int8),
        }
        tables.append(pl.DataFrame(named | block.features).filter(np.isin(block.users, block.users[hit])))
    return pl.concat(tables)


def drawn_negatives(taught: pl.DataFrame, count: int, draws: np.random.Generator) -> pl.DataFrame:
    """The examples with a hit, and `count` of each user's others, drawn at random: all where there are no more.

    Trees learn as much from half of them as from all, in half the time; a gate needs to be told how many it does not
    see (docs/results.md).

    Returns:
        The same columns, and behind `hit` STANDS_FOR, how many examples a row stands for: 1, or more where others were
        not drawn.
    """
    others, is_hit = pl.len().over("user_id", "hit"), pl.col("hit") == 1
    return (
        taught.with_columns(
            pl.when(is_hit).then(1.0).otherwise((others / count).clip(1.0)).cast(pl.Float32).alias(STANDS_FOR),
            pl.Series("draw", draws.permutation(taught.height)),
        )
        .filter(is_hit | (pl.col("draw").rank("ordinal").over("user_id", "hit") <= count))
        .select("user_id", "movie_id", "hit", STANDS_FOR, pl.exclude("user_id", "movie_id", "hit", STANDS_FOR, "draw"))
    )


def with_contents(
    taught: pl.DataFrame, ratings: pl.DataFrame, pool: Candidates, contents: Mapping[str, Aligned], threshold: float
) -> pl.DataFrame:
    """Examples with what the texts tell of them (`content_features`, whose arguments these are)."""
    users, items = (
        positions(ids, taught[name].to_numpy())
        for ids, name in ((pool.user_ids, "user_id"), (pool.item_ids, "movie_id"))
    )
    return taught.with_columns(**content_features(ratings, pool, contents, threshold)(users, items))


def train_ranker(
    taught: pl.DataFrame,
    names: Sequence[str],
    *,
    trees: int,
    learning_rate: float,
    leaves: int,
    smallest_leaf: int,
    feature_share: float,
    row_share: float,
    seed: int,
) -> str:
    """A ranker of boosted trees, LambdaMART with the cross-entropy loss, in LightGBM's text form: numbers and no code.

    XE-NDCG ranks held-out folds as well as LambdaMART's own loss and trains in 0.4 of the time (docs/results.md).

    Fixed seeds and LightGBM's deterministic mode: the same examples give the same text.
    Sources: Burges, "From RankNet to LambdaRank to LambdaMART: An Overview", MSR-TR-2010-82; Bruch, "An Alternative
    Cross Entropy Loss for Learning-to-Rank", WWW 2021 (arXiv 1911.09798); Ke et al., "LightGBM", NIPS 2017.

    Args:
        taught: `fold`, `user_id`, `hit` and the features of the examples of all held-out folds.
        names: of the features (`feature_names`), in this order.
        trees: how many.
        learning_rate: share of each tree's values that is added.
        leaves: most leaves of a tree.
        smallest_leaf: fewest rows of a leaf.
        feature_share: share of the features each tree may use.
        row_share: share of the rows each tree sees.
        seed: of both draws.

    Raises:
        ValueError: no held-out fold has a liked movie among a user's candidates.
        TooFewRows: no tree splits them.
    """
    from lightgbm import Dataset, train

    if taught.is_empty():
        raise ValueError(
            "no user likes a candidate in any held-out fold, so the stacker has nothing to learn from; lower "
            "evaluation.relevance_threshold, raise stacker.candidates, or choose another fusion"
        )
    settings = {
        "objective": "rank_xendcg",
        "learning_rate": learning_rate,
        "num_leaves": leaves,
        "min_data_in_leaf": smallest_leaf,
        "feature_fraction": feature_share,
        "bagging_fraction": row_share,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": seed,
        "num_threads": THREADS,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
    rows = Dataset(
        taught.select(names).to_numpy(order="c"),
        label=taught["hit"].to_numpy(),
        group=taught.group_by("fold", "user_id", maintain_order=True).len()["len"].to_numpy(),
        feature_name=list(names),
        params=settings,
    )
    ranker = train(settings, rows, num_boost_round=trees)
    if not ranker.feature_importance("split").any():
        raise TooFewRows(
            f"no tree of the stacker splits its {taught.height:,} rows, so everybody would be ranked alike: they are "
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


@dataclass(frozen=True)
class LearnedFusion:
    """How candidates are scored by what was learned.

    Attributes:
        branches: the models, then the encoders, that it was trained on.
        score: features of some candidates -> (rows,).
        shares: the same -> branch, or another part of the score -> (rows,), which sum to the score.
        parts: names of the shares that are not a branch's.
    """

    branches: tuple[str, ...]
    score: Callable[[Features], Scores]
    shares: Callable[[Features], Mapping[str, Scores]]
    parts: tuple[str, ...] = ()


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


def learned_ranking(fusion: LearnedFusion, known: Known, size: int, k: int, *, explained: int) -> Ranking:
    """The k best of each user's candidates by a learned fusion. Equal scores keep the order of the models' z-sum.

    Args:
        fusion: what was learned.
        known: who gets a list, and what is known then.
        size: candidates of each user; a list is no longer.
        k: length of the lists.
        explained: of how many, from the first on, the parts of the score are computed (by trees they cost more than
            the ranking); those of the others are NaN.

    Raises:
        ValueError: it was trained on other branches.
    """
    branches = (*known.models, *known.contents)
    if fusion.branches != branches:
        raise ValueError(f"what was learned knows the branches {fusion.branches}, expected {branches}; train it again")
    pool = known.pool
    users = len(pool.user_ids)
    listed = np.full((users, k), -1, dtype=np.int64)
    fused = np.full((users, k), -np.inf, dtype=np.float32)
    own = {name: np.full((users, k), np.nan, dtype=np.float32) for name in branches}
    adds = {name: np.full((users, k), np.nan, dtype=np.float32) for name in (*branches, *fusion.parts)}
    texts = content_features(known.ratings, pool, known.contents, known.films.threshold)
    for block in candidate_blocks(known, size):
        if len(block.users) == 0:
            continue
        features = block.features | texts(block.users, block.items)
        scores = fusion.score(features)
        order = np.lexsort((-scores, block.users))
        counts = np.bincount(block.users, minlength=users)
        place = np.arange(len(order)) - (np.cumsum(counts) - counts)[block.users[order]]
        order, place = order[place < k], place[place < k]
        row = block.users[order]
        listed[row, place] = block.items[order]
        fused[row, place] = scores[order]
        for name in branches:
            own[name][row, place] = features[f"{name}.score"][order]
        first = place < explained
        if first.any():
            told = fusion.shares({name: values[order[first]] for name, values in features.items()})
            for name, values in told.items():
                adds[name][row[first], place[first]] = values
    return Ranking(listed, fused, own, adds)


def _booster(text: str) -> "Booster":
    from lightgbm import Booster

    return Booster(model_str=text)


def _mean(boosters: Sequence["Booster"], rows: Vectors, **what: bool) -> Scores:
    """The mean of what the boosters predict."""
    with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
        found = side_by_side.map(lambda booster: booster.predict(rows, num_threads=THREADS, **what), boosters)
        mean: Scores = np.mean(list(found), axis=0)
    return mean
