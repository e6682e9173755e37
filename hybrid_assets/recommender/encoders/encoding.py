"""Text encoders: loading one on any machine with torch, transformers, peft and bitsandbytes, and text to unit vectors.

Belongs here: assembling and running an encoder. Does not: where its weights are (weights.py), training it
(tuning.py), which documents need encoding again (embeddings.py).
"""

import logging
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hybrid_assets.recommender.encoders.weights import (
    EncoderSpec,
    EncoderUnavailable,
    Pooling,
    check_weights,
    gguf_file,
)
from hybrid_assets.recommender.towers import Vectors

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Backend = Literal["torch", "onnxruntime", "bfloat16"]

# Documents given to the encoder at once: long enough to sort by length, short enough to show progress.
CHUNK = 512

# What transformers and its readers raise over files that are torn or hostile; lack of memory is none of them.
UNREADABLE = (struct.error, ValueError, OverflowError, OSError, KeyError, TypeError, AttributeError, RecursionError)


def load_encoder(
    spec: EncoderSpec, folder: Path, *, device: str = "cpu", backend: Backend = "torch"
) -> "SentenceTransformer":
    """The encoder in `folder`, from local safetensors or GGUF only, without any code of the model's own.

    Args:
        spec: pooling, length and precision; its `weights` are of no account here.
        folder: a SentenceTransformer (modules.json says how tokens become one vector), or the bare files of a
            transformers model or one GGUF file, for which `spec.pooling` says it.
        device: torch device.
        backend: "onnxruntime" runs the transformer with onnxruntime on the CPU (onnx_backend.py); "bfloat16" lets torch
            multiply in bfloat16.

    Raises:
        EncoderUnavailable: the folder holds no such weights, nothing says how to pool or two things differently,
            `spec.max_length` is more than the encoder takes, or the backend is not for this machine.
    """
    # it misses a kernel that it would fetch from the hub, and does without
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    # reading local weights takes a moment; encoding shows its own progress
    disable_progress_bar()  # type: ignore[no-untyped-call]
    check_weights(folder, spec.sha256)
    if not (folder / "modules.json").exists() and spec.pooling is None:
        raise EncoderUnavailable(
            f"{folder}: no modules.json says how tokens become one vector; set `pooling` in the catalog (lasttoken for "
            "a decoder such as Qwen3, mean for most others)"
        )
    try:
        encoder = _read(spec, folder, _model_options(spec, device), device)
    except (*UNREADABLE, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "trust_remote_code" in str(error):  # the library's advice is to run it
            raise EncoderUnavailable(
                f"{folder}: asks for code of its own, which is never run; take weights of an architecture that the "
                "installed transformers knows"
            ) from error
        raise EncoderUnavailable(
            f"{folder}: the weights cannot be read ({reason}); a file is torn, is not what it says or is of a kind "
            "that the installed transformers does not know; fetch it again or take other weights"
        ) from error
    if spec.max_length is not None:
        longest = _positions(encoder)
        if longest is not None and spec.max_length > longest:
            raise EncoderUnavailable(
                f"{folder}: has positions for {longest:,} tokens, and max_length = {spec.max_length} asks for more; "
                f"lower max_length to {longest} or less in the catalog, or leave it out"
            )
        encoder.max_seq_length = spec.max_length
    _check_pooling(encoder, spec, folder)
    _check_end_token(encoder, folder)
    if spec.precision == "nf4":
        _keep_gradients_right(encoder)
    if backend == "onnxruntime":
        from hybrid_assets.recommender.encoders.onnx_backend import run_with_onnxruntime

        run_with_onnxruntime(encoder)
    elif backend == "bfloat16":
        _multiply_in_bfloat16(encoder)
    return encoder.eval()


def bfloat16_pays(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32.

    Args:
        device: torch device.
    """
    import torch

    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _multiply_in_bfloat16(encoder: "SentenceTransformer") -> None:
    """Weights, sums and normalisation stay in float32 (torch's autocast).

    Around all batches of a call, whose rounded weights it keeps: rounded for each they cost a fifth of the time.
    """
    import torch

    if not bfloat16_pays(encoder.device.type):
        raise EncoderUnavailable(
            f"backend bfloat16 needs hardware that multiplies it (on a CPU AVX512-BF16 or AMX), which the "
            f"{encoder.device.type} here is without; set backend = 'torch'"
        )
    encoder.encode = torch.autocast(encoder.device.type, torch.bfloat16)(encoder.encode)  # type: ignore[method-assign]


def _model_options(spec: EncoderSpec, device: str) -> dict[str, Any]:
    import torch

    if spec.precision == "float32":
        return {"dtype": torch.float32}
    if spec.precision == "bfloat16":
        return {"dtype": torch.bfloat16}
    from transformers import BitsAndBytesConfig

    quantisation = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"dtype": torch.bfloat16, "quantization_config": quantisation, "device_map": {"": device}}


def _read(spec: EncoderSpec, folder: Path, model_options: dict[str, Any], device: str) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    if not (folder / "modules.json").exists():
        return _assemble(folder, spec.pooling or "mean", model_options, device)
    return SentenceTransformer(
        str(folder),
        device=None if "device_map" in model_options else device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True, **model_options},
    )


def _assemble(folder: Path, pooling: Pooling, model_options: dict[str, Any], device: str) -> "SentenceTransformer":
    """Transformer, pooling and normalisation over bare files, for which the library would guess.

    It would guess mean pooling, and where the tokenizer has a chat template it would wrap every text in it: the words
    of an instruction to an assistant, the same for all texts.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    gguf = gguf_file(folder)
    shared: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if gguf is not None:
        shared["gguf_file"] = gguf.name
    else:
        model_options = {"use_safetensors": True, **model_options}
    transformer = Transformer(
        str(folder),
        model_kwargs={**shared, **model_options},
        processor_kwargs={**shared, **({"padding_side": "left"} if pooling == "lasttoken" else {})},
        config_kwargs=shared,
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    if gguf is not None:
        _forget_quantisation(transformer.model)
    if pooling == "lasttoken":
        _end_every_text(transformer.tokenizer)
    dimensions = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, PoolingModule(dimensions, pooling), Normalize()], device=device)


def _positions(encoder: "SentenceTransformer") -> int | None:
    """Tokens that it can tell the places of; None where its configuration names no limit.

    RoBERTa, MPNet and their like number places from behind the padding's own, so that they have fewer than they name.
    """
    transformer: Any = encoder[0]
    named: int | None = getattr(transformer.model.config, "max_position_embeddings", None)
    tables = (part for name, part in transformer.model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(tables, None), "padding_idx", None)
    return named if named is None or padding is None else named - padding - 1


def _forget_quantisation(model: Any) -> None:
    """A GGUF is dequantised when it is read; without this, transformers refuses to save the plain weights."""
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _end_every_text(tokenizer: Any) -> None:
    """Let the tokenizer end every text with its end token, where it does not: the token that is pooled."""
    from tokenizers.processors import Sequence as Processors
    from tokenizers.processors import TemplateProcessing

    if tokenizer("a").input_ids[-1] in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        return
    ending = TemplateProcessing(
        single=f"$A {tokenizer.eos_token}", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    backend = tokenizer.backend_tokenizer
    backend.post_processor = Processors([backend.post_processor, ending]) if backend.post_processor else ending


def _check_pooling(encoder: "SentenceTransformer", spec: EncoderSpec, folder: Path) -> None:
    """The files' own pooling is the one that was trained, and the library takes no other."""
    own = [module.pooling_mode for module in encoder if hasattr(module, "pooling_mode")]
    if spec.pooling is not None and own != [spec.pooling]:
        raise EncoderUnavailable(
            f"{folder / 'modules.json'}: the encoder comes with the pooling {', '.join(map(str, own)) or 'none'}, and "
            f"the catalog says {spec.pooling}; leave `pooling` out"
        )


def _check_end_token(encoder: "SentenceTransformer", folder: Path) -> None:
    pooling = encoder[1] if len(encoder) > 1 else None
    if getattr(pooling, "pooling_mode", None) != "lasttoken":
        return
    tokenizer: Any = encoder.tokenizer
    last = tokenizer("a").input_ids[-1]
    if last not in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        token = tokenizer.convert_ids_to_tokens(last)
        raise EncoderUnavailable(
            f"{folder}: its tokenizer ends a text with {token!r} and not with {tokenizer.eos_token!r}, whose vector "
            "last-token pooling takes; use the tokenizer files published with these weights"
        )


def _keep_gradients_right(encoder: "SentenceTransformer") -> None:
    """Switch off bitsandbytes' repacking of 4-bit weights on CPUs with AVX512-BF16.

    It happens at the first evaluation and makes every later gradient wrong: measured, a cosine of 0.1 to 0.6 to those
    of dense weights, and 1.0 without it (bitsandbytes' issue 2078 is related).
    tests/recommender/encoders/test_tuning.py compares gradients.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in encoder.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def encode(
    encoder: "SentenceTransformer",
    documents: Sequence[str],
    *,
    prompt: str = "",
    batch_size: int = 32,
    dimensions: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Vectors:
    """Unit vectors of documents: (documents, d) float32.

    Documents are encoded longest first: a batch holds little padding, and what does not fit into memory, or takes long,
    shows at once. What does not fit is tried again with half the batch. Vectors are scaled to unit length in
    float32 after encoding: an encoder that computes in bfloat16 is off by up to 4e-3.

    Args:
        encoder: from `load_encoder`.
        documents: texts, at least one character each.
        prompt: text put before every document.
        batch_size: documents encoded at once.
        dimensions: keep only the first ones of each vector before scaling (Matryoshka; Kusupati et al. 2022, arXiv
            2205.13147), for encoders trained for it; None keeps all.
        progress: called with (documents done, documents) after every chunk.
        say: told when the batch is halved.

    Raises:
        ValueError: an encoder gave a vector that is zero or not finite, or has fewer dimensions than asked for.
    """
    import torch

    order = np.argsort([-len(document) for document in documents], kind="stable")
    width = encoder.get_embedding_dimension() or 0
    if dimensions is not None and dimensions > width:
        raise ValueError(f"the encoder gives {width} dimensions and {dimensions} are to be kept; lower keep_dimensions")
    vectors: Vectors = np.empty((len(documents), dimensions or width), dtype=np.float32)
    start = 0
    while start < len(order):
        rows = order[start : start + CHUNK]
        try:
            encoded = encoder.encode(
                [prompt + documents[row] for row in rows],
                batch_size=batch_size,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        except RuntimeError as error:
            if batch_size == 1 or not _out_of_memory(error):
                raise
            batch_size //= 2
            if say:
                say(f"out of memory: going on with {batch_size} documents at once")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        vectors[rows] = encoded.float().cpu().numpy()[:, :dimensions]
        start += CHUNK
        if progress:
            progress(min(start, len(order)), len(order))
    return _unit(vectors, documents)


def _unit(vectors: Vectors, documents: Sequence[str]) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
    if not usable.all():
        raise ValueError(f"the encoder gave no usable vector for the document {documents[int(np.argmin(usable))]!r}")
    unit: Vectors = (vectors / length).astype(np.float32)
    return unit


def _out_of_memory(error: "RuntimeError | torch.OutOfMemoryError") -> bool:
    """Whether an allocation failed; on the CPU, and in what CUDA itself allocates, torch says so only in words."""
    import torch

    in_words = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in in_words)
