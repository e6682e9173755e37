"""Jobs: named selections of the graph.

Belongs here: what a command, a schedule or a person launches by name.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# What Dagster calls a job before its graph is known; it has no public name.
Job = UnresolvedAssetJobDefinition

REFRESH = "refresh"

BACKFILL = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.all(),
    description="Any part of the graph, as chosen when it is launched; also encoders that `refresh` leaves out.",
)


def refresh_job(left_out: Sequence[str]) -> Job:
    """The job `refresh`: every asset but the branches of some encoders.

    The cut-off decides what is computed, so refreshing is selecting everything.

    Args:
        left_out: encoders that need minutes, or a GPU that is not here.
    """
    selection: dg.AssetSelection = dg.AssetSelection.all()
    for encoder in left_out:
        selection = selection - dg.AssetSelection.tag("encoder", encoder)
    return dg.define_asset_job(
        REFRESH,
        selection=selection,
        description="Bring every asset up to date: what has not changed is not computed again."
        + (f" Left to the job backfill: {', '.join(left_out)}." if left_out else ""),
    )


def branch_selection(tag: str, name: str) -> dg.AssetSelection:
    """Everything that carries `tag=name`, what it is made from, and the leaderboard and report it appears on."""
    branch = dg.AssetSelection.tag(tag, name)
    return branch.upstream() | dg.AssetSelection.assets("leaderboard", "report")
