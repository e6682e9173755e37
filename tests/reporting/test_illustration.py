import polars as pl
import pytest

from hybrid_assets.reporting.illustration import Illustration, illustrate


@pytest.fixture
def illustrations(
    train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, movies: pl.DataFrame, scores: dict[str, pl.DataFrame]
) -> list[Illustration]:
    return illustrate(train_ratings, test_ratings, movies, scores, relevance_threshold=4.0)


def test_the_users_are_the_papers_fan_the_newcomer_and_the_median(illustrations: list[Illustration]) -> None:
    # User 2 likes Heat and Donnie Darko; user 4 has rated three of the four, but likes none.
    # Users 1, 3 and 4 remain: user 1 has the fewest ratings. User 5 has fewer, but no relevant test movie.
    assert [illustration.user_id for illustration in illustrations] == [2, 1, 3]
    assert "Donnie Darko (2001); Heat (1995)" in illustrations[0].reason
    assert [illustration.train_ratings for illustration in illustrations] == [3, 2, 4]


def test_favourites_come_best_first_then_most_recent(illustrations: list[Illustration]) -> None:
    liked = illustrations[0].liked.rows()
    assert liked == [("<script>alert(1)</script> (1999)", 5.0), ("Heat (1995)", 5.0), ("Donnie Darko (2001)", 4.5)]


def test_lists_are_in_rank_order_with_the_relevant_movies_marked(illustrations: list[Illustration]) -> None:
    fan = illustrations[0]
    assert fan.relevant == 1
    assert fan.listed["ease"].rows() == [
        (1, "Fight Club (1999)", True),
        (2, "Memento (2000)", False),
        (3, "<script>alert(1)</script> (1999)", False),
    ]
    assert fan.listed["most_popular"]["relevant"].to_list() == [False, True]


def test_a_relevant_movie_that_train_lacks_cannot_be_hit(
    train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, movies: pl.DataFrame, scores: dict[str, pl.DataFrame]
) -> None:
    without = train_ratings.filter(pl.col("movie_id") != 8)
    illustrations = illustrate(without, test_ratings, movies, scores, relevance_threshold=4.0)
    assert {illustration.user_id for illustration in illustrations} == {2, 4}


def test_without_the_papers_movies_the_busiest_user_comes_first(
    train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, movies: pl.DataFrame, scores: dict[str, pl.DataFrame]
) -> None:
    others = movies.filter(pl.col("movie_id") > 3)
    illustrations = illustrate(train_ratings, test_ratings, others, scores, relevance_threshold=4.0)
    # Users 2 and 3 are as near to the median of 2, 3, 4 and 5 ratings.
    assert [illustration.user_id for illustration in illustrations] == [4, 1, 2]
    assert "Nobody here likes any" in illustrations[0].reason
    # Movie 3 is in train but not in the table of movies.
    assert "movie 3" in illustrations[0].liked["title"].to_list()


def test_titles_without_a_year_are_recognised(
    train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, movies: pl.DataFrame, scores: dict[str, pl.DataFrame]
) -> None:
    bare = movies.with_columns(pl.col("title").str.replace(r" \(\d{4}\)$", ""))
    illustrations = illustrate(train_ratings, test_ratings, bare, scores, relevance_threshold=4.0)
    assert illustrations[0].user_id == 2


def test_without_relevant_movies_there_is_nobody_to_show(
    train_ratings: pl.DataFrame, test_ratings: pl.DataFrame, movies: pl.DataFrame, scores: dict[str, pl.DataFrame]
) -> None:
    assert illustrate(train_ratings, test_ratings, movies, scores, relevance_threshold=5.5) == []
