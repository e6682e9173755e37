"""Fine-tuned and GPU encoders in the graph, on a small Qwen3: what is made, what is left alone, what is said."""

import os
from unittest import mock

import dagster as dg
import pytest
from tiny_qwen import write_tiny_qwen

from hybrid_assets.catalog import Catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.gpu import gpu_gib
from hybrid_assets.orchestration.jobs import backfill_selection

TUNED = {
    *("adapters/tiny_lora", "embeddings/tiny_lora", "profiles/tiny_lora", "encoder_metrics/tiny_lora"),
    *("scores/content_tiny_lora", "user_metrics/content_tiny_lora", "metrics/content_tiny_lora"),
    *("leaderboard", "comparisons", "strata", "report"),
}


def with_encoders(catalog, qwen, **changes):
    settings = catalog.model_dump()
    tuning = {
        "method": "lora",
        "loss": "co_like",
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 1e-3,
        "evaluations": 1,
    }
    settings["encoders"] = {
        "minilm": settings["encoders"]["minilm"],
        "tiny": {"weights": str(qwen), "pooling": "lasttoken", "max_length": 32, "precision": "nf4", "refresh": False},
        "tiny_lora": {"base": "tiny", "tuning": tuning, "refresh": False} | changes,
    }
    settings["cold_start"]["systems"] = []
    settings["systems"] = {
        "most_popular": {"model": "most_popular"},
        "content_tiny": {"encoder": "tiny"},
        "content_tiny_lora": {"encoder": "tiny_lora"},
    }
    return Catalog.model_validate(settings)


@pytest.fixture(scope="module")
def qwen(built, tmp_path_factory):
    return write_tiny_qwen(tmp_path_factory.mktemp("qwen"), built.table("movie_documents")["document"])


@pytest.fixture(scope="module")
def trained(built, qwen, tmp_path_factory):
    """The graph with the small encoders, the adapter trained; what that backfill computed, and its checkpoints."""
    base = tmp_path_factory.mktemp("trained")
    graph, checkpoints = built.copy(base), base / "checkpoints"
    graph.catalog = with_encoders(graph.catalog, qwen)
    graph.run()
    with mock.patch.dict(os.environ, {"HYBRID_CHECKPOINTS": str(checkpoints)}):
        return graph, graph.computed(backfill_selection(graph.catalog, ["tiny_lora"])), checkpoints


