"""Batches of like length: everything once an epoch, little padding, seeded chance."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hybrid_assets.recommender.trainer import LengthSortedBatches


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
