"""What VBPR learns from texts; the contract is in test_models.py."""

import numpy as np
import pytest
from every_model import pairwise
from planted_ratings import two_tastes

from hybrid_assets.recommender.models.vbpr import vbpr


def test_vbpr_scores_a_movie_that_nobody_chose_by_its_text():
    users, items, ratings = two_tastes()
    movies = np.unique(items)
    of_a_kind = np.where((movies < 510)[:, None], [1.0, 0.0], [0.0, 1.0]).astype(np.float32)
    nobody = (items != 500) | (ratings < 4)  # what stays of movie 500 is that some disliked it
    settings = {**pairwise, "factors": 1, "text_factors": 2}
    pair = vbpr(users[nobody], items[nobody], ratings[nobody], embeddings=(movies, of_a_kind), **settings)
    unknown, other = (int(np.flatnonzero(pair.item_ids == movie)[0]) for movie in (500, 510))
    scores = pair.user_vectors @ pair.item_vectors.T
    even = pair.user_ids % 2 == 0
    # told from the kind alone: who likes movies 501 to 509 gains from it more than who does not
    assert (scores[even, unknown] - scores[even, other]).mean() > (scores[~even, unknown] - scores[~even, other]).mean()


def test_vbpr_refuses_a_movie_without_a_text():
    users, items, ratings = two_tastes()
    texts = (np.arange(500, 519), np.ones((19, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="id 519 has no vector"):
        vbpr(users, items, ratings, embeddings=texts, factors=1, text_factors=1, **pairwise)


def test_vbpr_learns_what_a_text_alone_says_of_how_many_like_a_movie():
    # everybody chooses movies of the one kind; movie 5 of that kind nobody chose, nor 15 of the other
    users, items = np.repeat(np.arange(30), 5), np.tile(np.arange(5), 30)
    some = np.array([[40, 5], [40, 15], [40, 16]])
    users, items = np.append(users, some[:, 0]), np.append(items, some[:, 1])
    ratings = np.append(np.full(150, 5.0), [1.0, 1.0, 5.0]).astype("f4")
    movies = np.unique(items)
    kind = np.where((movies <= 5)[:, None], [1.0, 0.0], [0.0, 1.0]).astype("f4")
    pair = vbpr(users, items, ratings, embeddings=(movies, kind), factors=1, text_factors=1, **pairwise)
    bias = dict(zip(pair.item_ids.tolist(), pair.item_vectors[:, -1].tolist(), strict=True))
    assert bias[5] > bias[15] + 0.05
