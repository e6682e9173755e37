import hashlib
import io
import stat
import struct
import zipfile
from pathlib import Path
from random import Random

import pytest

from hybrid_assets.datasets.download import download, unpack
from hybrid_assets.datasets.errors import DownloadError

CONTENT = Random(0).randbytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


def fetch(server, destination: Path, md5: str = MD5) -> list[tuple[int, int | None]]:
    """Download `server`'s file, and return the progress that was reported."""
    progress: list[tuple[int, int | None]] = []
    download(f"{server.base_url}/a.zip", destination, md5, lambda *at: progress.append(at), backoff_seconds=0.001)
    return progress


def test_the_file_arrives_whole_with_progress_up_to_its_size(tmp_path, serving):
    with serving(CONTENT) as server:
        progress = fetch(server, tmp_path / "new" / "a.zip")
    assert (tmp_path / "new" / "a.zip").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.zip"]
    assert progress[-1] == (1_000_000, 1_000_000)
    assert progress == sorted(progress)


def test_a_cut_line_is_taken_up_where_it_broke_within_one_call(tmp_path, serving):
    with serving(CONTENT, cuts=[300_000, 200_000]) as server:
        fetch(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_line_that_stays_cut_fails_but_the_next_call_continues(tmp_path, serving):
    with serving(CONTENT, cuts=[100_000, 0, 0, 0, 0]) as server:
        with pytest.raises(DownloadError, match=r"a\.zip"):
            fetch(server, tmp_path / "a.zip")
        assert not (tmp_path / "a.zip").exists()
        assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:100_000]
        fetch(server, tmp_path / "a.zip")
    assert server.asked[-1] == "bytes=100000-"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_without_range_support_the_file_comes_again_from_its_start(tmp_path, serving):
    with serving(CONTENT, ranges=False, cuts=[700_000]) as server:
        fetch(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_bytes_from_another_place_than_asked_for_are_not_taken(tmp_path, serving):
    (tmp_path / "a.zip.part").write_bytes(CONTENT[:150])
    with serving(CONTENT, block=100) as server:
        fetch(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.asked == ["bytes=150-", None]


def test_a_part_that_is_whole_already_needs_no_more_bytes(tmp_path, serving):
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        assert fetch(server, tmp_path / "a.zip") == []
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(tmp_path, serving):
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    with serving(CONTENT) as server:
        fetch(server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(tmp_path, serving):
    with serving(CONTENT, busy=2) as server:
        fetch(server, tmp_path / "a.zip")
    assert len(server.asked) == 3


def test_a_missing_file_is_not_asked_for_again(tmp_path, serving):
    with serving(CONTENT, missing=True) as server, pytest.raises(DownloadError, match="404"):
        fetch(server, tmp_path / "a.zip")
    assert len(server.asked) == 1


def test_wrong_bytes_are_refused_with_both_checksums_and_nothing_is_kept(tmp_path, serving):
    wrong = b"<html>please log in to this network</html>"
    with serving(wrong) as server, pytest.raises(DownloadError) as error:
        fetch(server, tmp_path / "a.zip")
    assert MD5 in str(error.value)
    assert hashlib.md5(wrong).hexdigest() in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_verified_and_not_fetched(tmp_path, serving):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with serving(CONTENT) as server:
        fetch(server, tmp_path / "a.zip")
        assert server.asked == []
        (tmp_path / "a.zip").write_bytes(b"damaged")
        with pytest.raises(DownloadError, match="Delete"):
            fetch(server, tmp_path / "a.zip")


def archive(path: Path, entries: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as contents:
        for name, content in entries.items():
            contents.writestr(name, content)
    return path


def test_the_one_folder_at_the_top_becomes_the_folder(tmp_path):
    unpack(archive(tmp_path / "a.zip", {"ml/README.txt": b"r", "ml/sub/x.csv": b"x"}), tmp_path / "out")
    assert (tmp_path / "out" / "README.txt").read_bytes() == b"r"
    assert (tmp_path / "out" / "sub" / "x.csv").read_bytes() == b"x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_files_at_the_top_stay_files_of_the_folder(tmp_path):
    unpack(archive(tmp_path / "a.zip", {"x.csv": b"x", "y.csv": b"y"}), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x.csv", "y.csv"]


def linked(path: Path) -> Path:
    link = zipfile.ZipInfo("ml/ratings.csv")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as contents:
        contents.writestr(link, "/etc/passwd")
    return path


def with_central_field(path: Path, offset: int, value: bytes) -> Path:
    """The archive with bytes of its (only) central directory entry overwritten."""
    archive(path, {"x.csv": b"1,2\n" * 100})
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


HOSTILE = {
    "a path upwards": (lambda path: archive(path, {"../evil": b"x"}), "outside"),
    "a path upwards from below": (lambda path: archive(path, {"ml/../../evil": b"x"}), "outside"),
    "an absolute path": (lambda path: archive(path, {"/tmp/evil": b"x"}), "outside"),
    "a Windows path": (lambda path: archive(path, {"C:/evil": b"x"}), "outside"),
    "a backslash": (lambda path: archive(path, {"..\\evil": b"x"}), "outside"),
    "a link": (linked, "link"),
    "a bomb by its ratio": (lambda path: archive(path, {"x.csv": bytes(5_000_000)}), "100 times"),
    "a bomb by its size": (
        lambda path: archive(path, {f"{i}": bytes(6_000) for i in range(20)}, compression=zipfile.ZIP_STORED),
        "more than 100000",
    ),
    "a bomb by its entries": (lambda path: archive(path, {f"{i}": b"" for i in range(60)}), "60 entries"),
    "encryption": (lambda path: with_central_field(path, 8, struct.pack("<H", 1)), "encrypted"),
    "a size that lies": (lambda path: with_central_field(path, 24, struct.pack("<I", 10)), "cannot be unpacked"),
    "a file that is also a folder": (lambda path: archive(path, {"a": b"x", "a/b": b"x"}), "cannot be unpacked"),
    "no archive at all": (lambda path: path.write_bytes(b"<html>") and path, "cannot be unpacked"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path, what):
    make, words = HOSTILE[what]
    inside = tmp_path / "inside"
    inside.mkdir()
    path = make(inside / "a.zip")
    with pytest.raises(DownloadError, match=words) as error:
        unpack(path, inside / "out", max_bytes=10_000_000 if "ratio" in what else 100_000, max_entries=50)
    assert str(path) in str(error.value)
    assert [path.name for path in inside.iterdir()] == ["a.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


def test_damaged_content_is_refused_and_leaves_nothing(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as contents:
        contents.writestr("x.csv", Random(1).randbytes(2_000).hex())
    data = bytearray(buffer.getvalue())
    data[500:520] = bytes(20)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
