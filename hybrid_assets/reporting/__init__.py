"""Reporting: tables in, plots, one HTML page and a terminal table out. Never imports dagster."""
