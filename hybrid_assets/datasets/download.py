"""A file over HTTPS that survives a cut line, and a zip archive unpacked without trusting it.

Belongs here: bytes, checksums, archives. Does not: which datasets there are (sources.py).
"""

import hashlib
import os
import re
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import httpx2

from hybrid_assets.datasets.errors import DownloadError

Progress = Callable[[int, int | None], None]
"""Called as bytes arrive: how many there are, and how many there will be (None: the server did not say)."""

_ATTEMPTS = 5
_TIMEOUT_SECONDS = 30.0
_GIB = 1 << 30
# An entry of an archive that is more times its packed size is a zip bomb.
_MOST_GROWTH = 100
# What zipfile raises for damaged content, an unknown compression, and a name that is both a file and a folder.
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
)


def download(url: str, destination: Path, md5: str, on_progress: Progress, *, backoff_seconds: float = 0.5) -> Path:
    """The file at `url` as `destination`, whose MD5 is `md5` (32 hex digits); returns `destination`.

    A file that is already there is only verified. Bytes go to `<name>.part`, which the next attempt, and the next
    call, continue with a Range request; only a verified file gets its final name. A cut or busy server is asked up
    to 5 times, waiting `backoff_seconds`, then twice as long each time.

    Raises DownloadError when the server cannot be reached, refuses, or gives another file than the one published.
    Two processes must not download to the same destination at once: they would share the .part (the checksum
    notices, and the download starts over).
    """
    if destination.exists():
        found = _md5(destination)
        if found != md5:
            raise _wrong_checksum(str(destination), md5, found, f"Delete {destination} and run again")
        return destination
    part = destination.with_name(destination.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with httpx2.Client(follow_redirects=True, timeout=_TIMEOUT_SECONDS) as client:
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(backoff_seconds * 2 ** (attempt - 1))
            try:
                _continue(client, url, part, on_progress)
                break
            except (httpx2.RequestError, _Busy) as failure:
                if attempt == _ATTEMPTS - 1:
                    raise DownloadError(f"{url}: {failure or type(failure).__name__}.") from failure
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise _wrong_checksum(url, md5, found, "Nothing was kept; run again to fetch it anew")
    os.replace(part, destination)
    return destination


class _Busy(ConnectionError):
    """The server answered, but not with the file; worth asking again."""


def _continue(client: httpx2.Client, url: str, part: Path, on_progress: Progress) -> None:
    """Fetch what `part` still lacks; return when the server has given everything it announced."""
    have = part.stat().st_size if part.exists() else 0
    # Without "identity" the server may compress, and the bytes would not be the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        span = response.headers.get("Content-Range", "")
        if response.status_code == httpx2.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if span == f"bytes */{have}":  # the part is whole already: the last call ended before its rename
                return
            part.unlink()
            raise _Busy("the part on this machine does not belong to the server's file")
        if response.status_code == httpx2.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise _Busy(f"the server answered {response.status_code} {response.reason_phrase}")
        if not response.is_success:
            raise DownloadError(f"{url}: the server answered {response.status_code} {response.reason_phrase}.")
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            have = 0  # no Range support: the whole file comes again
        elif not span.startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _Busy(f"the server was asked for bytes from {have} and gave {span}")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            for chunk in response.iter_raw():  # as they come: what was received before a cut is kept
                file.write(chunk)
                on_progress(file.tell(), total)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        # What GroupLens publishes: it tells a damaged file from a whole one, not a forged one; HTTPS is for that.
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _wrong_checksum(what: str, expected: str, found: str, fix: str) -> DownloadError:
    return DownloadError(f"{what}: not the published file: expected MD5 {expected}, found {found}. {fix}.")


def unpack(archive: Path, folder: Path, *, max_bytes: int = 4 * _GIB, max_entries: int = 1000) -> Path:
    """The files of a zip archive as `folder`, which does not exist yet; returns `folder`.

    An archive with one folder at its top gives that folder's content. Everything is unpacked beside `folder` and
    then renamed, so that `folder` is either whole or absent.

    Raises DownloadError, leaving nothing behind, for a broken or encrypted archive; an entry with an absolute path,
    with "..", or that is not a plain file or folder; more than `max_entries` entries, more than `max_bytes` in all,
    or an entry more than _MOST_GROWTH times its packed size (a zip bomb).
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        top = Path(temporary) / "unpacked"
        top.mkdir()
        try:
            with zipfile.ZipFile(archive) as contents:
                entries = contents.infolist()
                _check_entries(archive, entries, max_bytes, max_entries)
                for entry in entries:
                    # zipfile stops at the declared size and checks the CRC, so what was checked is what comes.
                    contents.extract(entry, top)
        except _BROKEN_ARCHIVE as failure:
            raise DownloadError(f"{archive}: cannot be unpacked: {failure}. Delete it and run again.") from failure
        inside = list(top.iterdir())
        publish(inside[0] if len(inside) == 1 and inside[0].is_dir() else top, folder)
    return folder


def publish(made: Path, folder: Path) -> None:
    """Give the finished folder `made` its final name; if another process was first, its folder stays."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def _check_entries(archive: Path, entries: list[zipfile.ZipInfo], max_bytes: int, max_entries: int) -> None:
    if len(entries) > max_entries:
        raise _unsafe(archive, f"{len(entries)} entries, more than {max_entries}")
    if (size := sum(entry.file_size for entry in entries)) > max_bytes:
        raise _unsafe(archive, f"{size} bytes when unpacked, more than {max_bytes}")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\\x00]|^[A-Za-z]:", entry.orig_filename):
            raise _unsafe(archive, f'the entry "{entry.orig_filename}" leads outside the folder')
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _unsafe(archive, f'the entry "{entry.filename}" is a link or a device')
        if entry.flag_bits & 0x1:
            raise _unsafe(archive, f'the entry "{entry.filename}" is encrypted')
        if entry.file_size > _MOST_GROWTH * max(entry.compress_size, 1):
            raise _unsafe(archive, f'the entry "{entry.filename}" grows more than {_MOST_GROWTH} times')


def _unsafe(archive: Path, problem: str) -> DownloadError:
    return DownloadError(f"{archive}: not unpacked: {problem}. Get the archive from its publisher again.")
