"""Embedding tables: one row a movie, encoded again only when its text or its encoder changed.

Belongs here: which rows are carried over. Does not: the encoder itself (encoding.py).
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import polars as pl

from hybrid_assets.recommender.towers import Vectors


def document_keys(documents: Sequence[str], fingerprint: str) -> list[str]:
    """SHA-256 of encoder and text: two rows with the same key have the same vector."""
    return [hashlib.sha256(f"{fingerprint}\0{document}".encode()).hexdigest() for document in documents]


def update_embeddings(
    documents: pl.DataFrame,
    previous: pl.DataFrame | None,
    fingerprint: str,
    encode: Callable[[list[str]], Vectors],
    stored_as: Literal["float32", "float16"] = "float32",
) -> tuple[pl.DataFrame, int]:
    """The embedding table of `documents`, reusing every vector of `previous` whose text and encoder are the same.

    Args:
        documents: `movie_id`, `document`.
        previous: the last table (`document_key`, `vector`), or None.
        fingerprint: identifies the encoder.
        encode: texts -> (texts, d) float32 unit vectors; called only when there is something to encode, and once
            for each different text.
        stored_as: type of the vectors in the table; "float16" halves its size (error of a cosine below 1e-3).

    Returns:
        `movie_id`, `document_key`, `vector` in the order of `documents`, and how many documents were encoded.
    """
    keyed = documents.with_columns(
        pl.Series("document_key", document_keys(documents["document"].to_list(), fingerprint), dtype=pl.String)
    )
    known = pl.DataFrame(schema={"document_key": pl.String})
    inner = {"float32": pl.Float32, "float16": pl.Float16}[stored_as]
    if previous is not None and previous.schema["vector"].inner == inner:  # type: ignore[attr-defined]
        known = previous.select("document_key", "vector").unique("document_key", keep="first")
        known = known.join(keyed, on="document_key", how="semi")
    new = keyed.join(known, on="document_key", how="anti", maintain_order="left")
    new = new.unique("document_key", keep="first", maintain_order=True)
    if new.height:
        vectors = encode(new["document"].to_list())
        fresh = new.select("document_key").with_columns(pl.Series("vector", vectors.astype(stored_as)))
        known = pl.concat([known, fresh]) if known.height else fresh
    elif not known.height:
        raise ValueError("there is no document to encode; check movie_documents")
    table = keyed.join(known, on="document_key", how="left", maintain_order="left")
    return table.select("movie_id", "document_key", "vector"), new.height
