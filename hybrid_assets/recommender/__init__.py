"""The science: arrays and tables in, arrays and tables out. It never imports dagster.

Towers: documents.py -> encoders/ -> profiles.py (content), split.py -> models/ (collaborative). From towers to lists:
towers.py, fusion.py, ranking.py, systems.py, rerank.py; learned/ where the fusion is learned; newcomers.py for people
who are not in the ratings. Judging lists: metrics.py, intervals.py, strata.py, comparison.py, cold_start.py.
"""
