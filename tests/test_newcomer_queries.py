"""Somebody who is not in the data, over the small real graph."""

import re

import dagster as dg
import polars as pl
import pytest
from quick_graph import Graph

from hybrid_assets import newcomer_queries, queries
from hybrid_assets.catalog import Catalog
from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.staleness import recipes_of
from hybrid_assets.queries import KnowsNothing, NotFound, find_movie, find_title
from hybrid_assets.recommender.tables import ids_and_vectors
from hybrid_assets.reporting.recommendations import Recommendation


def load(graph: Graph, system: str) -> newcomer_queries.Loaded:
    recipes = recipes_of(build_definitions(graph.catalog, graph.storage).assets)
    return newcomer_queries.load_system(graph.store, graph.catalog, recipes, system)


def test_the_best_system_of_the_leaderboard_ranks_for_newcomers(built):
    board = built.table("leaderboard")
    assert newcomer_queries.newcomer_systems(built.store, built.catalog)[0] == board["system"][0]


def test_a_model_without_a_fold_in_names_a_system_that_can(built):
    with pytest.raises(NotFound, match=r"lightgcn cannot rank for somebody.*trained again; take --system \w+"):
        load(built, "lightgcn")
    settings = built.catalog.model_dump()
    alone = {"lightgcn": settings["systems"]["lightgcn"]}
    catalog = Catalog.model_validate(settings | {"systems": alone, "cold_start": {"systems": []}})
    with pytest.raises(NotFound, match=r"lightgcn cannot rank for somebody.*no system on the leaderboard will do"):
        newcomer_queries.load_system(built.store, catalog, {}, "lightgcn")


@pytest.mark.parametrize(
    "system",
    [
        "most_popular",
        "mf_minilm",
        "mf_minilm_notebook",
        "content_minilm",
        "models_minilm",
        "stacked_minilm",
        "gated_minilm",
        "ease_diverse",
        "ease_less_popular",
    ],
)
def test_a_user_who_comes_anew_with_the_same_ratings_is_listed_unrated_movies_with_reasons(built, system):
    train = built.table("train_ratings")
    user = train["user_id"][0]
    own = train.filter(pl.col("user_id") == user).select("movie_id", "rating", "timestamp")
    loaded = load(built, system)
    listed = newcomer_queries.newcomer_recommendations(built.catalog, loaded, own, 5, why=True)
    assert [entry.rank for entry in listed] == [1, 2, 3, 4, 5]
    assert not {entry.movie_id for entry in listed} & set(own["movie_id"])
    settings = built.catalog.systems[system]
    for entry in listed:
        context = ["context"] if settings.fusion == "stacked" else []
        rerank = ["rerank"] if settings.rerank else []
        branches = [*settings.model_names, *settings.encoder_names, *context, *rerank]
        assert [reason.branch for reason in entry.reasons] == branches
        assert sum(reason.part for reason in entry.reasons) == pytest.approx(entry.score, abs=1e-5)
    # whose user vectors are no result of a descent
    if system in ("most_popular", "content_minilm", "ease_diverse", "ease_less_popular"):
        stored = built.table(f"scores/{system}").filter(pl.col("user_id") == user).sort("rank").head(5)
        assert [entry.movie_id for entry in listed] == stored["movie_id"].to_list()


