"""Dividing ratings into train, validation and test.

Belongs here: which row goes where. Does not: what is trained or measured on it.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

Rows = npt.NDArray[np.int64]


def split_ratings(
    ratings: pl.DataFrame, *, test_share: float, min_ratings: int, validation_share: float, seed: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split at random within each user, and mark the validation part of train by the same rule.

    For each user in the order of `user_id`, rows in file order, scikit-learn's `train_test_split` with
    `random_state=seed`; a user with fewer than `min_ratings` ratings stays whole in train. The order of the train
    rows matters: users and items are indexed by first appearance, and PMF visits rows in this order.
    Source: the paper, section IV, and its published code.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, `timestamp`, in file order.
        test_share: share of a user's ratings in test, in (0, 1).
        min_ratings: fewest ratings of a user that is split, at least 2.
        validation_share: share of a user's train ratings marked as validation, in (0, 1).
        seed: random state of every user's split.

    Returns:
        Train with the column `validation`, and test.
    """
    order = ratings.with_row_index("row").sort("user_id", maintain_order=True)
    train_rows, test_rows = _split_users(order, test_share, min_ratings, seed)
    train, test = ratings[train_rows], ratings[test_rows]

    order = train.with_row_index("row").sort("user_id", maintain_order=True)
    _, held_out = _split_users(order, validation_share, min_ratings, seed)
    validation = np.zeros(train.height, dtype=bool)
    validation[held_out] = True
    return train.with_columns(pl.Series("validation", validation)), test


def _split_users(ordered: pl.DataFrame, share: float, min_ratings: int, seed: int) -> tuple[Rows, Rows]:
    from sklearn.model_selection import train_test_split

    rows = ordered["row"].to_numpy().astype(np.int64)
    users = ordered["user_id"].to_numpy()
    starts = np.flatnonzero(users[1:] != users[:-1]) + 1
    kept: list[Rows] = []
    held_out: list[Rows] = []
    for of_user in np.split(rows, starts):
        if len(of_user) < min_ratings:
            kept.append(of_user)
            continue
        first, second = train_test_split(of_user, test_size=share, random_state=seed)
        kept.append(first)
        held_out.append(second)
    nothing = np.empty(0, dtype=np.int64)
    return np.concatenate([nothing, *kept]), np.concatenate([nothing, *held_out])
