"""Hybrid movie recommendation as a graph of Dagster assets.

Where to find what: `catalog.toml` is what a user edits, `assets/` says what depends on what, `recommender/` is
the science, `datasets/` gets and reads raw ratings, `reporting/` draws, `orchestration/` is Dagster's machinery.
"""
