"""Jobs: named selections of the graph.

Belongs here: what a command, a schedule or a person launches by name.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from hybrid_assets.catalog import Catalog

# What Dagster calls a job before its graph is known; it has no public name.
Job = UnresolvedAssetJobDefinition

REFRESH = "refresh"

BACKFILL = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.all(),
    description="Any part of the graph, as chosen when it is launched; also encoders that `refresh` leaves out.",
)


def refresh_job(catalog: Catalog, left_out: Sequence[str]) -> Job:
    """The job `refresh`: every asset but the branches of some encoders.

    The cut-off decides what is computed, so refreshing is selecting everything.

    Args:
        catalog: whose systems use the encoders.
        left_out: encoders that need minutes, or a GPU that is not here.
    """
    selection: dg.AssetSelection = dg.AssetSelection.all()
    for encoder in left_out:
        selection = selection - _branch(catalog, encoder)
    return dg.define_asset_job(
        REFRESH,
        selection=selection,
        description="Bring every asset up to date: what has not changed is not computed again."
        + (f" Left to the job backfill: {', '.join(left_out)}." if left_out else ""),
    )


def backfill_selection(catalog: Catalog, encoders: Sequence[str]) -> dg.AssetSelection:
    """The branches of some encoders, what they are made from, and the tables of all systems that they appear in."""
    selection: dg.AssetSelection = dg.AssetSelection.assets("leaderboard", "comparisons", "strata", "report")
    for encoder in encoders:
        selection = selection | _branch(catalog, encoder).upstream()
    return selection


def _branch(catalog: Catalog, encoder: str) -> dg.AssetSelection:
    """What is made with an encoder: its own assets and those of the systems that use it."""
    branch: dg.AssetSelection = dg.AssetSelection.tag("encoder", encoder)
    for name, system in catalog.systems.items():
        if encoder in system.needed_encoders:
            branch = branch | dg.AssetSelection.tag("system", name)
    return branch
