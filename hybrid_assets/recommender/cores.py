"""The pieces of one computation side by side, a thread each: what runs within NumPy and LightGBM lets others run too.

Belongs here: how. Does not: into which pieces, and what is made of each.
"""

import ctypes
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Piece = TypeVar("Piece")
Made = TypeVar("Made")


@contextmanager
def cores() -> Iterator[Executor]:
    """As many workers as there are cores. What they have not begun when it ends, by an error too, is left.

    Meanwhile the libraries behind NumPy's and SciPy's matrix products keep to one thread: of their own they would wait
    for each other, so busily that the workers starve.
    """
    from threadpoolctl import threadpool_limits

    # SciPy has a library of its own: loaded later it would not be limited, and its sums depend on how many threads add
    importlib.import_module("scipy.linalg")
    with threadpool_limits(1, "blas"):
        workers = ThreadPoolExecutor(os.cpu_count())
        try:
            yield workers
        finally:
            workers.shutdown(cancel_futures=True)
            _give_back_memory()


def _give_back_memory() -> None:
    """What threads have let go glibc keeps for others of theirs, half a GiB in a run, until it is told to return it."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def side_by_side(work: Callable[[Piece], Made], pieces: Sequence[Piece]) -> list[Made]:
    """What `work` makes of each piece, in their order."""
    if len(pieces) <= 1:
        return [work(piece) for piece in pieces]
    with cores() as workers:
        return list(workers.map(work, pieces))
