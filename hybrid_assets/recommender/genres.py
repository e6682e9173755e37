"""Genres as numbers: each movie's share of each genre.

Belongs here: reading MovieLens's `A|B|C`. Does not: what lists make of it (metrics.py).
"""

import numpy as np
import polars as pl

from hybrid_assets.recommender.towers import Ids, Values, positions

# A movie without genres, in MovieLens's words; a genre of its own, so that every movie has one.
NONE = "(no genres listed)"


def genre_shares(movies: pl.DataFrame, item_ids: Ids) -> Values:
    """p(g | i) of Steck 2018: (items, genres), 1 / n for each of the n genres of a movie, rows summing to 1.

    Args:
        movies: `movie_id` and `genres`, separated by `|`.
        item_ids: (items,) movies, in the order of the rows that are wanted.

    Raises:
        ValueError: a wanted movie is not among the movies.
    """
    rows = positions(movies["movie_id"].to_numpy().astype(np.int64), item_ids)
    if (rows < 0).any():
        raise ValueError(f"movie {item_ids[rows < 0][0]} is not in movies, so its genres are not known")
    text = movies["genres"].fill_null("").str.strip_chars("| ").replace("", NONE)[rows]
    listed = pl.DataFrame({"row": np.arange(len(item_ids)), "genre": text.str.split("|")}).explode("genre").unique()
    names = listed["genre"].unique().sort()
    column = np.searchsorted(names.to_numpy(), listed["genre"].to_numpy())
    shares: Values = np.zeros((len(item_ids), len(names)))
    shares[listed["row"].to_numpy(), column] = 1.0
    shares /= shares.sum(axis=1, keepdims=True)
    return shares
