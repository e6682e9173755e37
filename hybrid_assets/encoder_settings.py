"""Settings of each encoder, as [encoders.<name>] of the catalog has them.

Belongs here: what may be set of an encoder and of its fine-tuning, its range and its default. Does not: what the
settings do (recommender/encoders/encoding.py, recommender/encoders/tuning.py).
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hybrid_assets.settings import Lax, Name, Seed, Settings


class TuningSettings(Settings):
    """How a base encoder is fine-tuned on contrastive pairs; docs/encoders.md compares the losses."""

    method: Literal["full", "lora"]
    """`full`: all weights. `lora`: low-rank updates of the attention projections, over a frozen base."""
    loss: Literal["multiple_negatives", "multiple_negatives_cached", "contrastive", "co_like", "alignment"]
    """`multiple_negatives` (the paper's code; `_cached` for batches larger than memory), `contrastive` (the paper's
    text), `co_like` (same-user masking and logQ popularity correction), `alignment` (to the factors of `align_with`).
    Sources: recommender/encoders/losses.py."""
    epochs: Annotated[int, Field(ge=1)] = 2
    """Passes over the pairs."""
    batch_size: Annotated[int, Field(ge=2)] = 16
    """Pairs a step."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Highest rate; warmed up, then linearly down to 0."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides the cosines in all losses but `contrastive`."""
    rank: Annotated[int, Field(ge=1)] = 8
    """r of LoRA."""
    targets: Annotated[tuple[str, ...], Lax] | None = None
    """Modules that LoRA updates; None: the attention projections of BERT, Llama and Qwen3."""
    align_with: Name | None = None
    """For `alignment`: a name under [models] whose item factors the texts are aligned to."""
    alike: Annotated[float, Field(ge=-1, le=1)] = 0.8
    """For `alignment`: texts with a cosine above this are no negatives of each other."""
    evaluations: Annotated[int, Field(ge=0)] = 4
    """How often recall on validation is measured while it trains."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop after so many measurements without a better one and keep the best; None trains to the end."""
    seed: Seed = 42
    """Seed of the training."""

    @model_validator(mode="after")
    def _settings_go_together(self) -> "TuningSettings":
        if (self.loss == "alignment") != (self.align_with is not None):
            raise ValueError("loss = 'alignment' and align_with = '<model>' go together")
        if self.patience is not None and self.evaluations == 0:
            raise ValueError("patience counts evaluations: set evaluations to 1 or more, or leave patience out")
        if self.method == "full":
            self.refuse(("rank", "targets"), "is of account for method = 'lora' alone; leave it out")
        if self.loss != "alignment":
            self.refuse(("alike",), "is of account for loss = 'alignment' alone; leave it out")
        if self.loss == "contrastive":
            self.refuse(("temperature",), "is of no account for loss = 'contrastive'; leave it out")
        return self


class EncoderSettings(Settings):
    """A text encoder: any SentenceTransformer or bare transformer, as it is or fine-tuned from another entry."""

    weights: str | None = None
    """`package:<module>` (a Python package that carries them), a local folder, or a hub id such as
    `sentence-transformers/all-mpnet-base-v2`."""
    revision: str | None = None
    """Commit of the hub id; without it the hub's newest is taken and results may change with it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Expected SHA-256 of the weights file; another file is refused."""
    pooling: Literal["mean", "cls", "lasttoken"] | None = None
    """How tokens become one vector, for weights without a modules.json, which says it itself."""
    prompt: str = ""
    """Text put before every document."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Tokens kept of a document; None takes the encoder's own limit."""
    precision: Literal["float32", "bfloat16", "nf4"] = "float32"
    """Of the weights in memory; `nf4` is 4-bit with bitsandbytes."""

    base: Name | None = None
    """In place of weights: the entry under [encoders] that this one is fine-tuned from, as `tuning` says."""
    tuning: TuningSettings | None = None
    """How it is fine-tuned."""

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """Expected length of a vector; another one is refused."""
    keep_dimensions: Annotated[int, Field(ge=1)] | None = None
    """Keep only the first ones of each vector, for encoders trained for it (Matryoshka)."""
    stored_as: Literal["float32", "float16"] = "float32"
    """Of the vectors on disk."""
    batch_size: Annotated[int, Field(ge=1)] = 32
    """Documents encoded at once; halved by itself when memory runs out."""
    backend: Literal["torch", "onnxruntime", "bfloat16"] = "torch"
    """The same vectors (cosine at least 0.9999) on a CPU, faster on some: `bfloat16` multiplies in it, which needs
    AVX512-BF16 or AMX; `onnxruntime` needs `pip install -c constraints.txt -e '.[onnx]'`."""
    gpu_gib: Annotated[float, Field(ge=0)] = 0.0
    """Free GPU memory it needs, in GiB; 0 runs on the CPU."""
    refresh: bool = True
    """Whether `run` and the scheduled refresh keep it up to date; false leaves it to `hybrid-assets backfill`."""

    @model_validator(mode="after")
    def _weights_or_base(self) -> "EncoderSettings":
        if (self.weights is None) == (self.base is None):
            raise ValueError("an encoder needs either weights, or a base and a [tuning] table")
        if (self.base is None) != (self.tuning is None):
            raise ValueError("base and tuning go together: base names an encoder, tuning says how it is fine-tuned")
        inherited = ("revision", "sha256", "pooling", "prompt", "max_length", "precision")
        if self.base:
            self.refuse(inherited, "is the base's; set it there")
        if self.backend != "torch" and (self.base or self.precision != "float32" or self.gpu_gib):
            raise ValueError(f"backend = {self.backend!r} is for untuned float32 encoders on the CPU")
        return self
