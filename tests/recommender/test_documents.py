"""The text an encoder sees: title without year, genres, tags."""

import polars as pl
import pytest

from hybrid_assets.recommender.documents import build_documents

NO_TAGS = pl.DataFrame(schema={"movie_id": pl.Int64, "tag": pl.String})


def document(title: str, genres: str, tags: list[str]) -> str:
    movies = pl.DataFrame({"movie_id": [1], "title": [title], "genres": [genres]})
    tagged = pl.DataFrame({"movie_id": [1] * len(tags), "tag": tags}, schema=NO_TAGS.schema)
    return build_documents(movies, tagged)["document"].item()


@pytest.mark.parametrize(
    ("title", "genres", "tags", "expected"),
    [
        ("Heat (1995)", "Action|Crime", ["Pacino", "heist"], "Heat Action Crime pacino heist"),
        ("Seven (a.k.a. Se7en) (1995)", "Mystery", [], "Seven (a.k.a. Se7en) Mystery"),
        ("Babylon 5", "Sci-Fi", [], "Babylon 5 Sci-Fi"),
        ("Moonlight", "(no genres listed)", [], "Moonlight"),
        ("Up (2009)", "(no genres listed)", ["sad", "sad", "SAD"], "Up sad sad sad"),
        ("", "(no genres listed)", [], "movie"),
        ("(500) Days of Summer (2009)", "Comedy", [], "(500) Days of Summer Comedy"),
        ("", "Drama", [], "Drama"),
        ("", "", ["quiet"], "quiet"),
        ("Odd (1995) ", "", [""], "Odd"),
    ],
)
def test_a_document_is_title_genres_and_tags(title, genres, tags, expected):
    assert document(title, genres, tags) == expected


def test_movies_keep_their_order_and_tags_their_movie():
    movies = pl.DataFrame({"movie_id": [9, 2, 5], "title": ["A (1)", "B (2)", "C (3)"], "genres": ["", "", ""]})
    tags = pl.DataFrame({"movie_id": [5, 9, 5], "tag": ["z", "y", "x"]})
    table = build_documents(movies, tags)
    assert table["movie_id"].to_list() == [9, 2, 5]
    assert table["document"].to_list() == ["A y", "B", "C z x"]
