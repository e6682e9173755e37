import hashlib
import io
import os
import zipfile
from pathlib import Path

import polars as pl
import pytest

from hybrid_assets.datasets import sources
from hybrid_assets.datasets.errors import BadInput, DownloadError
from hybrid_assets.datasets.reading import check_references, find_table, read_movies, read_ratings, read_tags
from hybrid_assets.datasets.sources import ARCHIVES, locate

README = """Summary
=======
Ratings.

Usage License
=============
Research only.

Citation
========
Harper and Konstan.
"""


def small_archive() -> bytes:
    """An archive laid out as GroupLens's are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as contents:
        contents.writestr("ml-25m/README.txt", README)
        contents.writestr("ml-25m/ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,10\n")
        contents.writestr("ml-25m/movies.csv", "movieId,title,genres\n1,Heat (1995),Crime\n")
        contents.writestr("ml-25m/tags.csv", "userId,movieId,tag,timestamp\n1,1,tense,10\n")
    return buffer.getvalue()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def find(tmp_path, said, monkeypatch):
    """`locate` with a cache of its own, what it says collected in `said`, and no waiting between attempts."""
    monkeypatch.setattr("hybrid_assets.datasets.download.time.sleep", lambda seconds: None)

    def find(name: str, **settings):
        settings = {"environment": {}, "on_progress": lambda done, total: None, "say": said.append} | settings
        return locate(name, cache=tmp_path / "cache", **settings)

    return find


@pytest.fixture
def published(monkeypatch, serving):
    """A server that publishes a small ml-25m, whose checksum is then the known one."""
    content = small_archive()
    monkeypatch.setattr(sources, "ARCHIVES", {**ARCHIVES, "ml-25m": hashlib.md5(content).hexdigest()})
    with serving(content) as server:
        yield server


def test_an_archive_is_fetched_once_and_its_licence_said_once(find, published, said, tmp_path):
    folder = find("ml-25m", base_url=published.base_url)
    assert find("ml-25m", base_url=published.base_url) == folder
    assert len(published.asked) == 1
    assert len(said) == 1
    assert "Research only." in said[0]
    assert "Harper" not in said[0]
    assert (folder / "README.txt").read_text() == README
    assert read_tags(find_table(folder, "tags"))["tag"].to_list() == ["tense"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["ml-25m"]


def test_an_archive_put_into_the_cache_by_hand_needs_no_network(find, published, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "ml-25m.zip").write_bytes(small_archive())
    assert find_table(find("ml-25m", base_url="http://127.0.0.1:1"), "ratings") is not None
    assert published.asked == []


def test_offline_the_error_says_what_was_tried_and_how_to_do_without(find, tmp_path):
    with pytest.raises(DownloadError) as error:
        find("ml-32m", base_url="http://127.0.0.1:1")
    for words in ("http://127.0.0.1:1/ml-32m.zip", str(tmp_path / "cache" / "ml-32m"), "HYBRID_ML_32M"):
        assert words in str(error.value)


def test_the_wrong_file_is_refused_and_nothing_is_kept(find, tmp_path, serving):
    with serving(small_archive()) as server, pytest.raises(DownloadError, match=ARCHIVES["ml-1m"]):
        find("ml-1m", base_url=server.base_url)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("ml-latest-small", "HYBRID_ML_LATEST_SMALL"),
        ("ml-1m", "HYBRID_ML_1M"),
        ("ml-25m", "HYBRID_ML_25M"),
        ("ml-32m", "HYBRID_ML_32M"),
    ],
)
def test_a_variable_names_the_folder_to_read_instead(find, tmp_path, name, variable):
    (tmp_path / "ratings.dat").write_text("1::1::5::10\n")
    (tmp_path / "movies.dat").write_text("1::Heat (1995)::Crime\n")
    assert find(name, environment={variable: str(tmp_path)}, base_url="http://127.0.0.1:1") == tmp_path


def test_a_variable_that_names_a_wrong_folder_is_named_in_the_error(find, tmp_path):
    with pytest.raises(BadInput, match="HYBRID_ML_1M"):
        find("ml-1m", environment={"HYBRID_ML_1M": str(tmp_path)})


def test_a_cached_folder_that_lost_a_file_is_named_in_the_error(find, published, tmp_path):
    (find("ml-25m", base_url=published.base_url) / "movies.csv").unlink()
    with pytest.raises(BadInput, match=r"no movies.*Delete"):
        find("ml-25m")


def test_ones_own_folder_is_taken_as_it_is(find, tmp_path):
    (tmp_path / "ratings.parquet").touch()
    (tmp_path / "movies.csv").touch()
    assert find("folder", folder=tmp_path) == tmp_path


@pytest.mark.parametrize("files", [(), ("ratings.csv",), ("ratings.csv", "ratings.parquet", "movies.csv")])
def test_ones_own_folder_must_hold_one_file_of_each_table(find, tmp_path, files):
    for file in files:
        (tmp_path / file).touch()
    with pytest.raises(BadInput, match=str(tmp_path)):
        find("folder", folder=tmp_path)


def test_a_folder_that_is_not_there_or_not_given_is_refused(find, tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        find("folder", folder=tmp_path / "absent")
    with pytest.raises(BadInput, match="path"):
        find("folder")


def test_an_unknown_name_is_answered_with_the_nearest(find):
    with pytest.raises(BadInput, match='Did you mean "ml-latest-small"'):
        find("ml-latest-smal")


def test_the_sample_is_movielens_100k_of_2016(find):
    folder = find("sample")
    ratings, movies = (
        read_ratings(find_table(folder, "ratings")),
        read_movies(find_table(folder, "movies")),
    )
    assert ratings.height == 100_004
    assert ratings["user_id"].n_unique() == 671
    assert movies.height == ratings["movie_id"].n_unique() == 9_066
    assert movies.row(0) == (1, "Toy Story (1995)", "Adventure|Animation|Children|Comedy|Fantasy")
    assert movies.filter(title="")["movie_id"].sort().to_list() == [108548, 108583, 143410, 151307, 162376]
    assert ratings.row(0) == (1, 31, 2.5, 1260759144)
    assert find_table(folder, "tags") is None
    check_references(ratings, movies, folder / "ratings.parquet")


def test_the_sample_is_written_once_and_always_the_same(find, tmp_path):
    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in find("sample").iterdir()}

    first = written()
    times = {path: path.stat().st_mtime_ns for path in find("sample").iterdir()}
    assert {path: path.stat().st_mtime_ns for path in find("sample").iterdir()} == times
    (tmp_path / "cache").rename(tmp_path / "before")
    assert written() == first
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["sample"]


def test_ml_latest_small_has_the_published_counts():
    repository = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("HYBRID_ML_LATEST_SMALL") or repository / "../shared/data/ml-latest-small")
    if not folder.is_dir():
        pytest.skip("needs MovieLens ml-latest-small: HYBRID_ML_LATEST_SMALL=/its/folder")
    ratings = read_ratings(find_table(folder, "ratings"))
    movies = read_movies(find_table(folder, "movies"))
    tags = read_tags(find_table(folder, "tags"))
    assert (ratings.height, movies.height, tags.height) == (100_836, 9_742, 3_683)
    assert ratings["user_id"].n_unique() == 610
    assert ratings["movie_id"].n_unique() == 9_724
    assert ratings["rating"].cast(pl.Float64).sum() == 353_083
    assert movies.filter(movie_id=11)["title"].item() == "American President, The (1995)"
    check_references(ratings, movies, folder / "ratings.csv")
    check_references(tags, movies, folder / "tags.csv")
