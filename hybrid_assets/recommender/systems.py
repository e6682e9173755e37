"""Systems: models and encoders, one or several, ranked over the users and movies of train.

Belongs here: putting branches, fusion and train ratings together, and the weights' choice on validation.
Does not: the engine itself (ranking.py), judging the final lists (metrics.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.fusion import Weights, best_alpha, best_weights, normalisations
from hybrid_assets.recommender.metrics import ndcg
from hybrid_assets.recommender.ranking import Branch, Ranking, rank_each
from hybrid_assets.recommender.tables import fold_of
from hybrid_assets.recommender.towers import Csr, Ids, Index, TowerPair, align, first_appearance, positions


@dataclass(frozen=True)
class Candidates:
    """The users and movies that are ranked, and what each user has already rated.

    Attributes:
        user_ids: (users,) in order of first appearance in train.
        item_ids: (items,) likewise.
        seen: what each has rated, as `items_by_user` gives it.
    """

    user_ids: Ids
    item_ids: Ids
    seen: Csr

    @property
    def item_counts(self) -> Index:
        """(items,) how many have rated each."""
        return np.bincount(self.seen[1], minlength=len(self.item_ids))


def items_by_user(ratings: pl.DataFrame, user_ids: Ids, item_ids: Ids) -> Csr:
    """The movies of each user, in the order of the rows, which may hold other users and movies too: they are left out.

    Args:
        ratings: `user_id`, `movie_id`.
        user_ids: (users,).
        item_ids: (items,).
    """
    users = positions(user_ids, ratings["user_id"].to_numpy())
    items = positions(item_ids, ratings["movie_id"].to_numpy())
    known = (users >= 0) & (items >= 0)
    users, items = users[known], items[known]
    indptr = np.zeros(len(user_ids) + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=len(user_ids)), out=indptr[1:])
    return indptr, items[np.argsort(users, kind="stable")]


def items_of(rows: Csr, users: Index) -> Csr:
    """The rows of some users, in their order."""
    indptr, items = rows
    counts = np.diff(indptr)[users]
    ends = np.cumsum(counts)
    return np.append(0, ends), items[np.repeat(indptr[users] - (ends - counts), counts) + np.arange(counts.sum())]


def candidates(train: pl.DataFrame) -> Candidates:
    """All users and movies of the train ratings (of one fold)."""
    user_ids, item_ids = (first_appearance(train[name].to_numpy()) for name in ("user_id", "movie_id"))
    return Candidates(user_ids, item_ids, items_by_user(train, user_ids, item_ids))


def relevant_items(held_out: pl.DataFrame, pool: Candidates, threshold: float) -> tuple[Index, Csr]:
    """Who is evaluated and on what: held-out ratings of at least `threshold` of movies that can be recommended.

    Returns:
        Indices of the users with a relevant movie, ascending, and their relevant items.
    """
    liked = items_by_user(held_out.filter(pl.col("rating") >= threshold), pool.user_ids, pool.item_ids)
    evaluated = np.flatnonzero(np.diff(liked[0]))
    return evaluated, items_of(liked, evaluated)


def validation_task(train: pl.DataFrame, threshold: float) -> tuple[Candidates, Index, Csr]:
    """What is chosen on: the candidates of train without its validation part, and `relevant_items` of that part.

    Raises:
        ValueError: no user has a relevant movie in the validation part.
    """
    pool = candidates(fold_of(train, "fit"))
    users, relevant = relevant_items(train.filter(pl.col("validation")), pool, threshold)
    if len(users) == 0:
        raise ValueError(
            "no user has a relevant movie in the validation part of train, so neither settings nor a fusion's weights "
            "can be chosen on it; lower evaluation.relevance_threshold, or set them by hand (systems.<name>.alpha of "
            "two branches)"
        )
    return pool, users, relevant


def system_branches(
    towers: Mapping[str, TowerPair], pool: Candidates, fusion: str, weights: Sequence[float] | None = None
) -> list[Branch]:
    """The branches of a system over the candidates.

    Args:
        towers: tower pairs by name, the collaborative ones first.
        pool: users and movies to rank. A content branch may lack a user (who liked nothing): that user's scores of it
            are 0, and the other branches alone decide.
        fusion: "zscore", or a name in FUSIONS, which take one collaborative and one content branch; of no account for
            a single branch.
        weights: of the branches; None: all 1.
    """
    return [
        Branch(
            name,
            align(pair.user_ids, pair.user_vectors, pool.user_ids, missing="zero"),
            align(pair.item_ids, pair.item_vectors, pool.item_ids, missing="refuse"),
            normalise,
            weight,
        )
        for (name, pair), normalise, weight in zip(
            towers.items(), normalisations(fusion, len(towers)), weights or [1.0] * len(towers), strict=True
        )
    ]


def choose_weights(
    towers: Mapping[str, TowerPair], train: pl.DataFrame, fusion: str, *, k: int, threshold: float
) -> tuple[Weights, pl.DataFrame]:
    """The branches' weights with the highest mean NDCG@k that a search finds on the validation part of train.

    Args:
        towers: the branches fitted on train without its validation part.
        train: train ratings with the column `validation`.
        fusion: "zscore", searched one branch at a time, or a name in FUSIONS, whose two weights sum to 1.
        k: cutoff.
        threshold: a validation rating of at least this is relevant.

    Returns:
        A weight a branch, and all that were tried as a table: a column a branch, and `ndcg`.

    Raises:
        ValueError: no user has a relevant movie in the validation part.
    """
    pool, users, relevant = validation_task(train, threshold)
    lists = rank_each(system_branches(towers, pool, fusion), pool.seen, k)

    def quality(weightings: Sequence[Weights]) -> list[float]:
        return [float(ndcg(of_users[users], relevant).mean()) for of_users in lists(weightings)]

    weights, tried = best_weights(quality, len(towers)) if fusion == "zscore" else best_alpha(quality)
    names = list(towers)
    rows = [dict(zip(names, found, strict=True)) | {"ndcg": value} for found, value in tried]
    return weights, pl.DataFrame(rows)


def score_table(ranking: Ranking, pool: Candidates) -> pl.DataFrame:
    """The lists as a table: `user_id`, `rank` (1 = best), `movie_id`, `score`, and per branch `score_`, `part_`.

    What adds to a score without being a branch has a `part_` alone.
    """
    users, places = np.nonzero(ranking.items >= 0)
    listed = (users, places)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "user_id": pool.user_ids[users],
        "rank": (places + 1).astype(np.uint32),
        "movie_id": pool.item_ids[ranking.items[listed]],
        "score": ranking.scores[listed],
    }
    for name in ranking.branch_parts:
        if name in ranking.branch_scores:
            columns[f"score_{name}"] = ranking.branch_scores[name][listed]
        columns[f"part_{name}"] = ranking.branch_parts[name][listed]
    return pl.DataFrame(columns)


def lists_of(scores: pl.DataFrame, pool: Candidates, k: int) -> Index:
    """A score table's first k entries as item indices: (users, k), -1 where a list is shorter."""
    top = scores.filter(pl.col("rank") <= k)
    lists = np.full((len(pool.user_ids), k), -1, dtype=np.int64)
    rows = positions(pool.user_ids, top["user_id"].to_numpy())
    lists[rows, top["rank"].to_numpy().astype(np.int64) - 1] = positions(pool.item_ids, top["movie_id"].to_numpy())
    return lists
