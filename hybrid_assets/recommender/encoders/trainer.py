"""The training loop: sentence-transformers' trainer, with checkpoints from which a killed run goes on exactly.

Belongs here: examples, batches, evaluation and resuming. Does not: settings and files (tuning.py), losses (losses.py).
Imports torch at once: only tuning.py, when it trains, imports this file.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator
from torch import Tensor, nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hybrid_assets.recommender.encoders.encoding import bfloat16_pays, encode
from hybrid_assets.recommender.encoders.losses import AlignmentLoss, CoLikeLoss, procrustes, standard_loss
from hybrid_assets.recommender.encoders.tuning import (
    ADAPTER_FILE,
    History,
    TuningData,
    TuningProgress,
    TuningSpec,
    Validation,
    restore_adapter,
    validation_recall,
)
from hybrid_assets.recommender.encoders.weights import EncoderSpec, EncoderUnavailable

# How often a checkpoint is written at least, besides those of the evaluations.
CHECKPOINT_SECONDS = 60.0
# Texts of up to so many tokens go through the encoder together.
SHORT = 8
STATE_FILE = "trainer_state.json"
RECALL = "recall"


def train(
    encoder: SentenceTransformer,
    spec: EncoderSpec,
    data: TuningData,
    recipe: TuningSpec,
    validation: Validation | None,
    checkpoints: Path,
    on_progress: Callable[[TuningProgress], None] | None,
    say: Callable[[str], None] | None,
) -> History:
    """Train `encoder` in place; see `tuning.tune`."""
    trainable = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    # a 4-bit weight holds two in a byte
    weights = sum(weight.numel() * (2 if weight.dtype == torch.uint8 else 1) for weight in encoder.parameters())
    multiplied_in = "bfloat16" if bfloat16_pays(encoder.device.type) else "float32"
    if say:
        share = f"{trainable:,} of {weights:,} weights ({trainable / weights:.2%})"
        say(f"training {share}, multiplying in {multiplied_in}")
    loss = _loss(encoder, spec, data, recipe)
    examples = _examples(data, recipe, spec.prompt)
    steps = -(-len(examples) // recipe.batch_size) * recipe.epochs
    judged = validation is not None and recipe.evaluations > 0
    every = max(1, steps // max(recipe.evaluations, 1))
    large = spec.precision != "float32"
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        batch_sampler=SeededBatches,
        learning_rate=recipe.learning_rate,
        warmup_steps=max(1, steps // 10),
        lr_scheduler_type="linear",
        seed=recipe.seed,
        data_seed=recipe.seed,
        bf16=multiplied_in == "bfloat16",
        activation_checkpointing=large,
        activation_checkpointing_kwargs={"use_reentrant": False} if large else None,
        eval_strategy="steps" if judged else "no",
        eval_steps=every,
        eval_on_start=judged,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=judged and recipe.patience is not None,
        metric_for_best_model=f"eval_{RECALL}" if judged else None,
        greater_is_better=True,
        logging_steps=max(1, steps // 40),
        use_cpu=encoder.device.type == "cpu",
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
        log_level="error",
    )
    if arguments.device != encoder.device:
        raise ValueError(
            f"training takes {arguments.device} and the encoder is on {encoder.device}; make that the first GPU here "
            f'(CUDA_VISIBLE_DEVICES={encoder.device.index}), with gpu.device = "cuda:0" in the catalog'
        )
    # or it spreads each batch over all GPUs, of which one was claimed, and a loss sees a part of its negatives
    arguments._n_gpu = min(arguments.n_gpu, 1)
    watch = _Watch(recipe.batch_size, on_progress, say)
    callbacks: list[TrainerCallback] = [watch]
    if judged and recipe.patience is not None:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=recipe.patience))
    trainer = _Trainer(
        model=encoder,
        args=arguments,
        train_dataset=examples,
        loss=loss,
        evaluator=_RecallEvaluator(data, spec.prompt, validation) if judged and validation else None,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    last = last_whole_checkpoint(checkpoints)
    if last is not None and say:
        say(f"going on from {last.name}")
    try:
        with _quiet(), like_lengths_together(encoder):
            trainer.train(resume_from_checkpoint=str(last) if last else False)
            # where bfloat16 pays, training has put its lower precision around every later pass of the encoder, too
            trainer.accelerator.unwrap_model(encoder, keep_fp32_wrapper=False)
    except UnpicklingError as error:
        # torch takes numbers and tensors only, and its advice is to run what else is there
        raise EncoderUnavailable(
            f"{last}: holds more than the numbers of a checkpoint, which is not loaded, because loading it can run "
            "code; delete that folder and run again"
        ) from error
    kept = trainer.state.best_global_step if arguments.load_best_model_at_end else None
    steps = trainer.state.global_step
    return History(
        losses=_logged(trainer.state.log_history, "loss"),
        recalls=_logged(trainer.state.log_history, f"eval_{RECALL}"),
        trainable=trainable,
        weights=weights,
        steps=steps,
        best_step=kept or steps,
        multiplied_in=multiplied_in,
    )


def last_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; torn ones are deleted.

    The trainer writes `trainer_state.json` last.

    Raises:
        OSError: a checkpoint that is there cannot be read.
    """
    whole = []
    for checkpoint in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        try:
            step = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))["global_step"]
        except (FileNotFoundError, ValueError, KeyError):
            shutil.rmtree(checkpoint)
        else:
            whole.append((step, checkpoint))
    return max(whole)[1] if whole else None


