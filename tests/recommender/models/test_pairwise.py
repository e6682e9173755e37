"""The descent that LightGCN and VBPR share: its draws, its seed, its threads."""

import numpy as np
import pytest
import torch
from every_model import QUICK
from scipy.sparse import csr_matrix

from hybrid_assets.recommender.models.pairwise import _not_chosen, descend


@pytest.mark.parametrize("model", [QUICK["lightgcn"], QUICK["vbpr"]], ids=["lightgcn", "vbpr"])
def test_a_descent_on_two_threads_gives_the_same_bytes(model):
    # sums of gradients this large are shared out among threads
    generator = np.random.default_rng(1)
    users, items = generator.integers(400, size=20_000), generator.integers(300, size=20_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (model(users, items, np.full(len(users), 5.0, np.float32), batch_size=8192) for _ in range(2))
    finally:
        torch.set_num_threads(threads)
    assert first.item_vectors.tobytes() == second.item_vectors.tobytes()


def test_what_is_drawn_against_a_choice_was_not_chosen():
    chosen = {(user, item) for user in range(4) for item in range(10) if (user + item) % 3}
    users = np.repeat(np.arange(4), 200)
    known = np.sort(np.array([user * 10 + item for user, item in chosen]))
    found = _not_chosen(users, known, 10, np.random.default_rng(0))
    pairs = set(zip(users.tolist(), found.tolist(), strict=True))
    assert pairs == {(user, item) for user in range(4) for item in range(10)} - chosen


@pytest.mark.parametrize("name", ["lightgcn", "vbpr"])
def test_another_seed_draws_other_movies(name):
    """From the same initial factors: by the seed of the draws alone."""

    def after(seed):
        weights = torch.ones(30, 2, requires_grad=True)
        items = torch.linspace(-1, 1, 40).reshape(20, 2)
        chosen = csr_matrix(np.random.default_rng(1).random((30, 20)) < 0.3)
        descend(
            [weights],
            lambda: (weights, items),
            chosen,
            epochs=1,
            batch_size=10,
            learning_rate=0.1,
            regularisation=0.0,
            seed=seed,
        )
        return weights.detach().numpy().tobytes()

    assert after(1) == after(1) != after(2)
