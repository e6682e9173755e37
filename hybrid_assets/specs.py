"""From the catalog's settings to what the science is called with.

Belongs here: one function a spec. Does not: the settings (encoder_settings.py, model_settings.py, system_settings.py),
what is computed with a spec (recommender/).
"""

from collections.abc import Iterable
from typing import Any

from hybrid_assets.catalog import Catalog
from hybrid_assets.encoder_settings import EncoderSettings
from hybrid_assets.model_settings import ModelSettings
from hybrid_assets.recommender.encoders.weights import EncoderSpec
from hybrid_assets.recommender.learned.learned_systems import LearnedSpec
from hybrid_assets.recommender.models.algorithms import ALGORITHMS, ModelSpec
from hybrid_assets.system_settings import SystemSettings


def encoder_spec(settings: EncoderSettings) -> EncoderSpec:
    """An entry with weights, as the science takes it."""
    if settings.weights is None:
        raise RuntimeError("an encoder that is fine-tuned has the spec of its base")
    return EncoderSpec(
        settings.weights,
        settings.revision,
        settings.sha256,
        settings.pooling,
        settings.prompt,
        settings.max_length,
        settings.precision,
    )


def model_specs(catalog: Catalog, names: Iterable[str]) -> dict[str, ModelSpec]:
    """What some models of the catalog are fitted with, by name."""
    threshold = catalog.evaluation.relevance_threshold
    return {name: model_spec(catalog.models[name], threshold) for name in names}


def model_spec(settings: ModelSettings, threshold: float) -> ModelSpec:
    """What a model of the catalog is fitted with; a rating of at least `threshold` is liked."""
    return ModelSpec(settings.algorithm, settings.function_settings, threshold)


def of_account(settings: ModelSettings) -> dict[str, Any]:
    """What of a model's settings its result depends on: neither when it is refreshed nor whose vectors it reads."""
    return settings.model_dump(mode="json", exclude={"refresh", "encoder"})


def code_of(algorithms: Iterable[str]) -> str:
    """The versions of some algorithms, as 2.1: part of the version of whatever is made with them."""
    return ".".join(str(ALGORITHMS[algorithm].version) for algorithm in sorted(set(algorithms)))


def learned_spec(catalog: Catalog, system: SystemSettings) -> LearnedSpec:
    """How a system of the catalog learns."""
    stacker, threshold = system.learning, catalog.evaluation.relevance_threshold
    reading = {name: read for name in system.model_names if (read := catalog.encoder_of(name))}
    return LearnedSpec(
        fusion=system.fusion,
        models=system.model_names,
        text_models={name: (model_spec(catalog.models[name], threshold), read) for name, read in reading.items()},
        encoders=system.encoder_names,
        threshold=threshold,
        rankers=stacker.rankers,
        trees=stacker.of_trees,
        **stacker.of_candidates,
    )
