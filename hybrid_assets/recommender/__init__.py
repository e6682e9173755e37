"""The science: arrays and tables in, arrays and tables out. It never imports dagster.

Towers: documents.py -> encoders.py -> embeddings.py -> profiles.py (content), split.py -> models/ (collaborative).
From towers to lists: towers.py, fusion.py, ranking.py, systems.py. Judging lists: metrics.py, intervals.py.
"""
