"""BERT4Rec: the movie behind a mask among a user's movies in the order of time, as Cornac computes it.

Belongs here: calling Cornac and reading its states. Does not: the order (sequences.py), other models of sequences.
"""

import math

import numpy as np

from hybrid_assets.recommender.models.interactions import Progress, Ratings
from hybrid_assets.recommender.models.sequences import (
    mean_by_user,
    movies_around,
    places_of,
    popularity_unlearned,
    sequential_dataset,
    steps_told,
    time_ordered,
)
from hybrid_assets.recommender.towers import Ids, TowerPair


def bert4rec(
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
    masked: float,
    dropout: float,
    negatives: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None = None,
) -> TowerPair:
    """Score = h_u . V_i + b_i + log q_i, h_u the state of a mask among the user's movies, V their table.

    It learns on the ratings it is given, and on nothing else: masked movies from those on both sides of them, by the
    cross entropy against the other masked ones and `negatives` drawn by the root of their popularity. A long sequence
    is learnt in pieces. b is a movie's bias, q how often it is learnt against (`popularity_unlearned`): one more
    dimension, 1 on the user's side. No test rating is in its input, in whatever place of time it stands (see
    `time_ordered`).
    Source: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", CIKM 2019 (arXiv 1904.06690), equations 7 and 8; Cornac's class of that name trains another
    objective, so this is its `TransformerRec` with backbone bert and objective mlm.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings; all count alike.
        timestamps: (n,) when, in Unix seconds.
        factors: length of the vectors without the bias; a multiple of `heads`.
        blocks: layers of attention.
        heads: attention heads of a layer.
        longest: length of a piece, and how many movies around a place are looked at, the mask among them.
        places: of how many places in the user's order h_u is the mean (`places_of`); 1: the end, the paper's.
        masked: share of the movies that are masked while it learns.
        dropout: share of the values left out while it learns.
        negatives: drawn for each batch.
        epochs: passes over the pieces.
        batch_size: pieces a step.
        learning_rate: of Adam.
        seed: seed of the initial weights and of all draws.
        progress: told of each step of the descent.

    Raises:
        ValueError: as `time_ordered`; or a vector is not finite (the descent diverged).
    """
    import torch
    from cornac.models import TransformerRec

    sequences = time_ordered(user_ids, item_ids, ratings, timestamps)
    # Cornac seeds torch for the whole process
    with torch.random.fork_rng(devices=[]), steps_told(progress):
        made = TransformerRec(
            backbone="bert",
            objective="mlm",
            embedding_dim=factors,
            num_blocks=blocks,
            num_heads=heads,
            max_len=longest,
            mask_prob=masked,
            dropout=dropout,
            n_sample=negatives,
            n_epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
        ).fit(sequential_dataset(sequences, longest=longest, seed=seed))
    network = made.model.eval()
    every_item = torch.arange(len(sequences.item_ids))
    with torch.no_grad():
        looked_from = places_of(sequences, places)
        around, mask = movies_around(sequences, looked_from, longest, network.pad_idx, network.mask_idx)
        states = [
            network.encode(rows)[torch.arange(len(rows)), at]
            for rows, at in zip(torch.split(around, batch_size), torch.split(mask, batch_size), strict=True)
        ]
        items = torch.hstack([network.item_emb(every_item), network.item_biases(every_item)])
    pieces = sum(math.ceil(len(movies) / longest) for movies in sequences.of_user)
    hidden = masked * sum(len(movies) for movies in sequences.of_user)
    often = popularity_unlearned(sequences, in_batch=hidden * min(1.0, batch_size / pieces), drawn=negatives)
    table = items.numpy().astype(np.float32)
    table[:, -1] += often
    users = mean_by_user(torch.cat(states).numpy(), looked_from)
    users = np.hstack([users, np.ones((len(users), 1), dtype=np.float32)])
    return TowerPair(sequences.user_ids, users, sequences.item_ids, table)
