"""SASRec: what comes next after a user's movies in the order of time, as Cornac computes it.

Belongs here: calling Cornac and reading its states. Does not: the order (sequences.py), other models of sequences.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Progress, Ratings
from hybrid_assets.recommender.models.sequences import (
    mean_by_user,
    movies_before,
    places_of,
    popularity_unlearned,
    sequential_dataset,
    steps_told,
    time_ordered,
)
from hybrid_assets.recommender.towers import Ids, TowerPair


def sasrec(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    timestamps: Ids,
    factors: int,
    blocks: int,
    heads: int,
    longest: int,
    places: int,
    dropout: float,
    negatives: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None = None,
) -> TowerPair:
    """Score = h_u . V_i + log q_i, h_u the state of a causal self-attention network after the user's movies.

    V is the table of the movies, q how often each is learnt against (`popularity_unlearned`), one more dimension. It
    learns on the ratings it is given, and on nothing else: each movie of a user from those before it, by the cross
    entropy against the other movies of the batch and `negatives` drawn by the root of their popularity. No test rating
    is in its input, in whatever place of time it stands (see `time_ordered`).
    Source: Kang & McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (arXiv 1808.09781), equation 6.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings; all count alike.
        timestamps: (n,) when, in Unix seconds.
        factors: length of the vectors without log q; a multiple of `heads`.
        blocks: layers of attention.
        heads: attention heads of a layer.
        longest: how many movies before a place are looked at.
        places: of how many places in the user's order h_u is the mean (`places_of`); 1: the end, the paper's.
        dropout: share of the values left out while it learns.
        negatives: drawn for each batch.
        epochs: passes over the ratings.
        batch_size: ratings a step.
        learning_rate: of Adam.
        seed: seed of the initial weights and of all draws.
        progress: told of each step of the descent.

    Raises:
        ValueError: as `time_ordered`; or a vector is not finite (the descent diverged).
    """
    import torch
    from cornac.models import SASRec

    sequences = time_ordered(user_ids, item_ids, ratings, timestamps)
    # Cornac seeds torch for the whole process
    with torch.random.fork_rng(devices=[]), steps_told(progress):
        made = SASRec(
            embedding_dim=factors,
            num_blocks=blocks,
            num_heads=heads,
            max_len=longest,
            dropout=dropout,
            n_sample=negatives,
            n_epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        ).fit(sequential_dataset(sequences, longest=None, seed=seed))
    network = made.model.eval()
    every_item = torch.arange(len(sequences.item_ids))
    with torch.no_grad():
        looked_from = places_of(sequences, places)
        before = movies_before(sequences, looked_from, longest, made.pad_idx)
        states = [network(None, rows, every_item, return_hidden=True)[0] for rows in torch.split(before, batch_size)]
        table = network.item_emb(every_item).numpy().astype(np.float32)
    after_another = sum(len(items) - 1 for items in sequences.of_user)
    often = popularity_unlearned(sequences, in_batch=min(batch_size, after_another), drawn=negatives)
    users = mean_by_user(torch.cat(states).numpy(), looked_from)
    return TowerPair(
        sequences.user_ids,
        np.hstack([users, np.ones((len(users), 1), dtype=np.float32)]),
        sequences.item_ids,
        np.hstack([table, often[:, None]]),
    )
