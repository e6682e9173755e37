"""Dividing ratings into train, validation and test.

Belongs here: which row goes where, and who is held out. Does not: what is trained or measured on it.
"""

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.towers import Ids

Rows = npt.NDArray[np.int64]
Kind = Literal["random", "leave_last_out", "temporal", "user_folds"]


def split_ratings(
    ratings: pl.DataFrame,
    *,
    kind: Kind = "random",
    test_share: float,
    min_ratings: int,
    validation_share: float,
    seed: int,
    folds: int = 5,
    fold: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split into train and test, and mark the validation part of train by the same kind of split.

    `random`: for each user in the order of `user_id`, rows in file order, scikit-learn's `train_test_split` with
    `random_state=seed`; a user with fewer than `min_ratings` ratings stays whole in train. The order of the train
    rows matters: users and items are indexed by first appearance, and PMF visits rows in this order.
    Source: the paper, section IV, and its published code.

    `leave_last_out`: the last rating of each user with at least `min_ratings`, of equal times the last in the file;
    validation is the last of what remains. `temporal`: everything after one moment, chosen so that about `test_share`
    of all ratings come later; equal times stay together, in train. Validation comes after an earlier moment; a user
    whose ratings are all late is in test alone. `user_folds`: the users are dealt at random into `folds` parts; those
    of part `fold` are split as in `random`, the others stay whole in train. Validation is of the users of the next
    part, so that settings are chosen on other users than the judged.
    Sources: Meng et al., "Exploring data splitting strategies for the evaluation of recommendation models", RecSys
    2020 (leave one last item, temporal global); the folds with known ratings of the judged users in train are the
    weak generalisation of Marlin, "Collaborative filtering: a machine learning perspective", 2004.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`, in file order.
        kind: which split.
        test_share: share of ratings in test, in (0, 1): of each user's, or of all in `temporal`; not of account in
            `leave_last_out`.
        min_ratings: fewest ratings of a user that is split, at least 2; not of account in `temporal`.
        validation_share: as test_share, of the train ratings marked as validation.
        seed: random state of every user's split, and of the deal of `user_folds`.
        folds: parts of `user_folds`, at least 2.
        fold: the part that is judged, in [0, folds).

    Returns:
        Train with the column `validation`, and test; rows by user.

    Raises:
        ValueError: a split by time of ratings without times, none later than the chosen moment, or fewer users than
            folds.
    """
    if kind in ("leave_last_out", "temporal") and ratings.height > 1 and ratings["timestamp"].n_unique() == 1:
        raise ValueError(
            f"split.kind = {kind!r} orders ratings by time, and all {ratings.height:,} have the timestamp "
            f'{ratings["timestamp"][0]}; bring a timestamp column, or choose split.kind = "random"'
        )

    def divide(table: pl.DataFrame, share: float, judged: int) -> tuple[Rows, Rows]:
        order = table.with_row_index("row").sort("user_id", maintain_order=True)
        if kind == "leave_last_out":
            return _leave_last_out(order, min_ratings)
        if kind == "temporal":
            return _after_one_moment(order, share)
        chosen = users_of_fold(table, folds, judged % folds, seed) if kind == "user_folds" else None
        return _split_users(order, share, min_ratings, seed, chosen)

    train_rows, test_rows = divide(ratings, test_share, fold)
    if kind == "temporal" and ratings.height > 1 and len(test_rows) == 0:
        raise ValueError(
            f"split.kind = 'temporal': the last {test_share:g} of the {ratings.height:,} ratings have one "
            "timestamp with ratings before them, so no moment divides them; raise split.test_share, or choose another "
            "split.kind"
        )
    train, test = ratings[train_rows], ratings[test_rows]

    _, held_out = divide(train, validation_share, fold + 1)
    validation = np.zeros(train.height, dtype=bool)
    validation[held_out] = True
    return train.with_columns(pl.Series("validation", validation)), test


def users_of_fold(ratings: pl.DataFrame, folds: int, fold: int, seed: int) -> Rows:
    """Ids of the users in one of `folds` random parts of about equal size (scikit-learn's `KFold`, shuffled).

    Raises:
        ValueError: there are fewer users than folds.
    """
    from sklearn.model_selection import KFold

    users = ratings["user_id"].unique().sort().to_numpy().astype(np.int64)
    if len(users) < folds:
        raise ValueError(f"split.folds = {folds} needs as many users, found {len(users)}; lower split.folds")
    parts = list(KFold(folds, shuffle=True, random_state=seed).split(users))
    return np.asarray(users[parts[fold][1]])


def _leave_last_out(ordered: pl.DataFrame, min_ratings: int) -> tuple[Rows, Rows]:
    last = pl.col("timestamp").rank("ordinal").over("user_id") == pl.len().over("user_id")
    return _divided(ordered, last & (pl.len().over("user_id") >= min_ratings))


def _after_one_moment(ordered: pl.DataFrame, share: float) -> tuple[Rows, Rows]:
    if ordered.is_empty():
        return _divided(ordered, pl.lit(True))
    later = int(np.ceil(share * ordered.height))
    moment = ordered["timestamp"].sort()[max(ordered.height - later - 1, 0)]
    return _divided(ordered, pl.col("timestamp") > moment)


def _divided(ordered: pl.DataFrame, held_out: pl.Expr) -> tuple[Rows, Rows]:
    """Row numbers where `held_out` does not hold, and where it does."""
    marked = ordered.select("row", held_out.alias("out"))
    kept, out = (marked.filter(pl.col("out") == side)["row"].to_numpy().astype(np.int64) for side in (False, True))
    return kept, out


def _split_users(
    ordered: pl.DataFrame, share: float, min_ratings: int, seed: int, chosen: Rows | None
) -> tuple[Rows, Rows]:
    """Each user's rows at random; whole in the first part: users with few, and those not among the chosen."""
    from sklearn.model_selection import train_test_split

    @cache
    def places(count: int) -> tuple[Rows, Rows]:
        # with one seed, users with as many ratings are dealt alike
        first, second = train_test_split(np.arange(count), test_size=share, random_state=seed)
        return first, second

    rows = ordered["row"].to_numpy().astype(np.int64)
    users = ordered["user_id"].to_numpy()
    starts = np.flatnonzero(users[1:] != users[:-1]) + 1
    kept: list[Rows] = []
    held_out: list[Rows] = []
    wanted = None if chosen is None else set(chosen.tolist())
    for of_user, user in zip(np.split(rows, starts), np.split(users, starts), strict=True):
        if len(of_user) < min_ratings or (wanted is not None and int(user[0]) not in wanted):
            kept.append(of_user)
            continue
        first, second = places(len(of_user))
        kept.append(of_user[first])
        held_out.append(of_user[second])
    nothing = np.empty(0, dtype=np.int64)
    return np.concatenate([nothing, *kept]), np.concatenate([nothing, *held_out])


def drawn_ids(ids: Ids, share: float, seed: int) -> Ids:
    """About `share` of the ids. Each id's draw has a seed of its own: a new one does not change which others are in.

    With the same seed, a smaller share is a part of a larger one.
    """
    drawn = np.array([draws_of(int(one), seed).random() for one in ids])
    return ids[drawn < share]


def draws_of(one: int, seed: int) -> np.random.Generator:
    """The draws of one user or movie, by a seed and its id of 64 bits, which may be negative."""
    return np.random.default_rng([seed, one % 2**64])
