"""Raw ratings: where they come from (sources, download) and how they become checked tables (reading).

Belongs here: fetching, verifying, unpacking, parsing. Does not: splitting, modelling, anything of Dagster's.
"""
