"""Fine-tuning an encoder on co-liked movies: what goes in, what comes out, and the check that it took effect.

Belongs here: settings and data of a training, saving and loading what was learnt. Does not: the training loop
(trainer.py), the losses (losses.py), which pairs there are (contrastive_pairs.py). Needs torch, transformers, peft,
bitsandbytes and sentence-transformers only inside its functions.
"""

import gc
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hybrid_assets.recommender.encoders.encoding import encode, load_encoder
from hybrid_assets.recommender.encoders.weights import EncoderSpec, EncoderUnavailable, base_fingerprint, gguf_file
from hybrid_assets.recommender.towers import Index, Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Method = Literal["full", "lora"]

# The attention projections of each architecture: r = 8 on those of Qwen3-Embedding-4B are the paper's 0.14 %.
ATTENTION_PROJECTIONS: Mapping[str, tuple[str, ...]] = {
    "bert": ("query", "key", "value", "attention.output.dense"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen3": ("q_proj", "k_proj", "v_proj", "o_proj"),
}
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# What a tuned encoder was tuned from; its vectors mean nothing over another base.
BASE_FILE = "base.json"
# Documents on which a tuned encoder is compared with its base and with itself after reloading.
PROBES = 16
LEAST_CHANGE = 1e-4
LARGEST_RELOAD_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class TuningSpec:
    """How an encoder is tuned.

    Attributes:
        method: "full" trains all weights; "lora" low-rank updates of the attention projections (Hu et al. 2021, arXiv
            2106.09685) over a frozen, perhaps 4-bit base (Dettmers et al. 2023, arXiv 2305.14314).
        loss: name of a loss (losses.py).
        epochs: passes over the examples.
        batch_size: examples a step.
        learning_rate: highest rate of AdamW; warmed up over a tenth of the steps, then linearly down to 0.
        temperature: divides cosines in the softmax losses.
        rank: r of LoRA; its scale is 2.
        targets: modules that LoRA updates; None takes the attention projections of a known architecture.
        alike: cosine above which `alignment` takes two texts for alike.
        evaluations: how often validation recall is measured; 0: never.
        patience: stop after so many evaluations without a better one, and keep the best; None trains to the end and
            keeps the last.
        seed: of order, initial LoRA weights and dropout.
    """

    method: Method
    loss: str
    epochs: int
    batch_size: int
    learning_rate: float
    temperature: float = 0.05
    rank: int = 8
    targets: tuple[str, ...] | None = None
    alike: float = 0.8
    evaluations: int = 4
    patience: int | None = None
    seed: int = 42


@dataclass(frozen=True)
class TuningData:
    """What an encoder learns from; movies and users are indices.

    Attributes:
        documents: text of each movie.
        users: (pairs,) whose pair it is.
        anchors: (pairs,) a movie.
        others: (pairs,) another movie.
        labels: (pairs,) 1 to bring together, 0 to keep apart.
        liked_users: (ratings,) users of the liked ratings that may be learnt from.
        liked_movies: (ratings,) their movies.
        factor_movies: (n,) movies that have collaborative factors, for the loss `alignment`.
        factors: (n, f) these factors.
    """

    documents: Sequence[str]
    users: Index
    anchors: Index
    others: Index
    labels: Index
    liked_users: Index
    liked_movies: Index
    factor_movies: Index | None = None
    factors: Vectors | None = None


@dataclass(frozen=True)
class Validation:
    """Held-out likes on which an encoder is judged while it trains.

    Attributes:
        histories: for each user, movies liked in the part that is learnt from.
        rated: for each user, the candidates rated in that part, which are not ranked for this user.
        relevant: for each user, the movies liked in the validation part.
        candidates: (m,) movies that are ranked; they hold all of the above.
        k: cutoff.
    """

    histories: Sequence[Index]
    rated: Sequence[Index]
    relevant: Sequence[Index]
    candidates: Index
    k: int


@dataclass(frozen=True)
class TuningProgress:
    """One moment of a training."""

    step: int
    steps: int
    loss: float
    examples_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class History:
    """How a training went.

    Attributes:
        losses: (step, mean loss since the last entry).
        recalls: (step, validation recall@k); step 0 is the untuned encoder.
        trainable: weights that were trained.
        weights: weights in all.
        steps: how many were made.
        best_step: the step whose weights were kept.
        multiplied_in: "bfloat16" where the hardware multiplies it faster, else "float32"; the weights differ.
    """

    losses: tuple[tuple[int, float], ...]
    recalls: tuple[tuple[int, float], ...]
    trainable: int
    weights: int
    steps: int
    best_step: int
    multiplied_in: str


def tune(
    spec: EncoderSpec,
    folder: Path,
    data: TuningData,
    recipe: TuningSpec,
    *,
    validation: Validation | None,
    checkpoints: Path,
    result: Path,
    device: str = "cpu",
    on_progress: Callable[[TuningProgress], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> History:
    """Train an encoder and save what was learnt to `result`.

    Interrupted at any point, the same call goes on from the last whole checkpoint and gives the weights of an unbroken
    run.

    Args:
        spec: the base.
        folder: its files.
        data: what is learnt from.
        recipe: how.
        validation: for curves and early stopping, or None.
        checkpoints: a folder for this very training (spec, data and recipe); left behind, to be deleted by the caller.
        result: new folder that the tuned files are written to: an adapter for "lora", a SentenceTransformer for "full".
        device: torch device.
        on_progress: called after every step.
        say: told in words what goes on.

    Raises:
        ValueError: the recipe does not fit the encoder or the data.
        RuntimeError: training did not change the vectors, or the saved files do not give the trained vectors back.
    """
    from hybrid_assets.recommender.encoders.trainer import train

    encoder = load_encoder(spec, folder, device=device)
    probes = list(dict.fromkeys(data.documents))[:PROBES]
    before = encode(encoder, probes, prompt=spec.prompt)
    if recipe.method == "lora":
        add_adapter(encoder, recipe)
    elif spec.precision == "nf4":
        raise ValueError("a 4-bit base has no weights that can be trained; use method lora")
    history = train(encoder, spec, data, recipe, validation, checkpoints, on_progress, say)
    after = encode(encoder.eval(), probes, prompt=spec.prompt)
    if float(np.abs(after - before).max()) < LEAST_CHANGE:
        raise RuntimeError(
            "training changed no vector: the trained weights have no effect on this encoder; check the recipe's "
            "targets and learning rate"
        )
    save_tuned(encoder, spec, recipe.method, result)
    # training leaves it in reference cycles, and the memory would have to hold it and the next
    del encoder
    gc.collect()
    again = encode(load_tuned(spec, folder, result, recipe.method, device=device), probes, prompt=spec.prompt)
    difference = float(np.abs(again - after).max())
    if difference > LARGEST_RELOAD_DIFFERENCE:
        raise RuntimeError(f"the saved files give other vectors than the trained encoder (off by {difference:.2g})")
    return history


def add_adapter(encoder: "SentenceTransformer", recipe: TuningSpec) -> None:
    """A fresh LoRA adapter over a frozen encoder; seeded, its weights in float32.

    Raises:
        ValueError: the architecture's attention projections are not known and the recipe names no targets.
    """
    import torch
    from peft import LoraConfig

    model: Any = encoder.transformers_model
    targets = recipe.targets or ATTENTION_PROJECTIONS.get(model.config.model_type)
    if targets is None:
        raise ValueError(
            f"which modules LoRA is to update is not known for the architecture {model.config.model_type!r}; set "
            "`targets` in the catalog, for example ['q_proj', 'k_proj', 'v_proj', 'o_proj']"
        )
    torch.manual_seed(recipe.seed)
    encoder.add_adapter(
        LoraConfig(
            r=recipe.rank, lora_alpha=2 * recipe.rank, target_modules=list(targets), task_type="FEATURE_EXTRACTION"
        )
    )
    _trainable_in_float32(encoder)


def save_tuned(encoder: "SentenceTransformer", spec: EncoderSpec, method: Method, folder: Path) -> None:
    """Write a tuned encoder into a new folder: safetensors, JSON, and what it was tuned from."""
    folder.mkdir(parents=True)
    if method == "full":
        encoder.save_pretrained(str(folder), create_model_card=False)
    else:
        model: Any = encoder.transformers_model
        model.save_pretrained(str(folder))
        settings = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        # peft records the folder of this machine
        settings |= {"base_model_name_or_path": spec.weights, "revision": spec.revision}
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
        (folder / "README.md").unlink(missing_ok=True)
    base = {"weights": spec.weights, "revision": spec.revision, "fingerprint": base_fingerprint(spec)}
    (folder / BASE_FILE).write_text(json.dumps(base, indent=2, sort_keys=True) + "\n", "utf-8")


def load_tuned(
    spec: EncoderSpec, base_folder: Path, tuned: Path, method: Method, *, device: str = "cpu"
) -> "SentenceTransformer":
    """A tuned encoder, over the base it was tuned from.

    Args:
        spec: the base.
        base_folder: its files.
        tuned: what `save_tuned` wrote.
        method: how it was tuned.
        device: torch device.

    Raises:
        EncoderUnavailable: it was tuned from another base, or a file is missing.
    """
    try:
        base = json.loads((tuned / BASE_FILE).read_text("utf-8"))
    except OSError as error:
        raise EncoderUnavailable(f"{tuned / BASE_FILE}: {error.strerror}; tune the encoder again") from error
    if base["fingerprint"] != base_fingerprint(spec):
        raise EncoderUnavailable(
            f"{tuned}: tuned from {base['weights']} (revision {base['revision']}), which is not the base that the "
            "catalog names now; its weights, precision, pooling, prompt or length differ. Tune the encoder again"
        )
    if method == "full":
        # its own files say how it pools
        return load_encoder(replace(spec, sha256=None, pooling=None), tuned, device=device)
    if not (tuned / ADAPTER_FILE).exists():
        raise EncoderUnavailable(f"{tuned / ADAPTER_FILE}: no such file; tune the encoder again")
    encoder = load_encoder(spec, base_folder, device=device)
    attach_adapter(encoder, tuned)
    return encoder.eval()


def attach_adapter(encoder: "SentenceTransformer", folder: Path) -> None:
    """Put a saved adapter on an encoder, its weights in float32 as they were trained."""
    from peft import LoraConfig

    # only what `add_adapter` sets: peft has settings that import a module by name (megatron_core)
    file = folder / ADAPTER_CONFIG
    try:
        settings = json.loads(file.read_text("utf-8"))
        rank, alpha, targets = settings["r"], settings["lora_alpha"], settings["target_modules"]
        if settings["peft_type"] != "LORA" or not isinstance(targets, list):
            raise ValueError("not a LoRA adapter with a list of target modules")
        encoder.add_adapter(
            LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, task_type="FEATURE_EXTRACTION")
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise EncoderUnavailable(
            f"{file}: not the settings of an adapter of this encoder ({type(error).__name__}: {error}); tune the "
            "encoder again"
        ) from error
    _trainable_in_float32(encoder)
    restore_adapter(encoder, folder)


def restore_adapter(encoder: "SentenceTransformer", folder: Path) -> None:
    """The weights of a saved adapter, or of a checkpoint, into the adapter that an encoder has.

    Raises:
        EncoderUnavailable: the file's weights are not those of this encoder's adapter.
    """
    from peft import set_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(folder / ADAPTER_FILE)
    except (SafetensorError, OSError) as error:
        raise EncoderUnavailable(
            f"{folder / ADAPTER_FILE}: cannot be read ({error}); tune the encoder again"
        ) from error
    result: Any = set_peft_model_state_dict(encoder.transformers_model, weights, adapter_name="default")
    lacking = [name for name in result.missing_keys if "lora_" in name]
    if lacking or result.unexpected_keys:
        strange = [*lacking, *result.unexpected_keys][0]
        raise EncoderUnavailable(f"{folder / ADAPTER_FILE}: not an adapter of this encoder ({strange} does not fit)")


def _trainable_in_float32(encoder: "SentenceTransformer") -> None:
    """bfloat16 has too few digits for the small updates of an adapter."""
    for weights in encoder.parameters():
        if weights.requires_grad:
            weights.data = weights.data.float()


def tuned_fingerprint(base: str, tuned: str) -> str:
    """What identifies a tuned encoder: its base's fingerprint and its own files' digest."""
    return hashlib.sha256(f"{base}\0{tuned}".encode()).hexdigest()


def validation_recall(vectors: Vectors, validation: Validation) -> float:
    """Mean recall@k of the held-out likes among the movies not rated yet, by cosine to the mean of what the user liked.

    Args:
        vectors: (candidates, d) unit vectors, in the order of `validation.candidates`.
        validation: users, what they rated and liked, and what is held out.
    """
    place = np.full(int(validation.candidates.max()) + 1, -1, dtype=np.int64)
    place[validation.candidates] = np.arange(len(validation.candidates))
    recalls = []
    for history, rated, relevant in zip(validation.histories, validation.rated, validation.relevant, strict=True):
        scores = vectors @ vectors[place[history]].mean(axis=0)
        scores[place[rated]] = -np.inf
        top = np.argsort(-scores, kind="stable")[: validation.k]
        recalls.append(np.isin(place[relevant], top).mean())
    return float(np.mean(recalls))


def training_memory_gib(spec: EncoderSpec, folder: Path, recipe: TuningSpec, tokens: int) -> float:
    """Estimate of the memory that training needs, in GiB: weights, gradients, Adam's state and activations.

    Activations are counted with activation checkpointing, as they are kept for any precision but float32: one layer's
    input each, and one layer in full.

    Args:
        spec: the base.
        folder: its files.
        recipe: how it is tuned.
        tokens: length of a text.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    gguf = gguf_file(folder)
    where = {"gguf_file": gguf.name} if gguf else {}
    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False, **where)
    with torch.device("meta"):
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    weights = sum(weight.numel() for weight in model.parameters())
    linear = sum(module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear))
    size = {"float32": 4.0, "bfloat16": 2.0}
    # 4 bits and the double-quantised scales; what is not a linear layer stays in bfloat16
    held = linear * 0.516 + (weights - linear) * 2 if spec.precision == "nf4" else weights * size[spec.precision]
    trained = weights if recipe.method == "full" else weights * 0.003
    config = config.get_text_config()  # of what reads pictures too
    width, layers = config.hidden_size, config.num_hidden_layers
    activation = 4 if spec.precision == "float32" else 2
    positions = 2 * recipe.batch_size * tokens
    # some architectures name it otherwise; four times the width is what the transformer's own paper takes
    inner = getattr(config, "intermediate_size", 4 * width)
    one_layer = positions * (8 * width + 3 * inner) * activation
    attention = 2 * recipe.batch_size * getattr(config, "num_attention_heads", 0) * tokens**2 * activation
    kept = layers * (one_layer if spec.precision == "float32" else positions * width * activation)
    # gradient, and two moments of Adam, in float32
    return float(held + trained * 12 + kept + one_layer + 2 * attention) / 2**30
