"""The embedding table: a document is encoded again only when its text or the encoder changed."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.recommender.encoders.embeddings import update_embeddings


class Encoder:
    """Counts what it is given; a text's vector is its length and a one."""

    def __init__(self, dimensions: int = 2) -> None:
        self.dimensions = dimensions
        self.given: list[str] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.given += texts
        return np.array([[len(text)] + [1] * (self.dimensions - 1) for text in texts], dtype=np.float32)


def documents(**texts: str) -> pl.DataFrame:
    return pl.DataFrame({"movie_id": [int(name[1:]) for name in texts], "document": list(texts.values())})


FIRST = documents(m1="a", m2="bb", m3="ccc")


def test_all_is_encoded_once_and_then_nothing():
    encoder = Encoder()
    table, encoded = update_embeddings(FIRST, None, "f", encoder)
    assert encoded == 3
    assert table["movie_id"].to_list() == [1, 2, 3]
    assert table["vector"].to_list() == [[1, 1], [2, 1], [3, 1]]
    assert table.schema["vector"] == pl.Array(pl.Float32, 2)
    again, encoded = update_embeddings(FIRST, table, "f", encoder)
    assert encoded == 0
    assert len(encoder.given) == 3
    assert again.equals(table)


def test_one_changed_text_is_encoded_and_a_gone_movie_dropped():
    encoder = Encoder()
    table, _ = update_embeddings(FIRST, None, "f", Encoder())
    changed = documents(m3="ccc", m2="bbbb", m9="a")
    after, encoded = update_embeddings(changed, table, "f", encoder)
    assert encoder.given == ["bbbb"]
    assert encoded == 1
    assert after["movie_id"].to_list() == [3, 2, 9]
    assert after["vector"].to_list() == [[3, 1], [4, 1], [1, 1]]


def test_another_encoder_encodes_everything_even_in_other_dimensions():
    table, _ = update_embeddings(FIRST, None, "f", Encoder())
    after, encoded = update_embeddings(FIRST, table, "g", Encoder(dimensions=3))
    assert encoded == 3
    assert after.schema["vector"] == pl.Array(pl.Float32, 3)


def test_vectors_stored_in_another_type_are_encoded_anew():
    table, _ = update_embeddings(FIRST, None, "f", Encoder())
    half, encoded = update_embeddings(FIRST, table, "f", Encoder(), stored_as="float16")
    assert (encoded, half.schema["vector"].inner) == (3, pl.Float16)


def test_two_movies_with_one_text_are_encoded_once():
    encoder = Encoder()
    table, encoded = update_embeddings(documents(m1="same", m2="same"), None, "f", encoder)
    assert encoder.given == ["same"]
    assert encoded == 1
    assert table.height == 2


def test_no_document_at_all_is_refused():
    with pytest.raises(ValueError, match="no document to encode"):
        update_embeddings(FIRST.clear(), None, "f", Encoder())


tables = st.dictionaries(st.integers(1, 6), st.sampled_from(["a", "bb", "ccc", "dddd"]), min_size=1).map(
    lambda texts: documents(**{f"m{movie}": text for movie, text in texts.items()})
)


@settings(max_examples=50)
@given(tables, tables)
def test_an_update_gives_the_table_made_from_nothing_and_encodes_only_new_texts(before, after):
    encoder = Encoder()
    previous, _ = update_embeddings(before, None, "f", Encoder())
    updated, encoded = update_embeddings(after, previous, "f", encoder)
    assert updated.equals(update_embeddings(after, None, "f", Encoder())[0])
    assert sorted(encoder.given) == sorted(set(after["document"]) - set(before["document"]))
    assert encoded == len(encoder.given)


def test_a_stored_table_is_carried_over(tmp_path):
    table, _ = update_embeddings(FIRST, None, "f", Encoder())
    table.write_parquet(tmp_path / "embeddings.parquet")
    stored = pl.read_parquet(tmp_path / "embeddings.parquet")
    after, encoded = update_embeddings(documents(m3="ccc", m4="dddd"), stored, "f", Encoder())
    assert encoded == 1
    assert after["vector"].to_list() == [[3, 1], [4, 1]]
