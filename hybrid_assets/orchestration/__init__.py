"""Dagster's machinery: storage and stamps, the incremental cut-off, the terminal's progress, jobs.

Nothing here knows what an asset computes.
"""
