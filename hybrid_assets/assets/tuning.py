"""train_ratings + movie_documents -> contrastive_pairs -> encoders/<name>, adapters/<name>: fine-tuned encoders."""

import math
import shutil
from collections.abc import Callable

import dagster as dg
import polars as pl

from hybrid_assets.catalog import Catalog
from hybrid_assets.encoder_settings import EncoderSettings, TuningSettings
from hybrid_assets.environment import checkpoints_folder
from hybrid_assets.orchestration.checks import Check
from hybrid_assets.orchestration.gpu import GpuNeed
from hybrid_assets.orchestration.incremental import Computed, Step, incremental_asset
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.encoders.contrastive_pairs import cold_movies, contrastive_pairs
from hybrid_assets.recommender.encoders.tuning import TuningProgress, TuningSpec, training_memory_gib, tune
from hybrid_assets.recommender.encoders.tuning_data import tuning_data, validation_likes
from hybrid_assets.recommender.encoders.weights import EncoderSpec, NotFetchedYet, base_fingerprint, weights_folder
from hybrid_assets.recommender.tables import fold_of, model_towers
from hybrid_assets.recommender.towers import Ids
from hybrid_assets.recommender.validity import leaked
from hybrid_assets.reporting.markdown import markdown_image
from hybrid_assets.reporting.plots import training_plot
from hybrid_assets.specs import encoder_spec

# Tokens of a text for the estimate of memory, where the catalog sets no limit.
TOKENS = 128


def tuning_assets(catalog: Catalog) -> list[dg.AssetsDefinition]:
    """contrastive_pairs, and encoders/<name> or adapters/<name> for every encoder that is fine-tuned."""
    return [
        _pairs_asset(catalog),
        *(_tuned_asset(name, settings, catalog) for name, settings in catalog.encoders.items() if settings.tuning),
    ]


def tuned_key(name: str, tuning: TuningSettings) -> str:
    """Key of the asset that holds what an encoder learnt."""
    return f"{'adapters' if tuning.method == 'lora' else 'encoders'}/{name}"


def observed_weights(name: str | None, spec: EncoderSpec) -> Callable[[TableStore, bool], dict[str, str] | None]:
    """What `incremental_asset` observes of the weights of the encoder `name`."""

    def observed(store: TableStore, fetch: bool) -> dict[str, str] | None:
        try:
            return {f"weights of {name}": base_fingerprint(spec, fetch=fetch)[:16]}
        except NotFetchedYet:
            return None

    return observed


def gpu_need(name: str, catalog: Catalog) -> GpuNeed | None:
    """What an encoder's assets ask of the GPU, and what builds another, tuned like it or not, without one."""
    settings = catalog.encoders[name]
    if settings.gpu_gib == 0:
        return None
    runnable = [other for other, it in catalog.encoders.items() if it.gpu_gib == 0]
    alike = [other for other in runnable if (catalog.encoders[other].tuning is None) == (settings.tuning is None)]
    instead = next((catalog.backfill_command(other) for other in alike or runnable), None)
    return GpuNeed(settings.gpu_gib, name, instead)


def _pairs_asset(catalog: Catalog) -> dg.AssetsDefinition:
    settings, liked = catalog.pairs, catalog.evaluation.relevance_threshold

    def cold_of(movies: pl.DataFrame) -> Ids:
        return cold_movies(movies["movie_id"].to_numpy(), settings.cold_share, settings.seed)

    @incremental_asset(
        key="contrastive_pairs",
        group="tuning",
        version="1",
        settings=[settings, liked],
        libraries=["numpy"],
        inputs=["movies", "train_ratings"],
        columns={
            "reading": '"notebook": pairs of liked movies (the paper\'s code); "text": with negatives (its text)',
            "user_id": "whose ratings made the pair",
            "anchor_id": "a movie the user liked",
            "other_id": "another: liked where the label is 1, disliked or unseen where it is 0",
            "label": "1: to be brought together, 0: to be kept apart",
        },
        lineage={
            "user_id": [("train_ratings", "user_id")],
            "anchor_id": [("train_ratings", "movie_id")],
            "other_id": [("train_ratings", "movie_id")],
            "label": [("train_ratings", "rating")],
        },
        checks=[
            Check(
                "no_leaked_pairs",
                "No pair knows a held-out rating, or a movie that encoders are judged by.",
                lambda made: leaked(made.table, made.given("train_ratings"), cold_of(made.given("movies"))),
            )
        ],
    )
    def pairs(step: Step, movies: pl.LazyFrame, train_ratings: pl.LazyFrame) -> Computed:
        """Pairs of movies that fine-tuned encoders learn from: of train without its validation part, seeded."""
        train = train_ratings.collect()
        cold = cold_of(movies.collect())
        learnt = fold_of(train, "fit").filter(~pl.col("movie_id").is_in(cold.tolist()))
        table = contrastive_pairs(
            learnt,
            liked=liked,
            disliked=settings.disliked,
            per_user=settings.per_user,
            most=settings.most,
            seed=settings.seed,
        )
        of_user = table.filter(pl.col("reading") == "notebook").group_by("user_id").len()["len"]
        return Computed(
            table,
            {
                "users": of_user.len(),
                "pairs": int(of_user.sum()),
                "mean_pairs_of_a_user": round(float(of_user.to_numpy().mean()), 2),
                "negatives": table.filter(pl.col("label") == 0).height,
                "cold_movies": len(cold),
            },
        )

    return pairs


