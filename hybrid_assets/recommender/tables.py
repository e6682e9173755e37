"""Between tables and arrays: the schemas in which ratings come and branches are stored.

Belongs here: column names and conversion. Does not: computing or ranking.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import polars as pl

from hybrid_assets.recommender.profiles import Reading, liked_weights, recency_weights, user_profiles
from hybrid_assets.recommender.towers import Ids, TowerPair, Vectors

# "train": fitted on all of train, for the test. "fit": fitted on train without its validation part, for choosing
# fusion weights on that part.
Fold = Literal["train", "fit"]
FOLDS: tuple[Fold, ...] = ("train", "fit")


def fold_of(train: pl.DataFrame, fold: Fold) -> pl.DataFrame:
    """The train ratings that belong to a fold, in training order."""
    return train if fold == "train" else train.filter(~pl.col("validation"))


def factor_table(towers: Mapping[Fold, TowerPair]) -> pl.DataFrame:
    """`fold`, `side` ("user" or "item"), `id`, `vector`: the tower pairs of a model, one a fold.

    A model of as many dimensions as users or items may have fewer in one fold; zeros fill its vectors up, which
    changes no score.
    """
    width = max(pair.item_vectors.shape[1] for pair in towers.values())
    return pl.concat(
        pl.DataFrame({"id": ids, "vector": np.pad(vectors, ((0, 0), (0, width - vectors.shape[1])))}).select(
            pl.lit(fold).alias("fold"), pl.lit(side).alias("side"), "id", "vector"
        )
        for fold, pair in towers.items()
        for side, ids, vectors in (
            ("user", pair.user_ids, pair.user_vectors),
            ("item", pair.item_ids, pair.item_vectors),
        )
    )


def ids_and_vectors(table: pl.DataFrame, id_column: str) -> tuple[Ids, Vectors]:
    """The (n,) ids and (n, d) float32 vectors of a table."""
    ids = table[id_column].to_numpy().astype(np.int64)
    # a copy, so that the table's own memory goes with the table
    return ids, np.array(table["vector"].to_numpy(), dtype=np.float32, order="C")


def model_towers(factors: pl.LazyFrame, fold: Fold) -> TowerPair:
    """The tower pair of a model's `factor_table` for one fold."""
    rows = factors.filter(pl.col("fold") == fold).collect()
    # users stand first, and a slice copies nothing: these are the largest tables there are
    users = int((rows["side"] == "user").sum())
    return TowerPair(*ids_and_vectors(rows.head(users), "id"), *ids_and_vectors(rows.slice(users), "id"))


def encoder_towers(profiles: pl.LazyFrame, embeddings: pl.LazyFrame, fold: Fold, reading: Reading) -> TowerPair:
    """The tower pair of an encoder: user profiles of one fold and reading, and item embeddings."""
    chosen = profiles.filter((pl.col("fold") == fold) & (pl.col("reading") == reading)).collect()
    return TowerPair(*ids_and_vectors(chosen, "user_id"), *ids_and_vectors(embeddings.collect(), "movie_id"))


def profiles_of(
    ratings: pl.DataFrame, reading: Reading, threshold: float, embedded_ids: Ids, embeddings: Vectors
) -> tuple[Ids, Vectors]:
    """User profiles of a table of train ratings (profiles.user_profiles) in one of the readings.

    Args:
        ratings: `user_id`, `movie_id`, `rating`, and `timestamp` for "recency".
        reading: "liked" (`liked_weights`) or "recency" (`recency_weights`).
        threshold: a rating of at least this is liked.
        embedded_ids: (m,) movies that have an embedding.
        embeddings: (m, d) unit length.

    Raises:
        ValueError: a rated movie has no embedding.
    """
    users, movies, stars = (ratings[name].to_numpy() for name in ("user_id", "movie_id", "rating"))
    weights = (
        liked_weights(stars, threshold)
        if reading == "liked"
        else recency_weights(users, stars, ratings["timestamp"].to_numpy())
    )
    return user_profiles(users, movies, weights, embedded_ids, embeddings)
