"""What a catalogue says of a film beside its text: its year, and its genres as shares of each.

Belongs here: reading MovieLens's `Title (1999)` and `A|B|C`. Does not: what models and lists make of it.
"""

import numpy as np
import polars as pl

from hybrid_assets.recommender.towers import Ids, Values, positions

# A movie without genres, in MovieLens's words; a genre of its own, so that every movie has one.
NONE = "(no genres listed)"


def film_facts(movies: pl.DataFrame) -> pl.DataFrame:
    """`movie_id`, `year` and `genres`: the last bracketed four digits (0 to 9) at the end of `title`, null without.

    >>> titles = ["2001 (1968)", "Heat", "فیلم (۲۰۰۱)"]
    >>> film_facts(pl.DataFrame({"movie_id": [1, 2, 3], "title": titles, "genres": "Drama"}))["year"].to_list()
    [1968.0, None, None]
    """
    year = pl.col("title").str.extract(r"\(([0-9]{4})\)\s*$").cast(pl.Float64).alias("year")
    return movies.select("movie_id", year, "genres")


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
