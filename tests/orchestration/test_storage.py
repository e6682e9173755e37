"""Tables on disk: whole or not there at all, and with what made them inside."""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import dagster as dg
import numpy as np
import polars as pl
import pyarrow.parquet
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


def test_of_the_files_in_the_storage_only_tables_at_their_own_place_are_named(tmp_path):
    store = TableStore(url=str(tmp_path))
    write(store)
    TABLE.write_parquet(tmp_path / "not_ours.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    shutil.copy(tmp_path / "scores" / "mf_only.parquet", tmp_path / "scores" / "copy.parquet")
    assert store.stored() == [KEY]


def test_a_large_table_is_written_in_groups_of_rows_so_that_a_fold_is_read_alone(tmp_path, monkeypatch):
    table = pl.concat([TABLE] * 200).with_columns(fold=pl.Series(["fit", "train"] * 300).sort())
    monkeypatch.setattr("hybrid_assets.orchestration.storage.ROW_GROUP_BYTES", table.estimated_size() // 4)
    store = TableStore(url=str(tmp_path))
    write(store, table)
    written = pyarrow.parquet.ParquetFile(store.path(KEY)).metadata
    assert written.num_row_groups == 4
    assert store.scan(KEY).collect().equals(table)
    assert store.scan(KEY).filter(pl.col("fold") == "train").collect().equals(table.filter(pl.col("fold") == "train"))


def test_the_same_table_gives_the_same_bytes(tmp_path):
    first, second = TableStore(url=str(tmp_path / "a")), TableStore(url=str(tmp_path / "b"))
    write(first)
    write(second)
    assert first.path(KEY).read_bytes() == second.path(KEY).read_bytes()


def test_a_missing_table_fails_with_the_command_that_builds_it(tmp_path):
    store = TableStore(url=str(tmp_path / "sample"))
    with pytest.raises(dg.Failure) as failure:
        store.scan(KEY)
    assert "Build it: hybrid-assets run --dataset sample;" in failure.value.description


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1 and then something cut off"])
def test_a_damaged_file_is_named_with_the_way_out(tmp_path, content):
    store = TableStore(url=str(tmp_path))
    replace_file(store.path(KEY), content)
    with pytest.raises(dg.Failure) as failure:
        store.stamp(KEY)
    assert str(store.path(KEY)) in failure.value.description
    assert "Delete the file" in failure.value.description


def refused(store: TableStore, key: dg.AssetKey = KEY) -> str:
    with pytest.raises(dg.Failure) as failure:
        store.verify(key)
    return str(failure.value.description)


def stamped(table: pl.DataFrame = TABLE) -> StampedTable:
    return StampedTable(table, replace(STAMP, data_version=content_hash(table)))


@pytest.mark.parametrize("url", ["{folder}", "memory://{folder}"])
def test_every_damaged_byte_of_a_table_is_noticed_and_the_file_named(tmp_path, url):
    store = TableStore(url=url.format(folder=tmp_path))
    values = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32)
    table = pl.DataFrame({"id": range(500), "vector": values}, schema_overrides={"vector": pl.Array(pl.Float32, 4)})
    store.handle_output(dg.build_output_context(asset_key=KEY), stamped(table))
    store.verify(KEY)
    good = store.path(KEY).read_bytes()
    footer = int.from_bytes(good[-8:-4], "little") + 8
    # the values themselves: the ids, then the vectors, which are stored as they are
    whole = pl.read_parquet(io.BytesIO(good))
    silent = 0
    for place in random.Random(7).sample(range(100, len(good) - footer), 40):
        bad = bytearray(good)
        bad[place] ^= 0x55
        with contextlib.suppress(pl.exceptions.PolarsError):
            if pl.read_parquet(io.BytesIO(bytes(bad))).equals(whole):
                continue  # a byte that means nothing
            silent += 1
        replace_file(store.path(KEY), bytes(bad))
        told = refused(store)
        assert str(store.path(KEY)) in told, place
        assert "Delete the file and run again" in told
    assert silent > 10, "the reader alone would have noticed"
    replace_file(store.path(KEY), good)
    store.verify(KEY)


def test_verifying_everything_passes_over_files_of_somebody_else(tmp_path):
    store = TableStore(url=str(tmp_path))
    store.handle_output(dg.build_output_context(asset_key=KEY), stamped())
    TABLE.write_parquet(tmp_path / "mine.parquet")
    assert store.verify_all() == 1
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and then something cut off")
    with pytest.raises(dg.Failure, match=r"broken\.parquet"):
        store.verify_all()


def last_good_stays(folder: Path) -> None:
    assert (folder / "a.parquet").read_bytes() == b"good"
    assert [file.name for file in folder.iterdir()] == ["a.parquet"]


def test_a_full_disk_leaves_the_last_good_version_and_no_litter(mount):
    folder = mount("size=64k")
    replace_file(UPath(folder) / "a.parquet", b"good")
    with pytest.raises(dg.Failure, match=r"a\.parquet: cannot be written \(No space left.*free space"):
        replace_file(UPath(folder) / "a.parquet", bytes(2**17))
    last_good_stays(folder)
    replace_file(UPath(folder) / "a.parquet", b"there is room for this")


def test_a_read_only_disk_is_named_and_keeps_the_last_good_version(mount):
    folder = mount("size=64k")
    replace_file(UPath(folder) / "a.parquet", b"good")
    mount("remount,ro")
    with pytest.raises(
        dg.Failure, match=r"\(Read-only file system\); make that file system writable, or set HYBRID_STO"
    ):
        replace_file(UPath(folder) / "a.parquet", b"new")
    last_good_stays(folder)
    with pytest.raises(dg.Failure, match="Read-only"), TableStore(url=str(folder)).alone(KEY, print):
        pass


def test_a_file_that_may_not_grow_leaves_the_last_good_version(tmp_path):
    replace_file(UPath(tmp_path) / "a.parquet", b"good")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(dg.Failure, match=r"\(File too large\).*ulimit -f"):
            replace_file(UPath(tmp_path) / "a.parquet", bytes(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    last_good_stays(tmp_path)


HOLDER = """
import sys, dagster as dg
from hybrid_assets.orchestration.storage import TableStore
with TableStore(url=sys.argv[1]).alone(dg.AssetKey(["scores", "mf_only"]), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["done", "killed"])
def test_one_process_at_a_time_makes_a_table_and_a_killed_one_holds_nothing(tmp_path, end):
    store, said = TableStore(url=str(tmp_path)), []
    with store.alone(KEY, said.append) as waited:
        assert not waited
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=PIPE, stdout=PIPE)
    assert holder.stdout.readline() == b"held\n"
    with store.alone(dg.AssetKey("another"), said.append) as waited:
        assert not waited
    ending = threading.Timer(0.5, holder.stdin.close if end == "done" else holder.kill)
    ending.start()
    with store.alone(KEY, said.append) as waited:
        assert waited
        assert holder.wait(10) == (0 if end == "done" else -signal.SIGKILL)
    assert said == ["another run is making scores/mf_only; waiting until it is done"]
    holder.stdout.close()


@settings(max_examples=60)
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


def test_nothing_is_not_the_same_as_a_zero_or_an_empty_text():
    for dtype, value in ((pl.Float64, 0.0), (pl.Int64, 0), (pl.String, ""), (pl.Boolean, False)):
        known, unknown = (pl.DataFrame({"x": [it]}, schema={"x": dtype}) for it in (value, None))
        assert content_hash(known) != content_hash(unknown), dtype


def test_a_folder_may_be_named_like_a_pattern(tmp_path):
    store = TableStore(url=str(tmp_path / "we[ir]d *?"))
    write(store)
    assert store.scan(KEY).collect().equals(TABLE)


def test_what_a_killed_writer_left_is_known_once_it_is_old(tmp_path):
    store = TableStore(url=str(tmp_path))
    write(store)
    torn = tmp_path / f".{KEY.path[-1]}.parquet.0a1b.tmp"
    torn.write_bytes(b"half a table")
    assert store.left_over() == [], "somebody may be writing it"
    os.utime(torn, (0, 0))
    assert [file.name for file in store.left_over()] == [torn.name]
