"""Which assets a model is made from, and that every model of the catalog can be fitted."""

from dataclasses import replace

import dagster as dg
import pytest

from hybrid_assets.assets.factors import factor_assets
from hybrid_assets.catalog import Catalog, load_catalog
from hybrid_assets.definitions import build_definitions
from hybrid_assets.orchestration.staleness import recipes_of
from hybrid_assets.recommender.models.algorithms import ALGORITHMS


@pytest.fixture
def catalog(monkeypatch) -> Catalog:
    for name in ("HYBRID_CATALOG", "HYBRID_DATASET"):
        monkeypatch.delenv(name, raising=False)
    return load_catalog()


def test_no_model_has_the_test_part_as_an_input(catalog):
    known = {
        dg.AssetKey("train_ratings"),
        dg.AssetKey("movies"),
        *(dg.AssetKey(["embeddings", name]) for name in catalog.encoders),
    }
    for asset in factor_assets(catalog):
        for inputs in asset.asset_deps.values():
            assert dg.AssetKey("train_ratings") in inputs
            assert inputs <= known


def test_a_new_version_of_an_algorithm_makes_everything_stale_that_fits_it(catalog, monkeypatch, tmp_path):
    def versions() -> dict[str, str]:
        recipes = recipes_of(build_definitions(catalog, str(tmp_path)).assets)
        return {key.to_user_string(): recipe.code_version for key, recipe in recipes.items()}

    before = versions()
    monkeypatch.setitem(ALGORITHMS, "als", replace(ALGORITHMS["als"], version=99))
    changed = {key for key, version in versions().items() if version != before[key]}
    assert changed == {"factors/als", "factors/als_liked", "candidates/stacked_minilm", "cold_start"}


def test_every_algorithm_of_the_catalog_has_a_function(catalog):
    assert {settings.algorithm for settings in catalog.models.values()} <= set(ALGORITHMS)
