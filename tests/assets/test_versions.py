"""What a change of the catalog makes stale, told by the code versions alone: nothing is read and nothing made.

Belongs here: which assets a setting is part of, and which not. Does not: what a run then computes (test_graph.py), a
new version of an algorithm (test_factors.py), how a stale table is found (orchestration/test_staleness.py).
"""

from copy import deepcopy
from functools import reduce

import pytest

from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions

FIGURES = "metrics/ease comparisons strata cold_start encoder_metrics/minilm report"


@pytest.fixture(scope="module")
def shared_settings() -> dict:
    return load_catalog(dataset="sample").model_dump()


@pytest.fixture
def settings(shared_settings) -> dict:
    """Of the packaged catalog; a test may change them."""
    return deepcopy(shared_settings)


@pytest.fixture(scope="module")
def versions(shared_settings) -> dict[str, str]:
    """Of every asset, with the settings as they are."""
    return code_versions(shared_settings)


def code_versions(settings: dict) -> dict[str, str]:
    definitions = build_definitions(Catalog.model_validate(settings), "memory://unused")
    return {spec.key.to_user_string(): spec.code_version for asset in definitions.assets for spec in asset.specs}


def changed_by(old: dict[str, str], before: dict, **changes: dict) -> set[str]:
    """The assets whose version is not the `old` one, that of the settings `before`."""
    settings = {name: {**before[name], **changes.get(name, {})} if name in changes else before[name] for name in before}
    new = code_versions(settings)
    return {key for key in old if old[key] != new[key]}


@pytest.mark.parametrize(
    ("path", "value", "stale", "fresh"),
    [
        (
            "evaluation.k",
            24,
            "scores/mf_minilm user_metrics/ease metrics/ease encoder_metrics/minilm cold_start leaderboard report",
            "factors/ease",
        ),
        (
            "evaluation.relevance_threshold",
            3.5,
            "factors/ease factors/most_popular profiles/minilm candidates/stacked_minilm stackers/stacked "
            "shortlists/stacked_minilm "
            "contrastive_pairs scores/ease user_metrics/ease cold_start",
            "factors/pmf train_ratings",
        ),
        ("evaluation.list_length", 90, "scores/ease", "user_metrics/ease"),
        ("evaluation.seed", 1, FIGURES, "user_metrics/ease"),
        ("evaluation.confidence", 0.9, FIGURES, "user_metrics/ease"),
        ("split.seed", 1, "train_ratings test_ratings", "ratings movies"),
        ("pairs.seed", 1, "contrastive_pairs encoder_metrics/minilm cold_start", "scores/ease"),
        ("models.als.seed", 1, "factors/als candidates/stacked_minilm cold_start", "factors/pmf"),
        ("models.als.factors", 7, "factors/als candidates/stacked_minilm cold_start", "factors/pmf"),
        ("systems.stacked.stacker", {"trees": 7}, "stackers/stacked scores/stacked", "candidates/stacked_minilm"),
        (
            "systems.stacked_minilm.stacker",
            {"negatives": 7},
            "candidates/stacked_minilm stackers/stacked_minilm",
            "stackers/stacked",
        ),
        (
            "systems.stacked_minilm.stacker",
            {"candidates": 150},
            "candidates/stacked_minilm shortlists/stacked_minilm",
            "stackers/stacked",
        ),
        ("systems.ease_diverse.rerank.weight", 0.5, "scores/ease_diverse", "scores/ease"),
        ("encoders.minilm.keep_dimensions", 8, "embeddings/minilm", "scores/ease"),
        ("encoders.minilm.stored_as", "float16", "embeddings/minilm", "scores/ease"),
    ],
)
def test_a_setting_makes_stale_what_it_changes_and_leaves_the_rest(settings, versions, path, value, stale, fresh):
    *where, name = path.split(".")
    reduce(dict.__getitem__, where, settings)[name] = value
    changed = changed_by(versions, settings)
    assert set(stale.split()) <= changed
    assert changed.isdisjoint(fresh.split())
    assert versions.keys() >= set(fresh.split()), "else they would be fresh whatever changed"


def test_what_a_setting_does_not_change_is_not_computed_again(settings, versions):
    models = {"als": settings["models"]["als"] | {"refresh": False}}
    assert changed_by(versions, settings, models=models) == set()
    settings["encoders"]["another"] = settings["encoders"]["minilm"]
    evaluation = {"diversity_encoder": "another", "list_length": 60}
    changed = changed_by(code_versions(settings), settings, evaluation=evaluation)
    assert "scores/ease" in changed
    assert changed.isdisjoint({"cold_start", "report", "metrics/ease", "encoder_metrics/minilm"})


@pytest.mark.parametrize(
    "change", [{"max_length": 8}, {"prompt": "movie: "}, {"pooling": "cls"}, {"precision": "bfloat16"}]
)
def test_a_setting_of_an_encoder_makes_rows_of_another_one_stale(settings, versions, change):
    minilm = settings["encoders"]["minilm"] | change
    expected_hash = {"minilm": settings["encoders"]["minilm"] | {"sha256": "0" * 64}}
    assert changed_by(versions, settings, encoders=expected_hash) == set()
    changed = changed_by(versions, settings, encoders={"minilm": minilm})
    tuned = {f"embeddings/{name}" for name, encoder in settings["encoders"].items() if encoder["base"] == "minilm"}
    assert changed == {"embeddings/minilm", *tuned}


@pytest.mark.parametrize(
    ("part", "change", "beside"),
    [
        ("evaluation", {}, True),
        ("evaluation", {"relevance_threshold": 3.0}, False),
        ("evaluation", {"k": 10}, False),
        ("split", {"min_ratings": 50}, False),
        ("split", {"seed": 43}, False),
        ("split", {"validation_share": 0.1}, True),
    ],
)
def test_the_papers_figures_stand_beside_what_was_measured_as_they_were(part, change, beside):
    settings = load_catalog(dataset="ml-latest-small").model_dump()
    settings[part] |= change
    bare = {**settings, "systems": {name: it | {"published": None} for name, it in settings["systems"].items()}}
    told = code_versions(settings)["leaderboard"] != code_versions(bare)["leaderboard"]
    assert told == beside
