"""movie_documents -> embeddings/<encoder>: one asset for each text encoder of the catalog."""

import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import dagster as dg
import polars as pl

from hybrid_assets.assets.tuning import gpu_need, observed_weights, tuned_key
from hybrid_assets.catalog import Catalog
from hybrid_assets.encoder_settings import EncoderSettings
from hybrid_assets.orchestration.checks import Check, Made
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import content_hash
from hybrid_assets.recommender.encoders.embeddings import update_embeddings
from hybrid_assets.recommender.encoders.encoding import encode, load_encoder
from hybrid_assets.recommender.encoders.tuning import load_tuned, tuned_fingerprint
from hybrid_assets.recommender.encoders.weights import base_fingerprint, weights_folder
from hybrid_assets.recommender.towers import Vectors
from hybrid_assets.recommender.validity import not_unit_length, repeated, unknown
from hybrid_assets.specs import encoder_spec


def embedding_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """embeddings/<encoder> for every encoder."""
    return [_embedding_asset(name, settings, catalog) for name, settings in catalog.encoders.items()]


def _expected_dimensions(name: str, expected: int | None) -> list[Check]:
    """What the catalog expects, where it does, stands in the check's name: another expectation is a newer check.

    So it looks at the table that is known already, and nothing is encoded again.
    """
    if expected is None:
        return []

    def problem(made: Made) -> str:
        width = made.table["vector"].to_numpy().shape[1]
        if width == expected:
            return ""
        return (
            f"the encoder gives {width} dimensions and the catalog says {expected}; correct "
            f"encoders.{name}.dimensions or the weights"
        )

    return [Check(f"has_{expected}_dimensions", f"Every vector has {expected} dimensions.", problem)]


def _embedding_asset(name: str, settings: EncoderSettings, catalog: Catalog) -> dg.AssetsDefinition:
    base = catalog.base_of(name)
    spec, tuning = encoder_spec(base), settings.tuning
    inputs = {"movie_documents": "movie_documents"}
    if tuning:
        inputs["tuned"] = tuned_key(name, tuning)
    computed_by = ["sentence-transformers", "torch", "transformers"]
    computed_by += ["peft"] if tuning else []
    computed_by += ["bitsandbytes"] if spec.precision == "nf4" else []
    computed_by += ["onnxruntime"] if settings.backend == "onnxruntime" else []
    made_by = f"{settings.base}, fine-tuned" if tuning else spec.weights

    @incremental_asset(
        key=f"embeddings/{name}",
        group="embeddings",
        version="3",
        # what its weights must hash to changes no vector
        settings=[asdict(replace(spec, sha256=None)), settings.keep_dimensions, settings.stored_as, settings.backend],
        libraries=computed_by,
        inputs=inputs,
        observed=observed_weights(settings.base or name, spec),
        gpu=gpu_need(name, catalog),
        kinds=frozenset({"pytorch"}),
        tags={"encoder": name},
        description=(
            f"Unit vector of each movie's document by the encoder {name} ({made_by}). A document is encoded again only "
            "when its text, the encoder or a library behind it changed."
            + (f" Needs a GPU with {settings.gpu_gib:g} GiB free." if settings.gpu_gib else "")
        ),
        columns={
            "movie_id": "the movie",
            "document_key": "hash of its document and the encoder",
            "vector": "unit length",
        },
        lineage={
            "movie_id": [("movie_documents", "movie_id")],
            "document_key": [("movie_documents", "document")],
            "vector": [("movie_documents", "document")],
        },
        checks=[
            Check("unit_length", "Every vector is finite and 1 long.", lambda made: not_unit_length(made.table)),
            Check(
                "one_vector_a_document",
                "Every document has a vector, and one.",
                lambda made: (
                    repeated(made.table, "movie_id")
                    or unknown(made.given("movie_documents"), made.table, "movie_id")
                    or unknown(made.table, made.given("movie_documents"), "movie_id")
                ),
            ),
            *_expected_dimensions(name, settings.dimensions),
        ],
    )
    def embeddings(step: Step, movie_documents: pl.LazyFrame, tuned: pl.LazyFrame | None = None) -> Computed:
        def encode_new(documents: list[str]) -> Vectors:
            step.say(f"encoding {len(documents):,} documents with {name}")
            folder = weights_folder(spec.weights, spec.revision)
            if tuning is None:
                encoder = load_encoder(spec, folder, device=step.device, backend=settings.backend)
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    learnt = step.store.get_folder(dg.AssetKey.from_user_string(tuned_key(name, tuning)), Path(scratch))
                    encoder = load_tuned(spec, folder, learnt, tuning.method, device=step.device)
            return encode(
                encoder,
                documents,
                prompt=spec.prompt,
                batch_size=settings.batch_size,
                dimensions=settings.keep_dimensions,
                progress=step.progress("documents"),
                say=step.say,
            )

        fingerprint = base_fingerprint(spec)
        if tuned is not None:
            fingerprint = tuned_fingerprint(fingerprint, content_hash(tuned.collect()))
        previous = step.previous()
        table, encoded = update_embeddings(
            movie_documents.collect(),
            None if previous is None else previous.collect(),
            fingerprint,
            encode_new,
            stored_as=settings.stored_as,
        )
        step.say(f"{encoded:,} texts encoded for {table.height:,} documents; every other vector was known")
        return Computed(
            table,
            {"dimensions": int(table["vector"].to_numpy().shape[1])},
            this_run={"encoded": encoded},
        )

    return embeddings
