"""What a loss is fed; batches of like length: everything once an epoch, little padding, seeded chance."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hybrid_assets.recommender.encoders.trainer import LengthSortedBatches, _examples, _loss
from hybrid_assets.recommender.encoders.tuning import TuningData, TuningSpec
from hybrid_assets.recommender.encoders.weights import EncoderSpec

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


def batches(lengths, seed=0, epoch=0, size=16) -> list[list[int]]:
    sampler = LengthSortedBatches(np.asarray(lengths), size, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


@given(st.lists(st.integers(1, 256), min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 3))
def test_every_example_is_in_one_batch(lengths, size, epoch):
    found = batches(lengths, epoch=epoch, size=size)
    assert sorted(example for batch in found for example in batch) == list(range(len(lengths)))
    # the last one of a window alone may be short
    assert len(found) == -(-len(lengths) // size)


def test_texts_of_like_length_are_padded_little():
    """Texts of exponential length: 256 tokens are padded to the longest of 16 at random, three times their mean."""
    lengths = np.random.default_rng(0).exponential(20, 6_000).astype(int).clip(2, 256)

    def padding(found):
        return sum(len(batch) * lengths[batch].max() for batch in found) / lengths.sum()

    random = np.random.default_rng(1).permutation(6_000).reshape(-1, 16)
    assert padding(random) > 3
    assert padding(batches(lengths)) < 1.1


def test_the_order_is_another_in_every_epoch_and_the_same_for_a_seed():
    lengths = np.random.default_rng(0).integers(2, 60, 500)
    assert batches(lengths) == batches(lengths)
    assert batches(lengths) != batches(lengths, epoch=1)
    assert batches(lengths) != batches(lengths, seed=1)
    # who meets whom, too
    assert {frozenset(batch) for batch in batches(lengths)} != {frozenset(batch) for batch in batches(lengths, epoch=1)}
