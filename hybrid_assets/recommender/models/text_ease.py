"""EASE that has read the texts: movies with texts alike count as if users had rated them together.

Belongs here: what texts add to the closed form. Does not: the closed form (sequence_ease.py), encoding texts.
"""

import numpy as np

from hybrid_assets.recommender.models.interactions import Ratings
from hybrid_assets.recommender.models.sequence_ease import sequence_ease
from hybrid_assets.recommender.profiles import centred
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors


def text_ease(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    timestamps: Ids,
    embeddings: tuple[Ids, Vectors],
    threshold: float,
    regularisation: float,
    decay: float,
    most_movies: int,
    liked_only: bool,
    power: float,
    text_weight: float,
    text_width: float,
) -> TowerPair:
    """`sequence_ease` with G_ij + w sqrt(G_ii G_jj) exp((cos_ij - 1) / width) in place of G_ij.

    cos_ij is that of the texts of movies i and j, without what the texts of all scored movies share. The kernel is
    positive semi-definite, as G is, so the closed form holds. A movie that few have rated borrows from those that read
    like it; one that many have rated has ratings enough of its own.
    Source: collective EASE, Jeunen, Van Balen & Goethals, "Closed-Form Models for Collaborative Filtering with
    Side-Information", RecSys 2020 (G = X'X + S'S, S what is known of the movies), with a kernel over text embeddings
    that grows with the ratings in place of S'S.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        timestamps: (n,) when, in Unix seconds.
        embeddings: (m,) movie ids, all scored ones among them, and their (m, d) text embeddings.
        threshold: a rating of at least this is liked.
        regularisation: l of the equation, above 0.
        decay: as in `sequence_ease`.
        most_movies: how many movies are scored.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.
        text_weight: w; 0 is `sequence_ease`.
        text_width: by how much the cosine falls until the kernel has fallen by a factor e, above 0.

    Raises:
        ValueError: as `sequence_ease`; or a scored movie has no embedding.
    """

    def with_texts(gram: Vectors, movies: Ids) -> Vectors:
        texts = centred(*embeddings, movies)
        alike: Vectors = np.exp((texts @ texts.T - 1) / np.float32(text_width))
        often = np.sqrt(np.diag(gram))
        told: Vectors = gram + np.float32(text_weight) * alike * np.outer(often, often)
        return told

    return sequence_ease(
        user_ids,
        item_ids,
        ratings,
        timestamps=timestamps,
        threshold=threshold,
        regularisation=regularisation,
        decay=decay,
        most_movies=most_movies,
        liked_only=liked_only,
        power=power,
        also=with_texts,
    )
