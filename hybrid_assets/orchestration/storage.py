"""Where tables lie: Parquet files that carry their own provenance, replaced as a whole or not at all.

Belongs here: reading, writing and verifying tables and their stamps on any fsspec URL. Does not: deciding whether to
compute (incremental.py).
"""

import fcntl
import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import dagster as dg
import polars as pl
from upath import UPath

from hybrid_assets.orchestration.faults import disk_failure

STAMP_KEY = "hybrid_assets"
HASH_ROWS = 2**16
# A table's rows are written in groups of so many bytes: they are read side by side, and of a table that stands in the
# order of a column, such as `fold`, only those that are asked for.
ROW_GROUP_BYTES = 2**24
LOCAL = ("", "file", "local")
# What a damaged Parquet file makes the reader raise; a panic is no Exception.
DAMAGED = (pl.exceptions.PolarsError, pl.exceptions.PanicException, KeyError, ValueError, TypeError)
LOOK_AGAIN_SECONDS = 0.2
LEFT_OVER_SECONDS = 3600


@dataclass(frozen=True)
class Stamp:
    """What made a table; written into its Parquet footer, so that table and provenance can never disagree.

    Attributes:
        asset: the asset key, as `a/b`.
        code_version: of the asset's code, settings and libraries.
        inputs: data version of each input at the time; `part <version>` where only a part of it counts; "missing" for
            an optional one that was not there.
        data_version: hash of the table's content.
        numbers: counts and figures to plot over time.
        notes: Markdown to show with the table: a search's curve, a plot.
        made_with: what the code version is a digest of; empty in stamps of before it was kept.
        checked: check -> what it found wrong, "" where it passed; a check that is newer than the table is not named.
    """

    asset: str
    code_version: str
    inputs: Mapping[str, str]
    data_version: str
    numbers: Mapping[str, float | int | str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    made_with: Mapping[str, str] = field(default_factory=dict)
    checked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StampedTable:
    """A table on its way to storage."""

    table: pl.DataFrame
    stamp: Stamp


class _Sha256Sink(io.RawIOBase):
    """A file that keeps nothing but the hash of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.position += memoryview(data).nbytes
        return memoryview(data).nbytes


def content_hash(table: pl.DataFrame) -> str:
    """SHA-256 of a table's schema and values, 16 hexadecimal digits; the same however it is chunked or compressed.

    Raises:
        ValueError: a column of lists or structs holds a null, whose bytes Arrow leaves open.
    """
    import pyarrow as pa

    arrow = _without_undefined_bytes(table).rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    sink = _Sha256Sink()
    sink.write(repr(list(table.schema.items())).encode())
    with pa.PythonFile(sink, mode="w") as file, pa.ipc.new_stream(file, arrow.schema) as stream:
        for batch in arrow.combine_chunks().to_batches(max_chunksize=HASH_ROWS):
            stream.write_batch(batch)
    return sink.digest.hexdigest()[:16]


def _without_undefined_bytes(table: pl.DataFrame) -> pl.DataFrame:
    """Nulls as a column of their own, and booleans as bytes: what lies under a null or after a last bit is chance."""
    columns = []
    for name, dtype in table.schema.items():
        values = pl.col(name)
        if table[name].null_count():
            if dtype.is_nested():
                raise ValueError(f"column {name!r} holds nulls in {dtype}; write empty values instead")
            columns.append(values.is_null().cast(pl.UInt8).alias(f"{name} is null"))
            empty = pl.lit("" if dtype == pl.String else 0).cast(dtype)
            values = values.fill_null(empty)
        columns.append((values.cast(pl.UInt8) if dtype == pl.Boolean else values).alias(name))
    return table.select(columns)


def replace_file(path: UPath, content: bytes) -> None:
    """Write a whole file so that readers see the old one or the new one, never a part.

    On a local disk: a temporary name, then a rename. Elsewhere: one PUT of the whole object.

    Raises:
        dagster.Failure: it cannot be written: a full disk, a read-only one; the old file is still there.
    """
    if path.protocol not in LOCAL:
        path.fs.pipe_file(path.path, content)
        return
    local = Path(path.path)
    temporary = local.with_name(f".{local.name}.{uuid.uuid4().hex}.tmp")
    try:
        local.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, local)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise disk_failure(error, local, "set HYBRID_STORAGE to another place") from error


def _damage(file: BinaryIO) -> str:
    """What is wrong with a table's file, "" where every value is the one that was written."""
    try:
        written = json.loads(pl.read_parquet_metadata(file)[STAMP_KEY])["data_version"]
        file.seek(0)
        found = content_hash(pl.read_parquet(file))
    except DAMAGED as error:
        return f"{type(error).__name__}: {error}"
    return "" if found == written else f"its content has the hash {found}, what was written had {written}"


# Local files that this process has written or found whole: path, inode, time of change and size.
_WHOLE: set[tuple[str, int, int, int]] = set()


def _version(path: UPath) -> tuple[str, int, int, int]:
    found = path.stat()
    return str(path.path), found.st_ino, found.st_mtime_ns, found.st_size


class TableStore(dg.ConfigurableIOManager):
    """Tables of one dataset under a folder or fsspec URL: `<url>/<asset key>.parquet`.

    Dagster's IO manager of this project: an input arrives as a `polars.LazyFrame`.
    """

    url: str

    @property
    def dataset(self) -> str:
        """The name of the dataset whose tables these are."""
        return self.url.rsplit("/", 1)[-1]

    def path(self, key: dg.AssetKey, suffix: str = ".parquet") -> UPath:
        """Where an asset's file lies."""
        return UPath(self.url, *key.path[:-1], key.path[-1] + suffix)

    def exists(self, key: dg.AssetKey) -> bool:
        """Whether the asset has a table."""
        return bool(self.path(key).exists())

    def scan(self, key: dg.AssetKey) -> pl.LazyFrame:
        """The asset's table, read lazily.

        Raises:
            dagster.Failure: it has never been materialized; the message holds the command.
        """
        path = self.path(key)
        if not path.exists():
            name = key.to_user_string()
            raise dg.Failure(
                f"{name} has not been materialized ({path} does not exist). Build it: "
                f"hybrid-assets run --dataset {self.dataset}; what that leaves out: hybrid-assets backfill, with the "
                f"name of its encoder or model, --dataset {self.dataset}",
                allow_retries=False,
            )
        if path.protocol in LOCAL:
            return pl.scan_parquet(path.path, glob=False)
        return pl.scan_parquet(io.BytesIO(path.read_bytes()))

    def stamp(self, key: dg.AssetKey) -> Stamp | None:
        """What made the asset's table, or None where there is none.

        Raises:
            dagster.Failure: the file is no Parquet file of this project.
        """
        path = self.path(key)
        if not path.exists():
            return None
        try:
            with path.open("rb") as file:
                return Stamp(**json.loads(pl.read_parquet_metadata(file)[STAMP_KEY]))
        except DAMAGED as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from error

    def verify(self, key: dg.AssetKey) -> None:
        """Read every value of an asset's table and compare it with what was written; once a process and version.

        A Parquet reader notices few damaged bytes: most are values like any other. What this process wrote itself it
        does not read again.

        Raises:
            dagster.Failure: the table is damaged; the message names the file and the way out.
        """
        path = self.path(key)
        if path.protocol not in LOCAL or _version(path) not in _WHOLE:
            self._read_whole(path)

    def _read_whole(self, path: UPath) -> None:
        # of before it is read: what replaces it meanwhile has another version
        version = _version(path) if path.protocol in LOCAL else None
        with path.open("rb") as file:
            problem = _damage(file if version else io.BytesIO(file.read()))
        if problem:
            raise _damaged(path, problem)
        if version:
            _WHOLE.add(version)

    def verify_all(self) -> int:
        """Read every table that is here, as `verify` does, whatever was read before; returns how many there are.

        Raises:
            dagster.Failure: one of them is damaged.
        """
        verified = 0
        for key in self._files():
            with self.path(key).open("rb") as file, suppress(*DAMAGED):
                if STAMP_KEY not in pl.read_parquet_metadata(file):
                    continue  # a file of somebody else
            self._read_whole(self.path(key))
            verified += 1
        return verified

    @contextmanager
    def alone(self, key: dg.AssetKey, say: Callable[[str], None]) -> Iterator[bool]:
        """Keep other processes from making the asset's table; yields whether one was at it and had to be waited for.

        The system lets go of a process that is killed. Storage elsewhere than on a local disk has no such lock: there
        the last to finish stays.

        Raises:
            dagster.Failure: the storage cannot be written.
        """
        root = UPath(self.url)
        if root.protocol not in LOCAL:
            yield False
            return
        place = Path(root.path) / ".locks" / ".".join(key.path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = place.open("a+")
        except OSError as error:
            raise disk_failure(error, place, "set HYBRID_STORAGE to another place") from error
        with lock:
            waiting = False
            while True:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except (BlockingIOError, PermissionError):
                    if not waiting:
                        say(f"another run is making {key.to_user_string()}; waiting until it is done")
                    waiting = True
                    time.sleep(LOOK_AGAIN_SECONDS)
            yield waiting

    def lineage(self, key: dg.AssetKey) -> dict[str, Stamp]:
        """The stamp of an asset and of everything it came from, the asset first; empty where it has no table."""
        stamps: dict[str, Stamp] = {}
        waiting = [key.to_user_string()]
        while waiting:
            name = waiting.pop(0)
            stamp = self.stamp(dg.AssetKey.from_user_string(name)) if name not in stamps else None
            if stamp is not None:
                stamps[name] = stamp
                waiting += stamp.inputs
        return stamps

    def put_folder(self, key: dg.AssetKey, folder: Path) -> pl.DataFrame:
        """Store a folder's files beside the asset's table, and return the table that names them.

        They lie under a name of their content, so that the last version stays until the table is replaced; versions
        that no table names any more are deleted.
        """
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        rows = []
        for file in files:
            content = file.read_bytes()
            name = file.relative_to(folder).as_posix()
            rows.append({"file": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
        table = pl.DataFrame(rows)
        kept = {content_hash(table)}
        if self.exists(key):
            kept.add(content_hash(self.scan(key).collect()))
        place = self.path(key, "")
        for old in place.iterdir() if place.exists() else []:
            if old.name not in kept:
                old.fs.rm(old.path, recursive=True)
        for file in files:
            replace_file(place / content_hash(table) / file.relative_to(folder).as_posix(), file.read_bytes())
        return table

    def get_folder(self, key: dg.AssetKey, scratch: Path) -> Path:
        """The files that an asset's table names, verified, as a local folder.

        Args:
            key: the asset.
            scratch: empty folder that files from elsewhere than a local disk are copied to.

        Raises:
            dagster.Failure: a file is missing or is not the one the table names.
        """
        table = self.scan(key).collect()
        place = self.path(key, "") / content_hash(table)
        lost = _lost(place, table)
        if lost:
            raise dg.Failure(
                f"{place / lost[0]}: missing or changed since it was written. Delete {self.path(key)} and run again: "
                "it will be made anew",
                allow_retries=False,
            )
        if place.protocol in LOCAL:
            return Path(place.path)
        for name in table["file"]:
            replace_file(UPath(scratch / name), (place / name).read_bytes())
        return scratch

    def lost_files(self, key: dg.AssetKey) -> list[str]:
        """Of the files that an asset's table names in the folder of its key: those that are missing or changed."""
        return _lost(self.path(key, ""), self.scan(key).collect())

    def left_over(self) -> list[UPath]:
        """Temporary files of tables whose writer was killed; younger than an hour they may be somebody's work."""
        root = UPath(self.url)
        if root.protocol not in LOCAL or not root.exists():
            return []
        oldest = time.time() - LEFT_OVER_SECONDS
        return [file for file in sorted(root.rglob(".*.tmp"), key=str) if file.stat().st_mtime < oldest]

    def stored(self) -> list[dg.AssetKey]:
        """Every asset that has a table here, of the catalog or not; other files are passed over."""
        found = []
        for key in self._files():
            try:
                stamp = self.stamp(key)
            except dg.Failure:
                continue
            if stamp and stamp.asset == key.to_user_string():
                found.append(key)
        return found

    def _files(self) -> list[dg.AssetKey]:
        root = UPath(self.url)
        files = sorted(root.rglob("*.parquet"), key=str) if root.exists() else []
        return [dg.AssetKey(list(file.relative_to(root).with_suffix("").parts)) for file in files]

    def delete(self, key: dg.AssetKey) -> None:
        """Delete an asset's table and its files; the table first, so that nothing names files that are gone."""
        self.path(key).unlink()
        folder = self.path(key, "")
        if folder.is_dir():
            folder.fs.rm(folder.path, recursive=True)

    def made_at(self, key: dg.AssetKey) -> float:
        """When the asset's table was written, in seconds since 1970."""
        return float(self.path(key).stat().st_mtime)

    def handle_output(self, context: dg.OutputContext, obj: StampedTable) -> None:
        """Write a table and its stamp as one file."""
        content, table = io.BytesIO(), obj.table
        table.write_parquet(
            content,
            compression_level=1,  # half the time of the default, for a hundredth more bytes
            row_group_size=1 + table.height * ROW_GROUP_BYTES // max(int(table.estimated_size()), ROW_GROUP_BYTES),
            metadata={STAMP_KEY: json.dumps(asdict(obj.stamp), sort_keys=True)},
        )
        path = self.path(context.asset_key)
        replace_file(path, content.getvalue())
        if path.protocol in LOCAL:
            _WHOLE.add(_version(path))

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """The table of an upstream asset, for assets that are not incremental."""
        return self.scan(context.asset_key)


def _lost(place: UPath, table: pl.DataFrame) -> list[str]:
    def is_lost(name: str, expected: str) -> bool:
        file = place / name
        return not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != expected

    return [name for name, expected in table.select("file", "sha256").iter_rows() if is_lost(name, expected)]


def _damaged(path: UPath, problem: str) -> dg.Failure:
    return dg.Failure(
        f"{path} cannot be read as a table of this project ({problem}). Delete the file and run again: it will be "
        "computed anew",
        allow_retries=False,
    )