class SeededBatches(DefaultBatchSampler):
    """Examples in a seeded order, another one in every epoch, so that chance alone decides who is whose negative.

    The order hangs on the seed and the epoch and on nothing before: a training that goes on meets the same batches.
    """

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.sampler))  # type: ignore[arg-type]
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size].tolist()


@contextmanager
def like_lengths_together(encoder: nn.Module) -> Iterator[None]:
    """The encoder takes the texts of a batch by length, those of up to 8, 16, 32 ... tokens together.

    A batch comes padded to its longest text, and few texts are long: of pairs drawn at random from ml-latest-small five
    tokens of six would be padding. Each vector is what it would be, but for rounding and dropout's draws.
    """
    whole = encoder.forward

    def by_length(features: dict[str, Any], **options: Any) -> dict[str, Tensor]:
        mask = features["attention_mask"]
        classes = mask.sum(dim=1).clamp(min=SHORT).log2().ceil()
        places, vectors = [], []
        for length in classes.unique():
            rows = (classes == length).nonzero()[:, 0]
            used = mask[rows].any(dim=0).nonzero()[:, 0]  # a decoder's padding stands before the text
            part = {
                name: value[rows, used[0] : used[-1] + 1] if getattr(value, "shape", None) == mask.shape else value
                for name, value in features.items()
            }
            places.append(rows)
            vectors.append(whole(part, **options)["sentence_embedding"])
        return {"sentence_embedding": torch.cat(vectors)[torch.cat(places).argsort()]}

    encoder.forward = by_length
    try:
        yield
    finally:
        del encoder.forward


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer; a checkpoint of an adapter is loaded into the base at hand.

    The library would load the base again, and without its quantisation.
    """

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card is written, so nothing is computed for one."""

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:  # type: ignore[override]
        if (Path(checkpoint_path) / ADAPTER_FILE).exists():
            restore_adapter(self.model, Path(checkpoint_path))
        else:
            super()._load_from_checkpoint(checkpoint_path)


