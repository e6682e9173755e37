"""Losses against their formulas, worked by hand on vectors that are given."""

import math

import pytest
import torch
from torch import nn

from hybrid_assets.recommender.encoders.losses import AlignmentLoss, CoLikeLoss, in_batch_softmax, procrustes


class Given(nn.Module):
    """An encoder that gives back what it is fed."""

    def forward(self, features):
        return {"sentence_embedding": features["vectors"]}


def fed(*rows):
    return {"vectors": torch.tensor(rows, dtype=torch.float32)}


def test_softmax_over_allowed_columns_only():
    scores = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    everything = torch.ones(2, 2, dtype=torch.bool)
    expected = (math.log(1 + math.e) + math.log(1 + math.exp(-3))) / 2
    assert in_batch_softmax(scores, everything).item() == pytest.approx(expected, abs=1e-6)
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert in_batch_softmax(scores, nothing).item() == pytest.approx(0.0), "a positive alone has nothing to lose to"


def co_like(log_q, liked, temperature=1.0):
    keys = torch.tensor(sorted(user * len(log_q) + movie for user, movie in liked) or [-1])
    return CoLikeLoss(Given(), torch.tensor(log_q), keys, temperature)


# two users; user 0 likes movies 0 and 1, user 1 movies 2 and 3; anchors point along x and y, others too
FEATURES = [fed((1, 0), (0, 1)), fed((1, 0), (0, 1))]
LABELS = torch.tensor([[0, 0, 1], [1, 2, 3]])


def test_without_popularity_and_likes_it_is_plain_infonce():
    expected = math.log(1 + math.exp(-1))  # the positive scores 1, the other 0
    assert co_like([0.0] * 4, []).forward(FEATURES, LABELS).item() == pytest.approx(expected, abs=1e-6)


def test_temperature_divides_the_cosine():
    loss = co_like([0.0] * 4, [], temperature=0.5)
    assert loss(FEATURES, LABELS).item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)


def test_a_movie_the_user_liked_is_no_negative():
    liked = [(0, 2), (0, 3), (1, 0), (1, 1)]  # everybody likes everything in the batch
    assert co_like([0.0] * 4, liked)(FEATURES, LABELS).item() == pytest.approx(0.0, abs=1e-6)


def test_log_q_is_taken_from_each_columns_score():
    # movies 1 and 3 (the others) are drawn with q 1/2 and 1/4, movies 0 and 2 (the anchors) alike
    loss = co_like([0.0, math.log(1 / 2), 0.0, math.log(1 / 4)], [])
    other = (math.log(1 + 4 / (math.e * 2)) + math.log(1 + 2 / (math.e * 4))) / 2
    anchor = math.log(1 + math.exp(-1))
    assert loss(FEATURES, LABELS).item() == pytest.approx((other + anchor) / 2, abs=1e-6)


def test_alignment_skips_texts_that_were_alike():
    targets = torch.eye(3)
    texts = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])  # 0 and 1 were the same text
    loss = AlignmentLoss(Given(), targets, texts, temperature=1.0, threshold=0.8)
    labels = torch.tensor([[0], [1], [2]])
    aligned = loss([fed((1, 0, 0), (0, 1, 0), (0, 0, 1))], labels).item()
    one_negative, two_negatives = math.log(1 + math.exp(-1)), math.log(1 + 2 * math.exp(-1))
    assert aligned == pytest.approx((2 * one_negative + two_negatives) / 3, abs=1e-6)


def test_procrustes_finds_the_turn_and_keeps_angles():
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(50, 4, generator=generator)
    turn = torch.linalg.qr(torch.randn(7, 4, generator=generator))[0]
    texts = nn.functional.normalize(factors @ turn.T, dim=1)
    torch.testing.assert_close(procrustes(factors, factors @ turn.T), texts, atol=1e-5, rtol=0)
    other = procrustes(factors, torch.randn(50, 7, generator=generator))
    unit = nn.functional.normalize(factors, dim=1)
    torch.testing.assert_close(other @ other.T, unit @ unit.T, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="align with a model of fewer factors"):
        procrustes(torch.randn(5, 4), torch.randn(5, 3))
