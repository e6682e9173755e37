"""Movie documents: the text an encoder sees for each movie.

Belongs here: how title, genres and tags become one string. Does not: encoding it.
"""

import polars as pl


def build_documents(movies: pl.DataFrame, tags: pl.DataFrame) -> pl.DataFrame:
    """One document for each movie: title without its year, genres, and all its tags, joined by single spaces.

    The title loses everything from its last "(" on; "|" between genres becomes a space and "(no genres listed)"
    nothing; tags are lower-cased, in file order, repeats kept. A movie of which nothing is known becomes "movie".
    Source: the paper, section II.A, and its published code.

    Args:
        movies: `movie_id`, `title`, `genres`.
        tags: `movie_id`, `tag`.

    Returns:
        `movie_id`, `document`, in the order of `movies`.

    >>> movies = pl.DataFrame({"movie_id": [6], "title": ["Heat (1995)"], "genres": ["Action|Crime"]})
    >>> tags = pl.DataFrame({"movie_id": [6, 6], "tag": ["Pacino", "heist"]})
    >>> build_documents(movies, tags)["document"].item()
    'Heat Action Crime pacino heist'
    """
    title = pl.col("title").str.replace(r"(?s)\([^(]*$", "").str.strip_chars()
    genres = (
        pl.when(pl.col("genres") == "(no genres listed)")
        .then(pl.lit(""))
        .otherwise(pl.col("genres").str.replace_all("|", " ", literal=True))
    )
    tag_text = tags.group_by("movie_id", maintain_order=True).agg(
        pl.col("tag").str.to_lowercase().str.join(" ").alias("tags")
    )
    parts = [pl.when(part != "").then(part) for part in (title, genres, pl.col("tags"))]
    document = pl.concat_str(parts, separator=" ", ignore_nulls=True).str.strip_chars()
    return (
        movies.join(tag_text, on="movie_id", how="left", maintain_order="left")
        .select("movie_id", document.alias("document"))
        .with_columns(pl.when(pl.col("document") == "").then(pl.lit("movie")).otherwise("document").alias("document"))
    )
