"""Tables on disk: whole or not there at all, and with what made them inside."""

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from hybrid_assets.orchestration.storage import (
    Stamp,
    StampedTable,
    TableStore,
    content_hash,
    replace_file,
)

KEY = dg.AssetKey(["scores", "mf_only"])
STAMP = Stamp("scores/mf_only", "1-abc", {"train_ratings": "x"}, "y", {"users": 3})
TABLE = pl.DataFrame(
    {"user_id": [1, 2, 3], "vector": [[1.0, 0.0]] * 3}, schema_overrides={"vector": pl.Array(pl.Float32, 2)}
)


def write(store: TableStore, table: pl.DataFrame = TABLE) -> None:
    context = dg.build_output_context(asset_key=KEY)
    store.handle_output(context, StampedTable(table, STAMP))


@pytest.mark.parametrize("url", ["{folder}", "file://{folder}", "memory://{folder}"])
def test_a_table_and_its_stamp_come_back_as_they_were_written(tmp_path, url):
    store = TableStore(url=url.format(folder=tmp_path))
    assert not store.exists(KEY)
    assert store.stamp(KEY) is None
    write(store)
    assert store.stamp(KEY) == STAMP
    assert store.scan(KEY).collect().equals(TABLE)
    assert store.load_input(dg.build_input_context(asset_key=KEY)).collect().equals(TABLE)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    first, second = TableStore(url=str(tmp_path / "a")), TableStore(url=str(tmp_path / "b"))
    write(first)
    write(second)
    assert first.path(KEY).read_bytes() == second.path(KEY).read_bytes()


def test_a_missing_table_fails_with_the_command_that_builds_it(tmp_path):
    store = TableStore(url=str(tmp_path))
    with pytest.raises(dg.Failure) as failure:
        store.scan(KEY)
    assert "--select '+scores/mf_only'" in failure.value.description


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 and then something cut off"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, content):
    store = TableStore(url=str(tmp_path))
    replace_file(store.path(KEY), content)
    with pytest.raises(dg.Failure) as failure:
        store.stamp(KEY)
    assert str(store.path(KEY)) in failure.value.description
    assert "Delete the file" in failure.value.description


def test_a_write_that_fails_leaves_the_last_good_version_and_no_litter(tmp_path, monkeypatch):
    path = UPath(tmp_path) / "a.parquet"
    replace_file(path, b"good")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hybrid_assets.orchestration.storage.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"half of the new")
    assert path.read_bytes() == b"good"
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-(2**40), 2**40), st.text(), st.none() | st.floats(allow_nan=False), st.none() | st.booleans()
        )
    ),
    st.data(),
)
def test_the_hash_sees_content_and_not_chunks(rows, data):
    schema = {"a": pl.Int64, "b": pl.String, "c": pl.Float64, "d": pl.Boolean}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pl.concat([table[:cut], table[cut:]], rechunk=False)
    assert content_hash(chunked) == content_hash(table)
    if rows:
        assert content_hash(table[:-1]) != content_hash(table)
        assert content_hash(table.with_columns(pl.col("a") + 1)) != content_hash(table)
    assert content_hash(table.rename({"a": "x"})) != content_hash(table)
