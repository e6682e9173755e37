"""Collaborative models: ratings to tower pairs, one file a model.

Belongs here: one function a model, arrays of ratings in and a `TowerPair` out, closed forms of a few lines or the
library that keeps the model best, imported inside the function. Does not: fusion, ranking, Dagster. What several
models share is in interactions.py, pairwise.py and sequences.py. To add a model, write its file here, its line in
algorithms.py, its settings in model_settings.py, what is searched of it in search_spaces.py, how somebody new is
folded in, where that can be, in fold_in.py, and its line in tests/every_model.py, which the contract holds for.
"""
