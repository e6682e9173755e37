"""EASE that has read the texts: movies that are alike count as if users had rated them together.

Belongs here: what texts, genres and years add to the closed form. Does not: the closed form (sequence_ease.py),
encoding texts, reading years and genres (facts.py).
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from hybrid_assets.recommender.facts import genre_shares
from hybrid_assets.recommender.models.interactions import Ratings
from hybrid_assets.recommender.models.sequence_ease import near, sequence_ease
from hybrid_assets.recommender.profiles import centred
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors, positions


def text_ease(
    user_ids: Ids,
    item_ids: Ids,
    ratings: Ratings,
    *,
    timestamps: Ids,
    embeddings: tuple[Ids, Vectors],
    facts: pl.DataFrame,
    threshold: float,
    regularisation: float,
    decay: float,
    most_movies: int,
    liked_only: bool,
    power: float,
    arrival_weight: float,
    arrival_width: float,
    text_weight: float,
    text_width: float,
    genre_weight: float,
    year_weight: float,
    year_width: float,
) -> TowerPair:
    """`sequence_ease` with sqrt(G_ii G_jj) K_ij added to G_ij + A_ij, K_ij how much the movies i and j are alike.

    K_ij = text_weight exp((cos_ij - 1) / text_width) + genre_weight gen_ij + year_weight exp(-|y_i - y_j| / year_width)
    with cos_ij that of the texts, without what the texts of all scored movies share; gen_ij that of their genres, a
    genre weighing log(movies / movies of the genre); y the year a movie was made, no term where it is not known. Each
    term is a positive semi-definite kernel, so the closed form holds. A movie that few have rated borrows from those
    like it; one that many have rated has ratings enough of its own.
    Source: collective EASE, Jeunen, Van Balen & Goethals, "Closed-Form Models for Collaborative Filtering with
    Side-Information", RecSys 2020 (G = X'X + S'S, S what is known of the movies), with kernels that grow with the
    ratings in place of S'S.

    Args:
        user_ids: (n,) user of each rating.
        item_ids: (n,) movie of each rating.
        ratings: (n,) finite ratings.
        timestamps: (n,) when, in Unix seconds.
        embeddings: (m,) movie ids, all scored ones among them, and their (m, d) text embeddings.
        facts: `film_facts`, of all scored movies at least.
        threshold: a rating of at least this is liked.
        regularisation: l of the equation, above 0.
        decay: as in `sequence_ease`.
        most_movies: how many movies are scored.
        liked_only: whether only liked ratings count.
        power: weight of a rating is (rating / threshold)^power.
        arrival_weight: as in `sequence_ease`.
        arrival_width: as in `sequence_ease`.
        text_weight: of texts alike, at least 0, as the other weights; all 0 is `sequence_ease`.
        text_width: by how much the cosine falls until the kernel has fallen by a factor e, above 0.
        genre_weight: of genres in common.
        year_weight: of movies made at about the same time.
        year_width: years over which that falls by a factor e, above 0.

    Raises:
        ValueError: as `sequence_ease`; or a scored movie has no embedding, or no facts.
    """

    def alike(movies: Ids) -> Vectors:
        texts = centred(*embeddings, movies)
        made = facts["year"].to_numpy()[positions(facts["movie_id"].to_numpy(), movies)]
        kernel: Vectors = texts @ texts.T
        kernel -= 1
        kernel /= np.float32(text_width)
        np.exp(kernel, out=kernel)
        kernel *= np.float32(text_weight)
        kernel += np.float32(genre_weight) * _genres_in_common(genre_shares(facts, movies) > 0)
        kernel += np.float32(year_weight) * near(made, year_width)
        return kernel

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
        arrival_weight=arrival_weight,
        arrival_width=arrival_width,
        also=alike,
    )


def _genres_in_common(of_genre: npt.NDArray[np.bool_]) -> Vectors:
    """Cosine of the genres of each two movies, rare ones weighing more; 0 where a movie has none but what all have."""
    rare = of_genre * np.log(len(of_genre) / np.maximum(of_genre.sum(axis=0), 1))
    length = np.linalg.norm(rare, axis=1, keepdims=True)
    unit = (rare / np.where(length > 0, length, 1.0)).astype(np.float32)
    cosine: Vectors = unit @ unit.T
    return cosine
