"""Ratings as sequences: what the models share that read a user's movies in the order of time.

Belongs here: that order, Cornac's form of it, what Cornac's draws do to a score, and how far it is. Does not: a model.
"""

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid_assets.recommender.models.interactions import Progress, Ratings, check_ratings
from hybrid_assets.recommender.towers import Ids, Index, Vectors, first_appearance, positions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sequences:
    """What each user rated, oldest first.

    Attributes:
        user_ids: (users,) in order of first appearance in the ratings.
        item_ids: (items,) likewise.
        of_user: for each user the item indices in order of time, at least one.
    """

    user_ids: Ids
    item_ids: Ids
    of_user: tuple[Index, ...]


def time_ordered(user_ids: Ids, item_ids: Ids, ratings: Ratings, timestamps: Ids) -> Sequences:
    """Each user's movies by timestamp, and by row where timestamps are equal; every rating counts alike.

    Nothing but the rows given is looked at. A random split puts a user's later ratings into train and earlier ones
    into test, so the order tells which train movie came after which, and nothing of what was held out.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        timestamps: (n,) when, in Unix seconds.

    Raises:
        ValueError: there is no rating, one is not finite, or all were given at one time.
    """
    check_ratings(ratings)
    if len(timestamps) > 1 and (timestamps == timestamps[0]).all():
        raise ValueError(
            f"a model of sequences reads ratings in the order of time, and all {len(timestamps):,} have the timestamp "
            f"{timestamps[0]}; bring a timestamp column, or take another model"
        )
    users, items = first_appearance(user_ids), first_appearance(item_ids)
    rows = positions(users, user_ids)
    order = np.lexsort((timestamps, rows))  # stable: equal ones stay in row order
    starts = np.flatnonzero(np.diff(rows[order])) + 1
    return Sequences(users, items, tuple(np.split(positions(items, item_ids)[order], starts)))


def sequential_dataset(sequences: Sequences, *, longest: int | None, seed: int) -> Any:
    """Cornac's dataset of them, with our item indices.

    Args:
        sequences: at least one.
        longest: cut each user's sequence into pieces of at most so many, the last one whole; None: one a user.
        seed: of Cornac's dataset.
    """
    from cornac.data import SequentialDataset

    rows, piece = [], 0
    for user, items in enumerate(sequences.of_user):
        cuts = range(len(items) % longest, len(items), longest) if longest else ()
        for part in np.split(items, [cut for cut in cuts if cut]):
            rows += [(user, piece, item, place) for place, item in enumerate(part.tolist())]
            piece += 1
    return SequentialDataset.build(
        rows,
        fmt="USIT",
        global_iid_map=OrderedDict((item, item) for item in range(len(sequences.item_ids))),
        seed=seed,
    )


def popularity_unlearned(sequences: Sequences, *, in_batch: float, drawn: int) -> Vectors:
    """What a movie's score lacks because it was learnt against movies that were drawn by how often they are rated.

    The cross entropy against the movies of the batch and some that are drawn is least where a score is log p(movie |
    what came before) - log q(movie), q being how often the movie is among those it is learnt against: what many rate
    is held down. log q is added again, so that the score ranks by p.
    Source: Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019,
    equation 3, which takes log q off while it learns; Cornac does not let its losses do so. Its q is that of movies
    drawn one by one; Cornac draws users, so that in a batch of few of them many are the user's own. Drawn one by one
    sasrec was no better on validation.

    Args:
        sequences: what it learns from.
        in_batch: how many movies of the sequences a step learns on; the chance of each grows as its ratings.
        drawn: how many movies are drawn for a step; the chance of each grows as the root of its ratings.

    Returns:
        (items,) log q, q the expected number of times in a step.
    """
    ratings = np.bincount(np.concatenate(sequences.of_user), minlength=len(sequences.item_ids))
    root = np.sqrt(ratings)
    often: Vectors = np.log(in_batch * ratings / ratings.sum() + drawn * root / root.sum()).astype(np.float32)
    return often


@dataclass(frozen=True)
class Places:
    """From where users' sequences are looked at.

    Attributes:
        users: (rows,) user index, ascending, every user at least once.
        before: (rows,) how many of the user's movies stand before the place.
    """

    users: Index
    before: Index


def places_of(sequences: Sequences, count: int) -> Places:
    """The end of each sequence and, with a count above 1, places evenly back to behind its first movie.

    What comes next is told from the end. What was held out at random stands anywhere among the movies, and the mean
    over places tells it better.
    """
    found = [
        np.unique(np.linspace(len(items), 1, min(count, len(items))).round().astype(np.int64))
        for items in sequences.of_user
    ]
    return Places(np.repeat(np.arange(len(found)), [len(places) for places in found]), np.concatenate(found))


def movies_before(sequences: Sequences, places: Places, length: int, padding: int) -> "torch.Tensor":
    """(rows, length) the latest movies before each place, padded on the left."""
    return _padded(
        (sequences.of_user[user][:before] for user, before in zip(places.users, places.before, strict=True)),
        (len(places.users), length),
        padding,
    )


def movies_around(
    sequences: Sequences, places: Places, length: int, padding: int, mask: int
) -> "tuple[torch.Tensor, torch.Tensor]":
    """The movies on both sides of each place with a mask at it, padded on the left, and where the mask is.

    As many on each side as there are and as fit, half of them before.

    Returns:
        (rows, length), and (rows,) the column of the mask.
    """
    import torch

    room, rows, columns = length - 1, [], []
    for user, before in zip(places.users, places.before, strict=True):
        items = sequences.of_user[user]
        first = before - min(before, max(room // 2, room - (len(items) - before)))
        after = items[before : first + room]
        rows.append(np.concatenate([items[first:before], [mask], after]))
        columns.append(length - 1 - len(after))
    return _padded(rows, (len(rows), length), padding), torch.tensor(columns)


def mean_by_user(states: Vectors, places: Places) -> Vectors:
    """(users, d) the mean of the states (rows, d) at each user's places."""
    starts = np.flatnonzero(np.diff(places.users, prepend=-1))
    counts = np.diff(np.append(starts, len(places.users)))
    mean: Vectors = (np.add.reduceat(states, starts) / counts[:, None]).astype(np.float32)
    return mean


def _padded(sequences: Iterable[Index], shape: tuple[int, int], padding: int) -> "torch.Tensor":
    import torch

    rows = np.full(shape, padding, dtype=np.int64)
    for row, items in zip(rows, sequences, strict=True):
        end = items[-shape[1] :]
        row[shape[1] - len(end) :] = end
    return torch.from_numpy(rows)


@contextmanager
def steps_told(progress: Progress | None) -> Iterator[None]:
    """Tells how many steps torch's optimisers take in this process meanwhile; Cornac tells nobody how far it is."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    if progress is None:
        yield
        return
    steps = itertools.count(1)
    hook = register_optimizer_step_post_hook(lambda optimiser, args, kwargs: progress(next(steps), None))
    try:
        yield
    finally:
        hook.remove()
