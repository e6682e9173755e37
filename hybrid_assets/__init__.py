"""Hybrid movie recommendation as a graph of Dagster assets.

Where to find what: `catalog.toml` is what a user edits, `assets/` says what depends on what, `recommender/` is
the science, `datasets/` gets and reads raw ratings, `reporting/` draws, `orchestration/` is Dagster's machinery.
"""

import ctypes

# glibc keeps what threads let go, for each of eight a core apart: 0.8 GiB of a run's memory. Two places are enough for
# its threads (docs/results.md). It can be told before the first thread alone, so here; other C libraries have no such
# setting. -8 is M_ARENA_MAX of malloc.h.
_mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
if _mallopt:
    _mallopt(-8, 2)