def test_movies_are_named_by_id_or_title(built, tmp_path):
    movies = built.table("movies").unique("title", maintain_order=True).head(3)
    stars = pl.Series("rating", [5.0, 4.0, 0.5])
    by_id, by_title = tmp_path / "id.csv", tmp_path / "title.parquet"
    movies.select(pl.col("movie_id").alias("movieId"), stars).write_csv(by_id)
    movies.select("title", stars).write_parquet(by_title)
    read = [newcomer_queries.ratings_of_file(built.store, built.catalog, path) for path in (by_id, by_title)]
    assert read[0].equals(read[1])
    assert read[0]["movie_id"].to_list() == movies["movie_id"].to_list()
    assert read[0].columns == ["movie_id", "rating"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("film,rating\n1,5\n", "neither a column movieId nor a column title"),
        ("movieid,rating\n1,5\n", 'field "movieId": this column is missing.*the nearest is movieid'),
        ("title,stars\nHeat,5\n", 'field "rating": this column is missing.* needs movieId or title, and rating, what'),
        ("title,rating\nzzzz qqqq,5\n", 'line 2, field "title": no movie'),
        ("title,rating\n ,5\n", 'line 2, field "title": a title is blank'),
        ("movieId,rating\n999999999,5\n", 'line 2, field "movieId": movie 999999999 is not among the movies'),
        ("movieId,rating\n{id},5\n{id},4\n", 'line 3, field "movieId": movie_id .* is there already, on line 2'),
        ("title,rating\n{title},5\n{title},4\n", 'line 3, field "title": title .* is there already, on line 2'),
        ("userId,movieId,rating\n1,{id},5\n2,1,4\n", 'field "userId": it holds the ratings of 2 people'),
        ("movieId,rating\n{id},6\n", 'line 2, field "rating": expected a rating from 0.5 to 5'),
        ("movieId,rating\n{id},good\n", 'line 2, field "rating": expected a number'),
        ("movieId,rating\n", "no rows"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_row_and_field(built, tmp_path, text, named):
    path = tmp_path / "my.csv"
    movie = built.table("movies").row(0, named=True)
    path.write_text(text.replace("{id}", str(movie["movie_id"])).replace("{title}", f'"{movie["title"]}"'))
    with pytest.raises(BadInput, match=named) as error:
        newcomer_queries.ratings_of_file(built.store, built.catalog, path)
    assert str(path) in str(error.value)
    assert "columns = {" not in str(error.value), "it is of no account here"


def test_of_what_run_leaves_out_the_command_that_makes_it_is_named(built):
    with pytest.raises(
        dg.Failure, match=r"scores/lightgcn has not been .*Build it: hybrid-assets backfill lightgcn --dat"
    ):
        queries.recommendations(built.store, built.catalog, 1, "lightgcn", 5)
    with pytest.raises(
        dg.Failure, match=r"embeddings/minilm_ft has not been .*Build it: hybrid-assets backfill minilm_ft"
    ):
        load(built, "content_minilm_ft")


@pytest.mark.parametrize(
    ("system", "reason"),
    [
        ("stacked_minilm", "stacked_minilm ranks no more candidates .systems.stacked_minilm.stacker.candidates"),
        ("most_popular", "no other movie is left that somebody rated"),
    ],
)
def test_a_list_that_is_shorter_than_asked_for_says_why(built, system, reason):
    train = built.table("train_ratings")
    own = train.filter(pl.col("user_id") == 1).select("movie_id", "rating").head(3)
    k = train["movie_id"].n_unique()
    listed = newcomer_queries.newcomer_recommendations(built.catalog, load(built, system), own, k, why=False)
    assert len(listed) == (50 if system == "stacked_minilm" else k - 3)
    told = queries.why_shorter(built.catalog, system, len(listed), k)
    assert re.match(f"the list holds {len(listed)} movies and {k} were asked for: {reason}", told)
    assert queries.why_shorter(built.catalog, system, 10, 10) == ""


def test_nothing_said_is_no_list(built):
    with pytest.raises(NotFound, match="at least one rated movie"):
        newcomer_queries.ratings_by_asking(built.store, built.catalog, lambda question: "", print)


def test_factors_of_other_ratings_are_refused_and_the_command_is_named(graph):
    ratings = graph.raw / "ratings.csv"
    ratings.write_text("\n".join(ratings.read_text().splitlines()[:-1]) + "\n")
    graph.run(dg.AssetSelection.assets("train_ratings").upstream())
    with pytest.raises(dg.Failure, match=r"ease is not made from the ratings.*factors/ease: train_ratings changed"):
        load(graph, "ease")
    graph.run(dg.AssetSelection.assets("factors/ease").upstream())
    load(graph, "ease")


@pytest.mark.parametrize(
    ("system", "changed", "named"),
    [
        ("stacked_minilm", {"stacker": {"seed": 43}}, "candidates/stacked_minilm"),
        ("gated_minilm", {"stacker": {"seed": 43}}, "gates/gated_minilm"),
        ("models_minilm", {"models": ["ease", "als"]}, "scores/models_minilm"),
    ],
)
def test_what_a_system_learned_with_other_settings_is_refused(built, system, changed, named):
    settings = built.catalog.model_dump()
    settings["systems"][system] |= changed
    other = Graph(Catalog.model_validate(settings), built.storage, built.raw)
    with pytest.raises(dg.Failure, match=rf"{system} is not made from the ratings and settings here \({named}: "):
        load(other, system)


def test_a_movie_is_found_as_people_say_it():
    titles = {
        1: "Matrix, The (1999)",
        2: "Matrix Reloaded, The (2003)",
        3: "Beautiful Mind, A (2001)",
        300: "Quiz Show (1994)",
        5: "300 (2007)",
    }
    asked = {"The Matrix": 1, "matrix, the": 1, "a beautiful mind": 3, "Reloaded": 2, "Mind, A": 3}
    assert {text: find_title(titles, text) for text in asked} == asked
    with pytest.raises(NotFound, match=r"fits several movies: Matrix, The \(1999\) \[1\], Matrix Reloaded"):
        find_title(titles, "atrix")


@pytest.mark.parametrize("text", ["The Matrix (1999)", "Matrix, The (1999)"])
def test_a_title_with_its_year_is_the_movie_of_that_year(text):
    assert find_title({1: "Matrix, The (1999)", 2: "Matrix, The (2039)"}, text) == 1


@pytest.mark.parametrize("text", ["The Matrix (2020)", "Matrix, The (2020)"])
def test_a_title_of_another_year_is_no_movie_and_the_nearest_is_named(text):
    with pytest.raises(NotFound, match=r"did you mean Matrix, The \(1999\) \[1\]"):
        find_title({1: "Matrix, The (1999)"}, text)


def answers(*given: str):
    left = iter(given)
    return lambda question: next(left, "")


def test_who_mistypes_a_movie_can_leave_it_out_and_nobody_is_asked_for_ever(built):
    first, second = built.table("movies")["movie_id"].head(2).to_list()
    say = []
    rated = newcomer_queries.ratings_by_asking(
        built.store, built.catalog, answers(f"#{first}", "", f"#{second}", "many", "4.5"), say.append
    )
    assert rated.select("movie_id", "rating").rows() == [(second, 4.5)]
    assert any("a number from" in told for told in say)


def test_a_number_that_is_an_id_and_a_title_asks_which(graph):
    movies = graph.raw / "movies.csv"
    first, second = graph.table("movies")["movie_id"].head(2).to_list()
    lines = movies.read_text().splitlines()
    named = [f"{second},{first} (2007),Action" if line.startswith(f"{second},") else line for line in lines]
    movies.write_text("\n".join(named) + "\n")
    graph.run(dg.AssetSelection.assets("movies").upstream())
    with pytest.raises(NotFound, match=f"{first} is the id of .* and the title of {first} .2007. .{second}."):
        find_movie(graph.store, str(first))
    assert find_movie(graph.store, f"#{first}")[0] == first
    assert find_movie(graph.store, str(second))[0] == second


@pytest.mark.parametrize("system", ["stacked_minilm", "gated_minilm", "mf_minilm_notebook"])
def test_when_a_new_person_rated_is_not_asked(built, system):
    train = built.table("train_ratings")
    own = train.filter(pl.col("user_id") == train["user_id"][0]).head(3)
    loaded = load(built, system)
    first, last = train["timestamp"].min(), train["timestamp"].max()
    timed = own.select("movie_id", "rating", timestamp=pl.Series([first, last, (first + last) // 2]))
    lists = [
        newcomer_queries.newcomer_recommendations(built.catalog, loaded, ratings, 5, why=False)
        for ratings in (timed, timed.with_columns(timestamp=pl.lit(first)), timed.drop("timestamp"))
    ]
    assert lists[0] == lists[1] == lists[2]


def test_whom_a_system_knows_nothing_of_gets_no_arbitrary_list(built):
    movies, train = built.table("movies"), built.table("train_ratings")
    rated = movies.filter(pl.col("movie_id").is_in(train["movie_id"].implode())).select("movie_id")
    unknown = movies.join(rated, on="movie_id", how="anti").select("movie_id")
    disliked, not_known = rated.head(3).with_columns(rating=2.0), unknown.head(3).with_columns(rating=5.0)
    for system, own in (("content_minilm", disliked), ("mf_only", not_known), ("ease_less_popular", not_known)):
        words = (
            f"no rating of 4 or more of a movie that it knows, so {system} knows nothing of you; rate a movie you like"
        )
        with pytest.raises(KnowsNothing, match=f"{words}, or take --system most_popular"):
            newcomer_queries.newcomer_recommendations(built.catalog, load(built, system), own, 5, why=False)
    for system, own in (("most_popular", disliked), ("content_minilm", rated.head(3).with_columns(rating=5.0))):
        assert newcomer_queries.newcomer_recommendations(built.catalog, load(built, system), own, 1, why=False)


def test_a_user_whose_list_is_arbitrary_is_told_so(built, monkeypatch):
    real = queries.table

    def disliked(store, key):
        changed = {"scores/content_minilm": {"part_minilm": 0.0, "score_minilm": 0.0}, "train_ratings": {"rating": 1.0}}
        return real(store, key).with_columns(**{name: pl.lit(it) for name, it in changed.get(key, {}).items()})

    assert queries.recommendations(built.store, built.catalog, 1, "content_minilm", 1)
    monkeypatch.setattr(queries, "table", disliked)
    with pytest.raises(KnowsNothing, match="so content_minilm knows nothing of user 1; take --system most_popular"):
        queries.recommendations(built.store, built.catalog, 1, "content_minilm", 5)


def test_reasons_stay_with_their_movies_in_whatever_order_the_rows_come(built):
    catalog, titles = built.catalog, queries.titles_of(built.store)
    scores = built.table("scores/mf_minilm").filter(pl.col("user_id") == 1)
    own = built.table("train_ratings").filter(pl.col("user_id") == 1)
    embedded = ids_and_vectors(built.table("embeddings/minilm"), "movie_id")
    told, turned = (
        queries.explained(catalog, catalog.systems["mf_minilm"], rows, titles, own, lambda branch: embedded)
        for rows in (scores, scores.reverse())
    )
    assert len({entry.reasons for entry in told}) > 1
    assert told == turned


def test_the_next_system_is_taken_where_one_knows_nothing_and_it_is_said():
    told: list[str] = []
    entry = Recommendation(1, 7, "Heat", 0.5, ())

    def list_of(system):
        if system != "third":
            raise KnowsNothing(f"{system} knows nothing", "take another")
        return [entry]

    assert queries.first_that_tells(["first", "second", "third"], list_of, told.append) == ("third", [entry])
    assert told == [
        "first knows nothing; second is taken in place of it",
        "second knows nothing; third is taken in place of it",
    ]
    with pytest.raises(KnowsNothing, match="second knows nothing; take another"):
        queries.first_that_tells(["first", "second"], list_of, told.append)