class _RecallEvaluator(SentenceEvaluator):
    """Validation recall, in the form in which the trainer asks for it."""

    def __init__(self, data: TuningData, prompt: str, validation: Validation) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.primary_metric = RECALL
        self.documents = [data.documents[movie] for movie in validation.candidates]
        self.prompt = prompt
        self.validation = validation

    def __call__(  # type: ignore[override]
        self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        return {RECALL: validation_recall(encode(model, self.documents, prompt=self.prompt), self.validation)}


class _Watch(TrainerCallback):
    """Tells of every step, and asks for a checkpoint from time to time."""

    def __init__(
        self,
        batch_size: int,
        on_progress: Callable[[TuningProgress], None] | None,
        say: Callable[[str], None] | None,
    ) -> None:
        self.batch_size = batch_size
        self.on_progress = on_progress
        self.say = say
        self.loss = float("nan")
        self.first_step = 0
        self.started = self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.first_step = state.global_step
        self.started = self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.monotonic()
        if now - self.saved > CHECKPOINT_SECONDS:
            self.saved = now
            control.should_save = True
        if self.on_progress:
            rate = (state.global_step - self.first_step) / max(now - self.started, 1e-9)
            left = (state.max_steps - state.global_step) / max(rate, 1e-9)
            self.on_progress(
                TuningProgress(state.global_step, state.max_steps, self.loss, rate * self.batch_size, left)
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        recall = (metrics or {}).get(f"eval_{RECALL}")
        if self.say and recall is not None:
            self.say(f"step {state.global_step}: recall on validation {recall:.4f}")


def _examples(data: TuningData, recipe: TuningSpec, prompt: str) -> Dataset:
    def texts(movies: Any) -> list[str]:
        return [prompt + data.documents[movie] for movie in movies]

    if recipe.loss == "alignment":
        if data.factor_movies is None:
            raise ValueError("the loss alignment needs collaborative factors; set `align_with` to a model")
        return Dataset.from_dict({"text": texts(data.factor_movies), "label": data.factor_movies.tolist()})
    positive = data.labels == 1
    chosen = np.ones_like(positive) if recipe.loss == "contrastive" else positive
    if not chosen.any():
        raise ValueError("there is no pair to learn from; materialize contrastive_pairs from more ratings")
    users, anchors, others = data.users[chosen], data.anchors[chosen], data.others[chosen]
    columns: dict[str, Any] = {"anchor": texts(anchors), "other": texts(others)}
    if recipe.loss == "contrastive":
        columns["label"] = data.labels[chosen].astype(float).tolist()
    elif recipe.loss == "co_like":
        columns["label"] = np.stack([users, anchors, others], axis=1).tolist()
    return Dataset.from_dict(columns)


def _loss(encoder: SentenceTransformer, spec: EncoderSpec, data: TuningData, recipe: TuningSpec) -> nn.Module:
    movies = len(data.documents)
    if recipe.loss == "co_like":
        positive = data.labels == 1
        both = np.concatenate([data.anchors[positive], data.others[positive]])
        counts = np.bincount(both, minlength=movies)
        # a movie without a pair is never a column
        log_q = torch.from_numpy(np.log(np.maximum(counts, 1) / max(len(both), 1))).float()
        keys = torch.from_numpy(np.unique(data.liked_users * movies + data.liked_movies))
        return CoLikeLoss(encoder, log_q, keys, recipe.temperature).to(encoder.device)
    if recipe.loss == "alignment":
        if data.factor_movies is None or data.factors is None:
            raise ValueError("the loss alignment needs collaborative factors; set `align_with` to a model")
        untuned = encode(encoder, [data.documents[movie] for movie in data.factor_movies], prompt=spec.prompt)
        targets = torch.zeros(movies, untuned.shape[1])
        texts = torch.zeros_like(targets)
        texts[data.factor_movies] = torch.from_numpy(untuned)
        targets[data.factor_movies] = procrustes(torch.from_numpy(data.factors), torch.from_numpy(untuned))
        return AlignmentLoss(encoder, targets, texts, recipe.temperature, recipe.alike).to(encoder.device)
    return standard_loss(recipe.loss, encoder, recipe.temperature)


def _logged(log: list[dict[str, float]], name: str) -> tuple[tuple[int, float], ...]:
    return tuple((int(entry["step"]), entry[name]) for entry in log if name in entry)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library's loggers say nothing below an error while it trains."""
    levels = {name: logging.getLogger(name).level for name in ("sentence_transformers", "transformers", "datasets")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
