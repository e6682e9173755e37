"""The raw assets: what they tell of files that can be read and of a folder that is not there."""

import dagster as dg
from quick_graph import Graph, quick_catalog

from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.staleness import judge, recipes_of

MOVIES = "movieId,title,genres\n10,Heat (1995),Crime\n"


def raw_graph(tmp_path, **files: str) -> Graph:
    (tmp_path / "raw").mkdir()
    for name, text in {"movies": MOVIES, **files}.items():
        (tmp_path / "raw" / f"{name}.csv").write_text(text)
    return Graph(quick_catalog(tmp_path / "raw"), str(tmp_path / "data"), tmp_path / "raw")


def test_times_that_are_not_read_are_told_of_with_the_columns_there_are(tmp_path, capfd):
    graph = raw_graph(
        tmp_path,
        ratings="userId,movieId,rating,rated_at\n1,10,4.0,100\n",
        tags="userId,movieId,tag,timestamp\n1,10,tense,100\n",
    )
    graph.run(dg.AssetSelection.assets("ratings", "tags").upstream())
    told = capfd.readouterr().err
    assert "ratings.csv: no column timestamp" in told
    assert "userId, movieId, rating, rated_at" in told
    assert "tags.csv: no column" not in told


def test_a_look_at_a_folder_that_is_not_there_says_so(tmp_path):
    graph = Graph(quick_catalog(tmp_path / "nope"), str(tmp_path / "data"), tmp_path / "nope")
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    verdict = judge(recipes, graph.store)[dg.AssetKey("raw_files")]
    assert "nope: there is no such folder" in str(verdict)
