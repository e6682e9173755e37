"""Very small and degenerate data through the whole graph: defined results, or an error that says what to do."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from quick_graph import Graph, quick_catalog

from hybrid_assets.assets.stackers import learned_spec
from hybrid_assets.catalog import Catalog
from hybrid_assets.recommender.learned_systems import USERS, learn, learn_for_newcomers
from hybrid_assets.recommender.stacking import TooFewRows
from hybrid_assets.recommender.stacking_features import feature_names
from hybrid_assets.system_settings import StackerSettings, SystemSettings

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


def test_too_few_newcomers_to_learn_from_are_ranked_as_users_are():
    stacker = StackerSettings(folds=2, trees=5, rankers=1, smallest_leaf=50)
    system = SystemSettings(models=("ease", "als"), fusion="stacked", stacker=stacker)
    names, generator = feature_names(system.model_names, []), np.random.default_rng(0)
    rows = [(fold, user) for fold, users in ((0, 20), (1, 20), (2, 2)) for user in range(users) for _ in range(10)]
    taught = pl.DataFrame(rows, schema={"fold": pl.UInt8, "user_id": pl.Int64}, orient="row").with_columns(
        movie_id=pl.int_range(pl.len()),
        hit=pl.Series(generator.integers(0, 2, len(rows)), dtype=pl.Int8),
        **{name: pl.Series(generator.random(len(rows)), dtype=pl.Float32) for name in names},
    )
    said: list[str] = []
    spec = learned_spec(system, 4.0)
    found = learn(spec, taught, said.append)
    assert found["who"].to_list() == [USERS]
    assert any(
        "newcomers will be ranked as users are: no tree" in told and "smallest_leaf = 50" in told for told in said
    )
    assert learn_for_newcomers(spec, taught, lambda rows: rows, 1, said.append).equals(found)
    with pytest.raises(TooFewRows, match="its 400 rows"):
        learn(replace(spec, trees={**spec.trees, "smallest_leaf": 999}), taught, print)
