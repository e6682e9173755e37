"""Learned fusions as a whole: who and what teaches them, and who is ranked by what was learned."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted_fusion import SMALL, TEXTS, fitted
from planted_ratings import facts, tastes

from hybrid_assets.catalog import load_catalog
from hybrid_assets.recommender.learned.context import films_of
from hybrid_assets.recommender.learned.examples import cross_folds
from hybrid_assets.recommender.learned.features import feature_names
from hybrid_assets.recommender.learned.gate import INPUTS
from hybrid_assets.recommender.learned.learned_newcomers import leave_out
from hybrid_assets.recommender.learned.learned_systems import (
    NEWCOMERS,
    USERS,
    LearnedSpec,
    learn,
    learn_for_newcomers,
    learned_system,
    taught_candidates,
    with_texts,
)
from hybrid_assets.recommender.learned.stacking import TooFewRows
from hybrid_assets.recommender.models.algorithms import ModelSpec, fit_model, fold_in_models
from hybrid_assets.recommender.split import drawn_ids
from hybrid_assets.specs import learned_spec
from hybrid_assets.system_settings import StackerSettings, SystemSettings


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
    spec = learned_spec(load_catalog(dataset="sample"), system)
    found = learn(spec, taught, said.append)
    assert found["who"].to_list() == [USERS]
    assert any(
        "newcomers will be ranked as users are: no tree" in told and "smallest_leaf = 50" in told for told in said
    )
    assert learn_for_newcomers(spec, taught, lambda rows: rows, 1, said.append).equals(found)
    with pytest.raises(TooFewRows, match="its 400 rows"):
        learn(replace(spec, trees={**spec.trees, "smallest_leaf": 999}), taught, print)


MODEL_SPECS = {
    "ease": ModelSpec("ease", {"regularisation": 5.0, "liked_only": False, "power": 2.0}, 4.0),
    "popular": ModelSpec("most_popular", {}, 4.0),
}
# reads the texts; candidates are chosen without it
READER = ModelSpec(
    "text_ease",
    {
        "regularisation": 5.0, "liked_only": False, "power": 2.0, "decay": 5.0, "most_movies": 60,
        "text_weight": 0.5, "text_width": 0.5, "genre_weight": 0.1, "year_weight": 0.2, "year_width": 15.0,
        "arrival_weight": 0.1, "arrival_width": 3.0,
    },
    4.0,
)  # fmt: skip
TREES = {name: value for name, value in SMALL.items() if name != "seed"}


def spec(**changed):
    settings = {
        "fusion": "stacked",
        "models": ("ease", "reader", "popular"),
        "text_models": {"reader": (READER, "text")},
        "encoders": ("text",),
        "threshold": 4.0,
        "folds": 3,
        "candidates": 30,
        "negatives": 30,
        "newcomers": 0.3,
        "newcomer_ratings": (1, 4),
        "rankers": 2,
        "trees": TREES,
        "seed": 5,
    }
    return LearnedSpec(**settings | changed)


def taught_by(train):
    rows = taught_candidates(spec(), MODEL_SPECS, train, facts(train), lambda told: None)
    return with_texts(spec(), rows, train, TEXTS, facts(train))


def without_a_mark(rows):
    return rows.drop("hit", "stands_for").with_columns(pl.selectors.float().fill_nan(-99.0))


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_what_is_held_out_of_a_fold_changes_nothing_but_marks_there(fold):
    train = tastes()
    held_out = pl.Series(cross_folds(train, 3, 5) == fold)
    loved = train.with_columns(rating=pl.when(held_out).then(5.0).otherwise("rating"))
    before, after = (without_a_mark(taught_by(table).filter(pl.col("fold") == fold)) for table in (train, loved))
    assert before.height > 100
    assert before.join(after, on=before.columns, how="anti", nulls_equal=True).is_empty()


def test_of_new_people_nothing_but_what_they_bring_is_known():
    train = tastes()
    left_out = leave_out(train, 0.3, 5 + 1)
    rest = left_out.of_users.filter(pl.col("place") >= 4).select("user_id", "movie_id", own=pl.lit(True))
    loved = (
        train.join(rest, on=["user_id", "movie_id"], how="left", maintain_order="left")
        .with_columns(rating=pl.when("own").then(5.0).otherwise("rating"))
        .drop("own")
    )
    before, after = (without_a_mark(taught_by(table).filter(pl.col("fold") >= 3)) for table in (train, loved))
    assert set(before["user_id"]) <= set(left_out.of_users["user_id"])
    assert before.height > 100
    assert before.join(after, on=before.columns, how="anti", nulls_equal=True).is_empty()


def test_a_model_that_reads_texts_chooses_no_candidates_and_tells_of_them_what_it_learnt_from_the_rest():
    train = tastes()
    rows = taught_candidates(spec(), MODEL_SPECS, train, facts(train), lambda told: None)
    taught = with_texts(spec(), rows, train, TEXTS, facts(train))
    assert taught.select(rows.columns).equals(rows)
    fold = 1
    rest = train.filter(pl.Series(cross_folds(train, 3, 5) != fold))
    pair = fit_model(READER, rest, TEXTS["text"], facts=facts(train))
    scores, rated = pair.user_vectors @ pair.item_vectors.T, set(rest.select("user_id", "movie_id").rows())
    users, items = pair.user_ids.tolist(), pair.item_ids.tolist()
    for user, movie, score, z in (
        taught.filter(fold=fold).head(5).select("user_id", "movie_id", "reader.score", "reader.z").iter_rows()
    ):
        own = scores[users.index(user)]
        free = own[[(user, item) not in rated for item in items]]
        assert score == pytest.approx(own[items.index(movie)], abs=1e-5)
        assert z == pytest.approx((own[items.index(movie)] - free.mean()) / free.std(), abs=1e-3)


def test_of_new_people_a_model_that_reads_texts_tells_what_it_makes_of_the_ratings_they_bring():
    train = tastes()
    of_newcomers = taught_by(train).filter(fold=4)
    left_out = leave_out(train, 0.3, 5 + 1)
    pair = fit_model(READER, left_out.warm, TEXTS["text"], facts=facts(train))
    user_of, _ = fold_in_models({"reader": READER}, {"reader": pair}, left_out.warm)["reader"]
    for user, movie, score in of_newcomers.head(5).select("user_id", "movie_id", "reader.score").iter_rows():
        brought = left_out.of_users.filter((pl.col("user_id") == user) & (pl.col("place") < 4))
        vector = user_of(brought["movie_id"].to_numpy(), brought["rating"].to_numpy())
        assert score == pytest.approx(vector @ pair.item_vectors[pair.item_ids.tolist().index(movie)], abs=1e-5)


def test_where_a_model_that_reads_texts_cannot_take_in_new_people_these_teach_nothing():
    train = tastes()
    settings = {"liked_only": True, "epochs": 1, "batch_size": 64, "learning_rate": 0.1, "regularisation": 1.0}
    vbpr = ModelSpec("vbpr", {**settings, "factors": 1, "text_factors": 1, "seed": 1}, 4.0)
    reading = spec(text_models={"reader": (vbpr, "text")})
    rows = taught_candidates(reading, MODEL_SPECS, train, facts(train), lambda told: None)
    assert rows["fold"].max() == 4
    assert with_texts(reading, rows, train, TEXTS, facts(train))["fold"].unique().sort().to_list() == [0, 1, 2]


def test_those_who_teach_as_new_people_are_not_those_whom_cold_start_draws_by_the_same_seed():
    train = tastes()
    teach = set(taught_by(train).filter(pl.col("fold") >= 3)["user_id"])
    ids = train["user_id"].unique().sort().to_numpy()
    assert teach <= set(drawn_ids(ids, 0.3, 5 + 1).tolist())
    assert not teach <= set(drawn_ids(ids, 0.3, 5).tolist())


def test_rankers_are_drawn_apart_and_for_new_people_with_few_ratings_newcomers_alone_teach():
    train = tastes()
    rows = taught_by(train)
    learned = learn(spec(), rows, lambda told: None)
    assert learned.group_by("who", maintain_order=True).agg(pl.col("ranker").n_unique()).rows() == [
        (USERS, 2),
        (NEWCOMERS, 2),
    ]
    few, more = (learn_for_newcomers(spec(), rows, lambda it: it, most, lambda told: None) for most in (4, 5))
    assert few["who"].unique().to_list() == [NEWCOMERS]
    assert more.equals(learned)


def test_new_people_with_no_more_ratings_than_newcomers_taught_by_are_ranked_by_what_these_taught():
    train = tastes()
    branches = ("ease", "popular")
    gated = spec(fusion="gated", models=branches, text_models={}, encoders=())

    def gate(trusted):
        weight = [float(branch == trusted and name == "always") for branch in branches for name in INPUTS]
        return pl.DataFrame(
            {
                "branch": np.repeat(branches, len(INPUTS)),
                "input": list(INPUTS) * 2,
                "weight": weight,
                "mean": 0.0,
                "deviation": 1.0,
            }
        )

    learned = pl.concat(
        [gate(by).select(pl.lit(who).alias("who"), pl.all()) for who, by in ((USERS, "popular"), (NEWCOMERS, "ease"))]
    )
    films = films_of(train, facts(train), 4.0)
    system = learned_system(gated, learned, fitted(train), {}, films, explained=5)
    for ratings, trusted, other in ((1, "ease", "popular"), (4, "ease", "popular"), (5, "popular", "ease")):
        own = train.filter(pl.col("user_id") == 7).head(ratings)
        ranking, _ = system(own, 5)
        assert (ranking.branch_parts[other] == 0).all(), ratings
        assert (ranking.branch_parts[trusted] != 0).any()
