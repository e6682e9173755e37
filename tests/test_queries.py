"""Questions to tables that lie in storage, which may be of another time than each other."""

import dagster as dg
import numpy as np
import polars as pl
import pytest
from quick_graph import quick_catalog

from hybrid_assets import queries
from hybrid_assets.definitions import table_store
from hybrid_assets.orchestration.storage import Stamp, StampedTable, content_hash


@pytest.fixture
def catalog(tmp_path):
    return quick_catalog(tmp_path)


@pytest.fixture
def store(catalog, tmp_path):
    """Films 1 to 3, of which the vectors do not know 3, and know 4, which is gone."""
    tables = {
        "movies": pl.DataFrame({"movie_id": [1, 2, 3], "title": ["One", "Two", "Three"], "genres": ""}),
        "embeddings/minilm": pl.DataFrame({"movie_id": [1, 2, 4]}).with_columns(
            vector=pl.Series(np.array([[1, 0], [0, 1], [0.6, 0.8]], "f4"))
        ),
    }
    made = table_store(catalog, str(tmp_path / "data"))
    for asset, table in tables.items():
        key = dg.AssetKey.from_user_string(asset)
        stamped = StampedTable(table, Stamp(asset, "1", {}, content_hash(table)))
        made.handle_output(dg.build_output_context(asset_key=key), stamped)
    return made


def test_a_movie_that_came_after_an_encoders_table_is_told_with_the_command(store, catalog):
    with pytest.raises(queries.NotFound) as told:
        queries.similar_movies(store, catalog, "minilm", 3, 2)
    assert str(told.value).startswith("minilm has no vector of Three [3], which came after its table was made; ")
    assert str(told.value).endswith("hybrid-assets backfill minilm --dataset folder")


def test_a_movie_that_is_gone_since_is_listed_without_a_title(store, catalog):
    found = queries.similar_movies(store, catalog, "minilm", 1, 2)
    assert [(movie, title) for movie, title, _ in found] == [(4, "(no longer among the movies)"), (2, "Two")]
    assert [cosine for *_, cosine in found] == pytest.approx([0.6, 0.0])
