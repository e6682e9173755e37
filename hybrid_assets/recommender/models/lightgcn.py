"""LightGCN: factors smoothed over the graph of who chose what.

Belongs here: the propagation. Does not: the descent (pairwise.py). Cornac's version needs dgl, whose last release
(2.2.1) is not built for this torch.
"""

from typing import TYPE_CHECKING

import numpy as np

from hybrid_assets.recommender.models.interactions import Progress, Ratings, interactions
from hybrid_assets.recommender.models.pairwise import descend
from hybrid_assets.recommender.towers import Ids, TowerPair

if TYPE_CHECKING:
    import torch


def lightgcn(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    threshold: float,
    factors: int,
    layers: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    regularisation: float,
    liked_only: bool,
    seed: int,
    progress: Progress | None = None,
) -> TowerPair:
    """Vectors that are the mean of a user's (an item's) own factors and those of the neighbours, layer by layer.

    U_(k+1) = R~ V_k and V_(k+1) = R~' U_k with R~ = D_u^-1/2 R D_i^-1/2, R the 0-1 matrix of choices and D its
    degrees; the towers are the means over k = 0..`layers`. U_0 and V_0 are learned by pairwise.py's loss.
    Source: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", SIGIR 2020
    (arXiv 2002.02126), equations 3, 4, 7 and 15.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        threshold: a rating of at least this is liked.
        factors: length of the vectors.
        layers: how far the factors are propagated; 0 is plain matrix factorization.
        epochs: passes over the choices.
        batch_size: choices a step.
        learning_rate: of Adam.
        regularisation: l of the loss.
        liked_only: whether only liked ratings are choices.
        seed: seed of the initial factors and of the draws.
        progress: told of each step of the descent.

    Raises:
        ValueError: as `interactions`; or a vector is not finite (the descent diverged).
    """
    import torch

    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=0.0)
    edges = data.matrix.tocoo()
    degree = [np.bincount(side, minlength=many) for side, many in zip(edges.coords, data.matrix.shape, strict=True)]
    strength = 1.0 / np.sqrt(degree[0][edges.row] * degree[1][edges.col])
    graph = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack(edges.coords).astype(np.int64)),
        torch.from_numpy(strength.astype(np.float32)),
        data.matrix.shape,
        check_invariants=True,
    ).coalesce()
    back = graph.T.coalesce()
    generator = torch.Generator().manual_seed(seed)
    own = [
        (torch.randn(len(ids), factors, generator=generator) * 0.1).requires_grad_()
        for ids in (data.user_ids, data.item_ids)
    ]

    def towers() -> "tuple[torch.Tensor, torch.Tensor]":
        users, items = own
        user_sum, item_sum = users, items
        for _ in range(layers):
            users, items = torch.sparse.mm(graph, items), torch.sparse.mm(back, users)
            user_sum, item_sum = user_sum + users, item_sum + items
        return user_sum / (layers + 1), item_sum / (layers + 1)

    descend(
        own,
        towers,
        data.matrix,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        regularisation=regularisation,
        seed=seed,
        progress=progress,
    )
    with torch.no_grad():
        user_vectors, item_vectors = towers()
    return TowerPair(data.user_ids, user_vectors.numpy(), data.item_ids, item_vectors.numpy())