def _tuned_asset(name: str, settings: EncoderSettings, catalog: Catalog) -> dg.AssetsDefinition:
    tuning = settings.tuning
    if tuning is None:
        raise RuntimeError(f"{name} is not fine-tuned")
    spec, liked, k = encoder_spec(catalog.base_of(name)), catalog.evaluation.relevance_threshold, catalog.evaluation.k
    inputs = {
        "contrastive_pairs": "contrastive_pairs",
        "movie_documents": "movie_documents",
        "train_ratings": "train_ratings",
    }
    if tuning.align_with:
        inputs["factors"] = f"factors/{tuning.align_with}"
    what = "a LoRA adapter over" if tuning.method == "lora" else "all weights of"
    need = gpu_need(name, catalog)

    @incremental_asset(
        key=tuned_key(name, tuning),
        group="tuning",
        version="4",
        # for the others the pairs know which movies are cold
        settings=[tuning, liked, k, *([catalog.pairs.cold_share, catalog.pairs.seed] if tuning.align_with else [])],
        libraries=[
            "torch",
            "transformers",
            "sentence-transformers",
            "peft",
            *(["bitsandbytes"] * (spec.precision == "nf4")),
        ],
        inputs=inputs,
        observed=observed_weights(settings.base, spec),
        gpu=need,
        kinds=frozenset({"pytorch", "huggingface"}),
        tags={"encoder": name},
        description=(
            f"Fine-tuned on contrastive pairs: {what} {settings.base} ({spec.weights}), loss `{tuning.loss}`. Killed "
            "while it trains, it goes on from its last checkpoint."
            + (f" Needs a GPU with {settings.gpu_gib:g} GiB free." if need else "")
        ),
        columns={"file": "beside the table, in a folder named by its content", "bytes": "size", "sha256": "content"},
        lineage={"sha256": [("contrastive_pairs", "anchor_id"), ("movie_documents", "document")]},
    )
    def tuned(
        step: Step,
        contrastive_pairs: pl.LazyFrame,
        movie_documents: pl.LazyFrame,
        train_ratings: pl.LazyFrame,
        factors: pl.LazyFrame | None = None,
    ) -> Computed:
        documents, train = movie_documents.collect(), train_ratings.collect()
        recipe = TuningSpec(**tuning.model_dump(exclude={"align_with"}))
        folder = weights_folder(spec.weights, spec.revision)
        if need:
            estimate = training_memory_gib(spec, folder, recipe, spec.max_length or TOKENS)
            step.say(f"training needs about {estimate:.1f} GiB of GPU memory; at least {need.gib:g} GiB are free")
        scratch = checkpoints_folder() / f"{name}-{step.identity}"
        result = scratch / "result"
        shutil.rmtree(result, ignore_errors=True)
        now_and_then = step.now_and_then()

        def show(moment: TuningProgress) -> None:
            loss = "" if math.isnan(moment.loss) else f"loss {moment.loss:.3f}, "  # not known in the first steps
            now_and_then(
                f"step {moment.step:,} of {moment.steps:,}, {loss}"
                f"{moment.examples_per_second:.0f} pairs/s, {moment.seconds_left:,.0f} s left",
                moment.step == moment.steps,
            )

        history = tune(
            spec,
            folder,
            tuning_data(
                documents,
                contrastive_pairs.collect(),
                train,
                loss=tuning.loss,
                liked=liked,
                towers=None if factors is None else model_towers(factors, "fit"),
                cold=cold_movies(documents["movie_id"].to_numpy(), catalog.pairs.cold_share, catalog.pairs.seed),
            ),
            recipe,
            validation=validation_likes(documents, train, liked=liked, k=k, seed=tuning.seed),
            checkpoints=scratch,
            result=result,
            device=step.device,
            on_progress=show,
            say=step.say,
        )
        table = step.store.put_folder(step.key, result)
        shutil.rmtree(scratch)
        curve = training_plot(history.losses, history.recalls, k, history.best_step)
        numbers: dict[str, float | int | str] = {
            "trained_weights": history.trainable,
            "trained_share": round(history.trainable / history.weights, 6),
            "steps": history.steps,
            "kept_step": history.best_step,
            "multiplied_in": history.multiplied_in,
        }
        if history.losses:
            numbers["loss"] = round(history.losses[-1][1], 4)
        if history.recalls:
            numbers["validation_recall_before"] = round(history.recalls[0][1], 4)
            numbers["validation_recall"] = round(
                dict(history.recalls).get(history.best_step, history.recalls[-1][1]), 4
            )
        return Computed(table, numbers, {"training": markdown_image("training", curve)})

    return tuned
