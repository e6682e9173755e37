"""Very small and degenerate data through the whole graph: defined results, or an error that says what to do."""

import dagster as dg
import numpy as np
import polars as pl
import pytest
from quick_graph import Graph, quick_catalog

from hybrid_assets.catalog import Catalog

SYSTEMS = [
    *("most_popular", "mf_only", "mf_minilm", "ease", "ease_diverse", "ease_less_popular", "models_minilm"),
    *("stacked_minilm", "gated_minilm"),
]


def write_dataset(folder, ratings: list[tuple[int, int, float]]) -> None:
    folder.mkdir()
    movies = sorted({movie for _, movie, _ in ratings})
    table = pl.DataFrame(ratings, schema=["userId", "movieId", "rating"], orient="row")
    table.with_columns(timestamp=pl.int_range(pl.len())).write_csv(folder / "ratings.csv")
    pl.DataFrame(
        {
            "movieId": movies,
            "title": [f"Film {movie} (1990)" for movie in movies],
            "genres": ["Drama|Comedy" if movie % 2 else "(no genres listed)" for movie in movies],
        }
    ).write_csv(folder / "movies.csv")


def graph_of(tmp_path, ratings: list[tuple[int, int, float]], systems: list[str], **split: object) -> Graph:
    write_dataset(tmp_path / "raw", ratings)
    settings = quick_catalog(tmp_path / "raw").model_dump()
    settings["cold_start"]["systems"] = []
    settings["systems"] = {name: settings["systems"][name] for name in systems}
    settings["split"] |= split
    return Graph(Catalog.model_validate(settings), str(tmp_path / "data"), tmp_path / "raw")


def five_users(rating) -> list[tuple[int, int, float]]:
    """Five users, each with ten of twelve movies in an order of its own; `rating` of user and movie."""
    return [
        (user, int(movie), rating(user, int(movie)))
        for user in range(1, 6)
        for movie in np.random.default_rng(user).permutation(12)[:10] + 1
    ]


CASES = {
    "five users": five_users(lambda user, movie: 2.0 + (user * movie) % 7 / 2),
    "a user who likes nothing": five_users(lambda user, movie: 1.0 if user == 3 else 2.0 + (user * movie) % 7 / 2),
    "all ratings equal": five_users(lambda user, movie: 4.0),
}


@pytest.mark.parametrize("case", list(CASES))
def test_degenerate_ratings_have_defined_results(tmp_path, case):
    graph = graph_of(tmp_path, CASES[case], SYSTEMS)
    graph.run(dg.AssetSelection.assets("report").upstream())
    board = graph.table("leaderboard")
    assert board["ndcg"].null_count() == 0
    assert board.select(pl.col("ndcg", "coverage").is_between(0, 1).all()).row(0) == (True, True)
    for system in SYSTEMS:
        scores = graph.table(f"scores/{system}")
        assert scores["user_id"].n_unique() == 5
        assert scores["score"].is_finite().all()
    assert graph.table("strata")["value"].drop_nulls().is_between(0, 1).all()


NOBODY = "no user has a relevant test movie, so nothing can be measured"


@pytest.mark.parametrize(
    ("ratings", "words"),
    [
        (five_users(lambda user, movie: 3.0), NOBODY),
        ([(user, 1, 5.0) for user in range(1, 6)], NOBODY),
    ],
    ids=["nobody likes anything", "one movie"],
)
def test_what_cannot_be_measured_is_an_error_that_says_what_to_do(tmp_path, ratings, words):
    graph = graph_of(tmp_path, ratings, ["most_popular", "mf_only", "ease"])
    with pytest.raises(AssertionError, match=words):
        graph.run(dg.AssetSelection.assets("report").upstream())
