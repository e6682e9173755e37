"""train_ratings (+ embeddings/<encoder>, movies) -> factors/<model>: an asset a collaborative model of the catalog."""

import dagster as dg
import polars as pl

from hybrid_assets.assets.raw import READS_FACTS
from hybrid_assets.catalog import Catalog
from hybrid_assets.model_settings import ModelSettings
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.facts import film_facts
from hybrid_assets.recommender.models.algorithms import fit_folds, libraries_of, takes
from hybrid_assets.recommender.tables import factor_table, ids_and_vectors
from hybrid_assets.recommender.validity import degenerate_factors
from hybrid_assets.specs import code_of, model_spec, of_account


def factor_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """factors/<model> for every model."""
    threshold = catalog.evaluation.relevance_threshold
    return [
        _factor_asset(name, settings, catalog.encoder_of(name), threshold) for name, settings in catalog.models.items()
    ]


def _factor_asset(name: str, settings: ModelSettings, encoder: str | None, threshold: float) -> dg.AssetsDefinition:
    inputs = {"train_ratings": "train_ratings"} | ({"embeddings": f"embeddings/{encoder}"} if encoder else {})
    reads_facts = takes(settings.algorithm, "facts")
    inputs |= {"movies": "movies"} if reads_facts else {}
    result_settings: list[object] = [of_account(settings)]
    if takes(settings.algorithm, "threshold"):
        result_settings.append(threshold)
    model = model_spec(settings, threshold)
    used = sorted(libraries_of([settings.algorithm]))

    @incremental_asset(
        key=f"factors/{name}",
        group="factors",
        version=code_of([settings.algorithm]),
        settings=result_settings,
        libraries=used,
        inputs=inputs,
        parts=READS_FACTS,
        kinds=frozenset(used),
        tags={"model": name},
        description=f"{type(settings).__doc__} A tower pair: user and item vectors whose dot product is the score.",
        columns={
            "fold": '"train": fitted on all of train; "fit": without its validation part',
            "side": '"user" or "item"',
            "id": "user or movie",
            "vector": "its factors",
        },
        lineage={
            "id": [("train_ratings", "user_id"), ("train_ratings", "movie_id")],
            "vector": [
                ("train_ratings", "rating"),
                *([(f"embeddings/{encoder}", "vector")] if encoder else []),
                *([("movies", "title"), ("movies", "genres")] if reads_facts else []),
            ],
        },
        checks=[
            Check(
                "not_degenerate",
                "Vectors are finite, and not all movies have the same.",
                lambda made: degenerate_factors(made.table),
            )
        ],
    )
    def model_factors(
        step: Step,
        train_ratings: pl.LazyFrame,
        embeddings: pl.LazyFrame | None = None,
        movies: pl.LazyFrame | None = None,
    ) -> Computed:
        train = train_ratings.collect()
        texts = None if embeddings is None else ids_and_vectors(embeddings.collect(), "movie_id")
        facts = None if movies is None else film_facts(movies.collect())
        step.say(f"fitting {name} on {train.height:,} ratings, and on those without the validation part")
        towers = fit_folds(model, train, texts, lambda fold: step.progress(f"steps of fold {fold}"), facts)
        pair = towers["train"]
        return Computed(
            factor_table(towers),
            {
                "users": len(pair.user_ids),
                "movies": len(pair.item_ids),
                "dimensions": pair.item_vectors.shape[1],
            },
        )

    return model_factors
