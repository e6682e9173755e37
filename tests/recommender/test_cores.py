"""Pieces of a computation side by side."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from hybrid_assets.recommender.cores import cores, side_by_side


def test_what_is_made_stands_in_the_order_of_the_pieces_whichever_is_made_first():
    second_is_made = threading.Event()

    def work(piece: int) -> int:
        if piece == 1:
            assert second_is_made.wait(timeout=60), "the second piece waited for the first"
        else:
            second_is_made.set()
        return 10 * piece

    assert side_by_side(work, [1, 2]) == [10, 20]
    assert side_by_side(work, [3]) == [30]
    assert side_by_side(work, []) == []


def test_an_error_of_a_piece_is_raised_and_what_was_not_begun_is_left():
    begun = []

    def work(piece: int) -> None:
        begun.append(piece)
        raise ValueError(f"piece {piece}")

    with pytest.raises(ValueError, match="piece 0"):
        side_by_side(work, range(10_000))
    assert len(begun) < 10_000


def test_matrix_products_keep_to_one_thread_meanwhile_and_have_theirs_back_then():
    def threads() -> list[int]:
        np.ones((2, 2)) @ np.ones((2, 2))
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = threads()
    with cores() as workers:
        assert set(workers.submit(threads).result()) == {1}
    assert threads() == before


def test_a_library_that_nobody_has_loaded_yet_keeps_to_one_thread_too():
    """Else bytes would depend on what the process computed before."""
    script = """
from threadpoolctl import threadpool_info
from hybrid_assets.recommender.cores import cores

with cores():
    from scipy.linalg import inv
    inv([[2.0]])
    print([library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"])
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    assert len(found) > 1, "NumPy's and SciPy's"
    assert set(found) == {1}
