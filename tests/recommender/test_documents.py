"""The text an encoder sees: title without year, genres, tags."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_assets.datasets.reading import find_table, read_movies, read_tags
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


def plain(title: str, genres: str, tags: list[str]) -> str:
    """The protocol's rules, word for word."""
    if "(" in title:
        title = title[: title.rindex("(")]
    genres = "" if genres == "(no genres listed)" else genres.replace("|", " ")
    parts = [title.strip(), genres, " ".join(tag.lower() for tag in tags)]
    return " ".join(part for part in parts if part) or "movie"


@settings(max_examples=100)
@given(
    st.text("aÉ() \n", max_size=12),
    st.sampled_from(["", "(no genres listed)", "Drama", "Action|Sci-Fi"]),
    st.lists(st.text("aBÇΣ|(", min_size=1, max_size=4), max_size=3),
)
def test_any_title_and_tags_follow_the_rules(title, genres, tags):
    assert document(title, genres, tags) == plain(title, genres, tags)


def test_the_documents_of_ml_latest_small_are_those_of_a_plain_loop(ml_latest_small):
    movies, tags = read_movies(find_table(ml_latest_small, "movies")), read_tags(find_table(ml_latest_small, "tags"))
    tags_of: dict[int, list[str]] = {}
    for _, movie, tag, _ in tags.rows():
        tags_of.setdefault(movie, []).append(tag)
    expected = [(movie, plain(title, genres, tags_of.get(movie, []))) for movie, title, genres in movies.rows()]
    assert len(expected) == 9_742
    assert build_documents(movies, tags).rows() == expected