@pytest.fixture
def tuned(trained, tmp_path, monkeypatch):
    """A copy of it that a test may change."""
    monkeypatch.setenv("HYBRID_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return trained[0].copy(tmp_path)


def board(graph):
    return {row["system"]: row for row in graph.table("leaderboard").iter_rows(named=True)}


def test_a_refresh_leaves_them_alone_and_the_leaderboard_names_the_command(graph, qwen):
    graph.catalog = with_encoders(graph.catalog, qwen)
    assert not [asset for asset in graph.run() if "tiny" in asset]
    assert (
        board(graph)["content_tiny_lora"]["state"]
        == "not materialized: hybrid-assets backfill tiny_lora --dataset folder"
    )


def test_a_backfill_makes_the_branch_and_a_second_one_nothing(trained, tuned):
    _, computed, checkpoints = trained
    assert computed == TUNED
    assert board(tuned)["content_tiny_lora"]["state"] == "materialized"
    assert board(tuned)["content_tiny"]["state"] == "not materialized: hybrid-assets backfill tiny --dataset folder"
    assert tuned.computed(backfill_selection(tuned.catalog, ["tiny_lora"])) == set()
    assert list(checkpoints.iterdir()) == [], "nothing is left of a training that is done"
    tuned.run(backfill_selection(tuned.catalog, ["tiny"]))
    base, learnt = tuned.table("embeddings/tiny"), tuned.table("embeddings/tiny_lora")
    cosine = (base["vector"].to_numpy() * learnt["vector"].to_numpy()).sum(axis=1)
    assert cosine.min() < 0.9999, "the tuned encoder differs from its base"


def test_a_tuned_encoder_is_not_judged_by_people_or_movies_that_it_has_learnt_from(tuned):
    settings = tuned.catalog.model_dump()
    settings["systems"]["content_minilm"] = {"encoder": "minilm"}
    cold = settings["cold_start"] | {"systems": ["content_tiny_lora", "content_minilm"]}

    def states(system: str, movies: float) -> dict[str, set[str]]:
        tuned.catalog = Catalog.model_validate(settings | {"cold_start": cold | {"movies": movies}})
        tuned.run(dg.AssetSelection.assets("cold_start"))
        rows = tuned.table("cold_start").filter(system=system)
        return {protocol: set(rows.filter(protocol=protocol)["state"]) for protocol in ("people", "movies")}

    share = settings["pairs"]["cold_share"]
    people = "tiny_lora has learnt from what these users liked"
    movies = "tiny_lora has learnt from cold movies: cold_start.movies > pairs.cold_share"
    assert states("content_tiny_lora", share) == {"people": {people}, "movies": {"measured"}}
    assert states("content_tiny_lora", share + 0.1) == {"people": {people}, "movies": {movies}}
    assert states("content_minilm", share + 0.1) == {"people": {"measured"}, "movies": {"measured"}}


@pytest.mark.slow
def test_new_ratings_make_the_row_stale_and_a_backfill_brings_it_back(tuned):
    ratings = tuned.raw / "ratings.csv"
    lines = ratings.read_text().splitlines()
    ratings.write_text("\n".join(lines[:-1]) + "\n")
    tuned.run()
    row = board(tuned)["content_tiny_lora"]
    assert row["state"].startswith("stale, ")
    assert row["state"].endswith(": hybrid-assets backfill tiny_lora --dataset folder")
    assert row["ndcg"] is None
    tuned.run(backfill_selection(tuned.catalog, ["tiny_lora"]))
    assert board(tuned)["content_tiny_lora"]["state"] == "materialized"


def test_a_row_of_other_settings_shows_no_figures_until_it_is_made_again(tuned):
    settings = tuned.catalog.model_dump()
    settings["evaluation"]["bootstrap_resamples"] += 1
    tuned.catalog = Catalog.model_validate(settings)
    tuned.run()
    rows = board(tuned)
    assert rows["most_popular"]["state"] == "materialized"
    row = rows["content_tiny_lora"]
    assert row["ndcg"] is None
    changed = "metrics/content_tiny_lora: its settings changed"
    assert row["state"] == f"stale, {changed}: hybrid-assets backfill tiny_lora --dataset folder"
    assert "content_tiny_lora" not in set(tuned.table("comparisons")["system"])
    tuned.run(backfill_selection(tuned.catalog, ["tiny_lora"]))
    assert board(tuned)["content_tiny_lora"]["state"] == "materialized"


def test_a_row_of_ratings_liked_otherwise_does_not_stop_a_run(tuned):
    settings = tuned.catalog.model_dump()
    settings["evaluation"]["relevance_threshold"] = 5.0
    tuned.catalog = Catalog.model_validate(settings)
    tuned.run()
    assert board(tuned)["content_tiny_lora"]["ndcg"] is None


def test_one_tag_trains_again_and_leaves_other_encoders_alone(tuned):
    tags = tuned.raw / "tags.csv"
    tags.write_text(tags.read_text().replace("heist", "slow"))
    computed = tuned.computed(backfill_selection(tuned.catalog, ["tiny_lora"]))
    assert {"adapters/tiny_lora", "embeddings/tiny_lora"} <= computed
    assert not [asset for asset in computed if asset.endswith("/tiny")]


def test_a_changed_file_is_noticed_and_named(tuned):
    folder = tuned.store.path(dg.AssetKey(["adapters", "tiny_lora"]), "")
    (weights,) = folder.glob("*/adapter_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    tuned.store.path(dg.AssetKey(["embeddings", "tiny_lora"])).unlink()
    with pytest.raises(AssertionError, match=r"adapter_model\.safetensors: missing or changed since it was written"):
        tuned.run(dg.AssetSelection.assets("embeddings/tiny_lora"))


def test_another_seed_replaces_the_files_and_the_last_version_goes(tuned, qwen):
    folder = tuned.store.path(dg.AssetKey(["adapters", "tiny_lora"]), "")
    (first,) = folder.iterdir()
    for seed in (1, 2):
        tuning = tuned.catalog.encoders["tiny_lora"].tuning.model_dump() | {"seed": seed}
        tuned.catalog = with_encoders(tuned.catalog, qwen, tuning=tuning)
        tuned.run(dg.AssetSelection.assets("adapters/tiny_lora"))
    assert len(list(folder.iterdir())) == 2, "the one in use, and the one before it"
    assert not first.exists()


@pytest.mark.skipif(gpu_gib("cuda:0") > 0, reason="this machine has a GPU")
def test_what_needs_a_gpu_is_left_out_and_asked_for_by_name_says_why(graph, qwen):
    graph.catalog = with_encoders(graph.catalog, qwen, gpu_gib=12, refresh=True)
    assert "adapters/tiny_lora" not in graph.run(), "refresh = true, and yet it cannot run here"
    assert board(graph)["content_tiny_lora"]["state"] == "needs a GPU with 12 GiB: not materialized here"
    with pytest.raises(AssertionError, match=r"tiny_lora needs a GPU with 12 GiB free, found none.*backfill minilm"):
        graph.run(backfill_selection(graph.catalog, ["tiny_lora"]))
    assert board(graph)["most_popular"]["state"] == "materialized"


@pytest.mark.skipif(gpu_gib("cuda:0") > 0, reason="this machine has a GPU")
def test_a_stale_row_of_what_a_gpu_elsewhere_made_names_the_gpu_and_no_command_that_fails_here(tuned, qwen):
    tuned.catalog = with_encoders(tuned.catalog, qwen, gpu_gib=12)
    settings = tuned.catalog.model_dump()
    settings["evaluation"]["bootstrap_resamples"] += 1
    tuned.catalog = Catalog.model_validate(settings)
    tuned.run()
    changed = "metrics/content_tiny_lora: its settings changed"
    assert board(tuned)["content_tiny_lora"]["state"] == f"stale, {changed}: needs a GPU with 12 GiB"


def test_gpu_assets_are_tagged_and_pooled_and_no_other(built):
    definitions = build_definitions(built.catalog, built.storage)
    for asset in definitions.assets:
        for spec in asset.specs:
            encoder = built.catalog.encoders.get(spec.key.path[-1])
            at_gpu = bool(encoder and encoder.gpu_gib) and spec.key.path[0] in ("embeddings", "adapters", "encoders")
            assert (spec.tags.get("gpu") == "required") == at_gpu, spec.key
            assert (asset.op.pool == "gpu") == at_gpu, spec.key
