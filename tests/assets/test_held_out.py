"""What is held out decides nothing: in the real graph, test ratings judge, and validation ratings choose weights."""

from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from quick_graph import Graph

from hybrid_assets.assets import cold_start, tuning
from hybrid_assets.catalog import Catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.staleness import recipes_of
from hybrid_assets.orchestration.storage import StampedTable, content_hash
from hybrid_assets.recommender import tables
from hybrid_assets.recommender.encoders.contrastive_pairs import cold_movies
from hybrid_assets.recommender.learned import learned_systems
from hybrid_assets.recommender.split import drawn_ids

JUDGES = (
    "user_metrics/",
    "metrics/",
    "encoder_metrics/",
    "cold_start",
    "leaderboard",
    "comparisons",
    "strata",
    "report",
)


def put(graph: Graph, key: str, table: pl.DataFrame) -> None:
    """Another table in the place of an asset's, as if it had made this one."""
    asset = dg.AssetKey.from_user_string(key)
    stamp = replace(graph.store.stamp(asset), data_version=content_hash(table))
    graph.store.handle_output(dg.build_output_context(asset_key=asset), StampedTable(table, stamp))


def make(graph: Graph, *keys: str) -> None:
    graph.run(dg.AssetSelection.assets(*(key.split("/") for key in keys)))


def test_nothing_but_what_judges_comes_from_the_test_part(built):
    recipes = recipes_of(build_definitions(built.catalog, built.storage).assets)
    reached = {dg.AssetKey("test_ratings")}
    while more := {key for key, it in recipes.items() if not reached.isdisjoint(it.inputs.values())} - reached:
        reached |= more
    behind = {key.to_user_string() for key in reached} - {"test_ratings"}
    assert {key for key in behind if not key.startswith(JUDGES)} == set()
    assert {"user_metrics/ease", "encoder_metrics/minilm", "cold_start", "leaderboard"} <= behind


def test_the_fold_without_validation_knows_nothing_of_it(graph):
    made = ["factors/ease", "factors/als", "factors/pmf", "profiles/minilm", "contrastive_pairs"]
    before = {key: graph.table(key) for key in made}
    turned = pl.when("validation").then(5.5 - pl.col("rating")).otherwise("rating").cast(pl.Float32)
    put(graph, "train_ratings", graph.table("train_ratings").with_columns(turned.alias("rating")))
    make(graph, *made)
    after = {key: graph.table(key) for key in made}
    assert after["contrastive_pairs"].equals(before["contrastive_pairs"])
    for key in made[:-1]:
        fits, trained = ([tables[key].filter(fold=fold) for tables in (before, after)] for fold in ("fit", "train"))
        assert fits[0].equals(fits[1]), key
        assert not trained[0].equals(trained[1]), key


def test_weights_are_chosen_by_what_has_not_seen_validation(graph):
    def chosen() -> dict:
        make(graph, "scores/mf_minilm")
        return dict(graph.store.stamp(dg.AssetKey(["scores", "mf_minilm"])).notes)

    def otherwise(fold: str) -> None:
        factors = graph.table("factors/pmf")
        noise = np.random.default_rng(1).normal(size=factors["vector"].to_numpy().shape).astype(np.float32)
        own = pl.col("fold") == fold
        put(
            graph,
            "factors/pmf",
            factors.with_columns(pl.when(own).then(pl.Series(noise)).otherwise("vector").alias("vector")),
        )

    search, lists = chosen(), graph.table("scores/mf_minilm")
    otherwise("train")
    assert chosen() == search
    assert not graph.table("scores/mf_minilm").equals(lists)
    otherwise("fit")
    assert chosen() != search


def test_new_people_teach_a_learned_system_nothing(graph, monkeypatch):
    learn, taught = learned_systems.learn, []

    def seen(spec, rows, say, **how):
        taught.append(set(rows["user_id"]))
        return learn(spec, rows, say, **how)

    monkeypatch.setattr(learned_systems, "learn", seen)
    settings = graph.catalog.model_dump()
    settings["cold_start"] |= {"systems": ["stacked_minilm"], "users": 0.4}
    graph.catalog = Catalog.model_validate(settings)
    make(graph, "cold_start")
    users = graph.table("train_ratings")["user_id"].unique().sort().to_numpy()
    new = set(drawn_ids(users, 0.4, graph.catalog.cold_start.seed).tolist())
    candidates = set(graph.table("candidates/stacked_minilm")["user_id"])
    assert candidates & new
    assert taught == [candidates - new]


def test_cold_start_fits_nothing_on_whom_and_what_it_holds_out(graph, monkeypatch):
    seen = []

    def watched(function):
        def call(first, ratings, *rest, **more):
            seen.append(ratings if isinstance(ratings, pl.DataFrame) and "rating" in ratings.columns else first)
            return function(first, ratings, *rest, **more)

        return call

    for name in ("fit_model", "films_of"):
        monkeypatch.setattr(cold_start, name, watched(getattr(cold_start, name)))
    settings = graph.catalog.model_dump()
    settings["cold_start"]["seed"] += 7
    graph.catalog = Catalog.model_validate(settings)
    make(graph, "cold_start")
    train, catalog = graph.table("train_ratings"), graph.catalog
    users = drawn_ids(train["user_id"].unique().sort().to_numpy(), catalog.cold_start.users, catalog.cold_start.seed)
    # no fine-tuned encoder has learnt from these
    movies = cold_movies(train["movie_id"].unique().sort().to_numpy(), catalog.cold_start.movies, catalog.pairs.seed)
    assert len(users) > 0 < len(movies)
    assert len(seen) > 2
    for ratings in seen:
        assert set(ratings["user_id"]).isdisjoint(users.tolist())
        assert set(ratings["movie_id"]).isdisjoint(movies.tolist())


def test_pairs_hold_no_cold_movie_and_no_held_out_rating(built):
    pairs, train = built.table("contrastive_pairs"), built.table("train_ratings")
    settings = built.catalog.pairs
    cold = cold_movies(built.table("movies")["movie_id"].to_numpy(), settings.cold_share, settings.seed)
    learnt = train.filter(~pl.col("validation"))
    assert len(cold) > 0
    for side in ("anchor_id", "other_id"):
        assert set(pairs[side]).isdisjoint(cold.tolist())
        positive = pairs.filter(pl.col("label") == 1)
        assert positive.join(learnt, left_on=["user_id", side], right_on=["user_id", "movie_id"], how="anti").is_empty()


def test_pairs_that_know_too_much_stop_the_run(graph, monkeypatch):
    before = graph.table("contrastive_pairs")
    for module in (tables, tuning):
        monkeypatch.setattr(module, "fold_of", lambda train, fold: train)
    settings = graph.catalog.model_dump()
    settings["pairs"]["seed"] += 1
    graph.catalog = Catalog.model_validate(settings)
    with pytest.raises(AssertionError, match="no_leaked_pairs: knows a held-out rating"):
        make(graph, "contrastive_pairs")
    assert graph.table("contrastive_pairs").equals(before)
