"""VBPR: factors that rank, with what is known of each movie beside them; here its text in place of its picture.

Belongs here: how vectors are made of factors and texts. Does not: the descent (pairwise.py), encoding texts. Cornac's
version (3.0.1) adds the (batch, 1) visual bias to the (batch,) other terms, so that its loss is over all pairs of a
batch and not over its triples; it is not called for that reason.
"""

from typing import TYPE_CHECKING

from hybrid_assets.recommender.models.interactions import Progress, Ratings, interactions
from hybrid_assets.recommender.models.pairwise import descend
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, align

if TYPE_CHECKING:
    import torch


def vbpr(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    embeddings: tuple[Ids, Vectors],
    threshold: float,
    factors: int,
    text_factors: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    regularisation: float,
    liked_only: bool,
    seed: int,
    progress: Progress | None = None,
) -> TowerPair:
    """x_ui = U_u . V_i + T_u . (E f_i) + b_i + b . f_i with f_i the text embedding of movie i; all else is learned.

    As a tower pair: the user's vector is (U_u, T_u, 1), the movie's (V_i, E f_i, b_i + b . f_i).
    Source: He & McAuley, "VBPR: Visual Bayesian Personalized Ranking from Implicit Feedback", AAAI 2016 (arXiv
    1510.01784), equation 4 without the terms that are the same for all movies of a user.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        embeddings: (m,) movie ids, all rated ones among them, and their (m, d) text embeddings.
        threshold: a rating of at least this is liked.
        factors: length of U_u and V_i.
        text_factors: length of T_u.
        epochs: passes over the choices.
        batch_size: choices a step.
        learning_rate: of Adam.
        regularisation: l of the loss.
        liked_only: whether only liked ratings are choices.
        seed: seed of the initial factors and of the draws.
        progress: told of each step of the descent.

    Raises:
        ValueError: as `interactions`; a movie has no embedding; or a vector is not finite (the descent diverged).
    """
    import torch

    data = interactions(user_ids, item_ids, ratings, threshold=threshold, liked_only=liked_only, power=0.0)
    texts = torch.from_numpy(align(*embeddings, data.item_ids, missing="refuse"))
    users, items = data.matrix.shape
    generator = torch.Generator().manual_seed(seed)

    def initial(rows: int, columns: int) -> "torch.Tensor":
        return (torch.randn(rows, columns, generator=generator) * 0.1).requires_grad_()

    user_factors, item_factors = initial(users, factors), initial(items, factors)
    user_tastes, projection = initial(users, text_factors), initial(texts.shape[1], text_factors)
    bias, text_bias = torch.zeros(items, 1, requires_grad=True), torch.zeros(texts.shape[1], 1, requires_grad=True)

    def towers() -> "tuple[torch.Tensor, torch.Tensor]":
        return (
            torch.hstack([user_factors, user_tastes, torch.ones(users, 1)]),
            torch.hstack([item_factors, texts @ projection, bias + texts @ text_bias]),
        )

    descend(
        [user_factors, item_factors, user_tastes, projection, bias, text_bias],
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
