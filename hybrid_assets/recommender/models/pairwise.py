"""Learning to rank a chosen movie above another: the descent that the models of this kind share.

Belongs here: drawing triples and the loss over any tower pair made by torch. Does not: what the towers are made of.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hybrid_assets.recommender.models.interactions import Progress
from hybrid_assets.recommender.towers import Index

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_matrix


def descend(
    parameters: "Sequence[torch.Tensor]",
    towers: "Callable[[], tuple[torch.Tensor, torch.Tensor]]",
    chosen: "csr_matrix",
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    regularisation: float,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Change the parameters so that towers rank: minimise sum over u, i of -ln sigmoid(x_ui - x_uj) + l |W|^2.

    x_ui = U_u . V_i; i is what u chose, j a movie drawn afresh among those that u did not; W are all parameters. Adam
    over batches of the sum, each with its share of the penalty. Who chose every movie teaches nothing and is left out.
    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009, section 4.

    Args:
        parameters: leaves that require gradients; changed in place.
        towers: makes the (users, d) and (items, d) vectors of the parameters.
        chosen: (users, items), a stored number where a user chose an item.
        epochs: passes over the choices.
        batch_size: choices a step.
        learning_rate: of Adam.
        regularisation: l of the equation.
        seed: seed of the order and of the draws.
        progress: told of each step.
    """
    import torch

    generator = np.random.default_rng(seed)
    coordinates = chosen.tocoo()
    users, items = coordinates.row.astype(np.int64), coordinates.col.astype(np.int64)
    known = np.sort(users * chosen.shape[1] + items)
    teaching = np.flatnonzero(np.bincount(users, minlength=chosen.shape[0])[users] < chosen.shape[1])
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    steps, total = itertools.count(1), epochs * math.ceil(len(teaching) / batch_size)
    for _ in range(epochs):
        order = generator.permutation(teaching)
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            user, better = torch.from_numpy(users[batch]), torch.from_numpy(items[batch])
            worse = torch.from_numpy(_not_chosen(users[batch], known, chosen.shape[1], generator))
            user_vectors, item_vectors = towers()
            # unlike that of indexing, its gradient adds in one order on any number of threads
            chosen_by, liked, other = (
                torch.nn.functional.embedding(rows, vectors)
                for rows, vectors in ((user, user_vectors), (better, item_vectors), (worse, item_vectors))
            )
            gap = (chosen_by * (liked - other)).sum(dim=1)
            penalty = torch.stack([weights.square().sum() for weights in parameters]).sum()
            loss = torch.nn.functional.softplus(-gap).mean() + regularisation / len(teaching) * penalty
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress:
                progress(next(steps), total)


def _not_chosen(users: Index, known: Index, items: int, generator: np.random.Generator) -> Index:
    """An item for each user, at random among those that the user did not choose; `known`: user * items + item."""
    drawn = generator.integers(items, size=len(users))
    again = np.arange(len(users))
    while len(again):
        keys = users[again] * items + drawn[again]
        places = np.searchsorted(known, keys).clip(max=len(known) - 1)
        again = again[known[places] == keys]
        drawn[again] = generator.integers(items, size=len(again))
    return drawn
