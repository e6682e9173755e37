"""Jobs: named selections of the graph.

Belongs here: what a command, a schedule or a person launches by name.
"""

import dagster as dg

# The cut-off decides what is computed, so refreshing is selecting everything.
REFRESH = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all(),
    description="Bring every asset up to date: what has not changed is not computed again.",
)


def branch_selection(tag: str, name: str) -> dg.AssetSelection:
    """Everything that carries `tag=name`, what it is made from, and the leaderboard and report it appears on."""
    branch = dg.AssetSelection.tag(tag, name)
    return branch.upstream() | dg.AssetSelection.assets("leaderboard", "report")
