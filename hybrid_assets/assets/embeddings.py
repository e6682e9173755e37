"""movie_documents -> embeddings/<encoder>: one asset for each text encoder of the catalog."""

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog, EncoderSettings
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.recommender.embeddings import update_embeddings
from hybrid_assets.recommender.encoders import encode, encoder_fingerprint, load_encoder, weights_folder
from hybrid_assets.recommender.towers import Vectors


def embedding_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """embeddings/<encoder> for every encoder."""
    return [_embedding_asset(name, settings) for name, settings in catalog.encoders.items()]


def _embedding_asset(name: str, settings: EncoderSettings) -> dg.AssetsDefinition:
    def fingerprint() -> str:
        return encoder_fingerprint(
            weights_folder(settings.weights, settings.revision),
            sha256=settings.sha256,
            prompt=settings.prompt,
            max_length=settings.max_length,
        )

    @incremental_asset(
        key=f"embeddings/{name}",
        group="embeddings",
        version="1",
        libraries=["sentence-transformers"],
        inputs=["movie_documents"],
        observed=lambda: {f"weights of {name}": fingerprint()[:16]},
        kinds=frozenset({"pytorch"}),
        tags={"encoder": name},
        description=(
            f"Unit vector of each movie's document by the encoder {name} ({settings.weights}). A document is encoded "
            "again only when its text or the encoder changed."
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
    )
    def embeddings(step: Step, movie_documents: pl.LazyFrame) -> Computed:
        def encode_new(documents: list[str]) -> Vectors:
            step.say(f"encoding {len(documents):,} documents with {name}")
            folder = weights_folder(settings.weights, settings.revision)
            encoder = load_encoder(folder, max_length=settings.max_length)
            vectors = encode(
                encoder,
                documents,
                prompt=settings.prompt,
                batch_size=settings.batch_size,
                progress=step.progress("documents"),
            )
            if settings.dimensions not in (None, vectors.shape[1]):
                raise ValueError(
                    f"the encoder gives {vectors.shape[1]} dimensions and the catalog says {settings.dimensions}; "
                    f"correct encoders.{name}.dimensions or the weights"
                )
            return vectors

        previous = step.previous()
        table, encoded = update_embeddings(
            movie_documents.collect(),
            None if previous is None else previous.collect(),
            fingerprint(),
            encode_new,
        )
        step.say(f"{encoded:,} texts encoded for {table.height:,} documents; every other vector was known")
        return Computed(
            table,
            {"dimensions": int(table["vector"].to_numpy().shape[1])},
            this_run={"encoded": encoded},
        )

    return embeddings
