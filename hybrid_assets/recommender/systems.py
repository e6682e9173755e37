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
from hybrid_assets.recommender.ranking import Branch, Index, Ranking, rank_each
from hybrid_assets.recommender.tables import fold_of
from hybrid_assets.recommender.towers import Ids, TowerPair, align, first_appearance, positions


@dataclass(frozen=True)
class Candidates:
    """The users and movies that are ranked, and what each user has already rated.

    Attributes:
        user_ids: (users,) in order of first appearance in train.
        item_ids: (items,) likewise.
        seen: CSR of rated items: indptr (users + 1,) and item index (ratings,).
    """

    user_ids: Ids
    item_ids: Ids
    seen: tuple[Index, Index]


def pairs_to_csr(users: Index, items: Index, user_count: int) -> tuple[Index, Index]:
    """CSR (indptr, items) of (user index, item index) pairs; items of a user keep their order."""
    order = np.argsort(users, kind="stable")
    indptr = np.zeros(user_count + 1, dtype=np.int64)
    np.cumsum(np.bincount(users, minlength=user_count), out=indptr[1:])
    return indptr, items[order].astype(np.int64)


def candidates(train: pl.DataFrame) -> Candidates:
    """All users and movies of the train ratings (of one fold)."""
    users, items = train["user_id"].to_numpy(), train["movie_id"].to_numpy()
    user_ids, item_ids = first_appearance(users), first_appearance(items)
    seen = pairs_to_csr(positions(user_ids, users), positions(item_ids, items), len(user_ids))
    return Candidates(user_ids, item_ids, seen)


def relevant_items(held_out: pl.DataFrame, pool: Candidates, threshold: float) -> tuple[Index, tuple[Index, Index]]:
    """Who is evaluated and on what: held-out ratings of at least `threshold` of movies that can be recommended.

    Returns:
        Indices of the users with a relevant movie, ascending, and the CSR of their relevant item indices.
    """
    liked = held_out.filter(pl.col("rating") >= threshold)
    users = positions(pool.user_ids, liked["user_id"].to_numpy())
    items = positions(pool.item_ids, liked["movie_id"].to_numpy())
    known = (users >= 0) & (items >= 0)
    evaluated, compact = np.unique(users[known], return_inverse=True)
    return evaluated, pairs_to_csr(compact, items[known], len(evaluated))


def validation_task(train: pl.DataFrame, threshold: float) -> tuple[Candidates, Index, tuple[Index, Index]]:
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
