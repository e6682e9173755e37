"""The code location: everything Dagster loads.

`build_definitions` wires the catalog's assets to a storage; tests call it with their own.
"""

import dagster as dg
import fsspec
from fsspec.utils import get_protocol

from hybrid_assets.assets.cold_start import cold_start_assets
from hybrid_assets.assets.comparisons import comparison_assets
from hybrid_assets.assets.documents import document_assets
from hybrid_assets.assets.embeddings import embedding_assets
from hybrid_assets.assets.encoder_metrics import encoder_metric_assets
from hybrid_assets.assets.factors import factor_assets
from hybrid_assets.assets.leaderboard import leaderboard_assets
from hybrid_assets.assets.metrics import metric_assets
from hybrid_assets.assets.profiles import profile_assets
from hybrid_assets.assets.raw import raw_assets, raw_files_present
from hybrid_assets.assets.report import report_assets
from hybrid_assets.assets.scores import score_assets
from hybrid_assets.assets.split import split_assets
from hybrid_assets.assets.stackers import stacker_assets
from hybrid_assets.assets.strata import strata_assets
from hybrid_assets.assets.tuning import tuning_assets
from hybrid_assets.catalog import Catalog, CatalogError, load_catalog, settings_digest
from hybrid_assets.environment import storage_url
from hybrid_assets.orchestration.automation import nightly_schedule, watch_sensor
from hybrid_assets.orchestration.console import terminal_logger
from hybrid_assets.orchestration.gpu import GpuResource, gpu_gib
from hybrid_assets.orchestration.jobs import BACKFILL, refresh_job
from hybrid_assets.orchestration.records import materialized
from hybrid_assets.orchestration.staleness import due, recipes_of
from hybrid_assets.orchestration.storage import TableStore


def table_store(catalog: Catalog, storage: str | None = None) -> TableStore:
    """Where the tables of the catalog's dataset are: `<storage>/<dataset>/`.

    Raises:
        dagster.Failure: a package for storage of this kind is not installed.
    """
    url = (storage or storage_url()).rstrip("/")
    try:
        fsspec.get_filesystem_class(get_protocol(url))
    except (ImportError, ValueError) as error:
        raise dg.Failure(f"HYBRID_STORAGE = {url}: {error}") from error
    return TableStore(url=f"{url}/{catalog.dataset}")


def build_definitions(catalog: Catalog | None = None, storage: str | None = None) -> dg.Definitions:
    """All assets, jobs, the sensor, the schedule and the resources.

    Args:
        catalog: settings; None reads HYBRID_CATALOG or the packaged catalog.toml.
        storage: folder or fsspec URL; None takes HYBRID_STORAGE or `data/`.

    Raises:
        CatalogError: automation.nightly_cron is no cron expression.
    """
    catalog = catalog or load_catalog()
    here = gpu_gib(catalog.gpu.device)
    left_out = [name for name, it in catalog.encoders.items() if not it.refresh or it.gpu_gib > here]
    measured = [
        *raw_assets(catalog),
        *split_assets(catalog),
        *document_assets(catalog),
        *factor_assets(catalog),
        *tuning_assets(catalog),
        *embedding_assets(catalog),
        *profile_assets(catalog),
        *stacker_assets(catalog),
        *score_assets(catalog),
        *metric_assets(catalog),
    ]
    assets = [
        *measured,
        *encoder_metric_assets(catalog),
        *leaderboard_assets(catalog, recipes_of(measured), gpu_gib=here),
        *comparison_assets(catalog),
        *cold_start_assets(catalog),
        *strata_assets(catalog),
        *report_assets(catalog),
    ]
    recipes = recipes_of(assets)
    store = table_store(catalog, storage)
    refresh = refresh_job(catalog, left_out + [name for name, it in catalog.models.items() if not it.refresh])

    def refresh_due(instance: dg.DagsterInstance) -> list[dg.AssetKey]:
        selected = refresh.selection.resolve(assets)
        return due(recipes, store, selected, materialized(instance, selected))

    def tables_now() -> str:
        made = {
            key.to_user_string(): (recipes[key].code_version, store.made_at(key) if store.exists(key) else None)
            for key in sorted(refresh.selection.resolve(assets))
        }
        return settings_digest(store.url, made)

    automation = catalog.automation
    try:
        nightly = nightly_schedule(job=refresh, due=refresh_due, cron=automation.nightly_cron, on=automation.nightly)
    except dg.DagsterInvalidDefinitionError as error:
        raise CatalogError(
            f"automation.nightly_cron = {automation.nightly_cron!r} is no cron expression of five fields, such as "
            '"0 3 * * *" (every night at three, UTC)'
        ) from error
    return dg.Definitions(
        assets=assets,
        jobs=[refresh, BACKFILL],
        sensors=[
            watch_sensor(
                lambda: raw_files_present(catalog),
                tables=tables_now,
                job=refresh,
                due=refresh_due,
                seconds=automation.watch_seconds,
                on=automation.watch,
            )
        ],
        schedules=[nightly],
        loggers={"terminal": terminal_logger},
        # two processes at a time: each that encodes or trains loads torch (about 1 GiB) and the machine may be small
        executor=dg.multiprocess_executor.configured({"max_concurrent": 2, "start_method": {"forkserver": {}}}),
        resources={
            "io_manager": store,
            "gpu": GpuResource(device=catalog.gpu.device, wait_seconds=catalog.gpu.wait_seconds),
        },
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster` and `dg` load; built when they ask, so that a bad catalog does not break an import."""
    return build_definitions()
