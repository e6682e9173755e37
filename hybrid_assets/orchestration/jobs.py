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
# A run whose process was killed is launched again as a whole (run_retries in dagster.yaml): the raw files may be others
# by now, and what is done costs nothing.
WHOLE = {"dagster/retry_strategy": "ALL_STEPS"}

BACKFILL = dg.define_asset_job(
    "backfill",
    selection=dg.AssetSelection.all(),
    tags=WHOLE,
    description="Any part of the graph, as chosen when it is launched; also what `refresh` leaves out.",
)


def refresh_job(catalog: Catalog, left_out: Sequence[str]) -> Job:
    """The job `refresh`: every asset but the branches of some encoders and models.

    The cut-off decides what is computed, so refreshing is selecting everything. Its many small steps run one after the
    other in the run's own process: a process a step takes seconds to load what it needs, and a refresh of one edited
    document has more than twenty. The job `backfill`, of few long steps, has a process for each.

    Args:
        catalog: whose systems use them.
        left_out: encoders and models that need minutes, or a GPU that is not here.
    """
    selection: dg.AssetSelection = dg.AssetSelection.all()
    for name in left_out:
        selection = selection - _branch(catalog, name)
    return dg.define_asset_job(
        REFRESH,
        selection=selection,
        executor_def=dg.in_process_executor,
        tags=WHOLE,
        description="Bring every asset up to date: what has not changed is not computed again."
        + (f" Left to the job backfill: {', '.join(left_out)}." if left_out else ""),
    )


def backfill_selection(catalog: Catalog, names: Sequence[str]) -> dg.AssetSelection:
    """The branches of some encoders and models, what they are made from, and the tables of all systems."""
    selection: dg.AssetSelection = dg.AssetSelection.assets("leaderboard", "comparisons", "strata", "report")
    for name in names:
        selection = selection | _branch(catalog, name).upstream()
    return selection


def selected_keys(definitions: dg.Definitions, selection: dg.AssetSelection | None = None) -> set[dg.AssetKey]:
    """The assets of a selection; None: those of the job `refresh`."""
    if selection is None:
        return set(definitions.resolve_job_def(REFRESH).asset_layer.executable_asset_keys)
    return set(selection.resolve(definitions.resolve_asset_graph()))


def _branch(catalog: Catalog, name: str) -> dg.AssetSelection:
    """What is made with an encoder or a model: its own assets and those of the systems and models that use it."""
    branch: dg.AssetSelection = dg.AssetSelection.tag("encoder", name) | dg.AssetSelection.tag("model", name)
    for system, settings in catalog.systems.items():
        if name in (*settings.model_names, *settings.needed_encoders):
            branch = branch | dg.AssetSelection.tag("system", system)
        # a model that reads texts chooses none: systems without it share them
        if name in settings.model_names and settings.is_learned and not catalog.encoder_of(name):
            shared = catalog.candidates_of(system)
            branch = branch | dg.AssetSelection.assets(["candidates", shared], ["shortlists", shared])
    for model in catalog.models:
        if catalog.encoder_of(model) == name:
            branch = branch | _branch(catalog, model)
    for encoder, tuned in catalog.encoders.items():
        if tuned.tuning is not None and tuned.tuning.align_with == name:
            branch = branch | _branch(catalog, encoder)
    return branch
