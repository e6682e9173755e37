"""Examining the machine: what the project needs, what is there, and how to mend it.

Belongs here: one check a function. Does not: installing anything.
"""

import importlib.metadata
import platform
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from packaging.requirements import Requirement
from upath import UPath

from hybrid_assets.catalog import Catalog
from hybrid_assets.datasets.errors import BadInput
from hybrid_assets.datasets.reading import find_table
from hybrid_assets.definitions import table_store
from hybrid_assets.environment import dagster_home, storage_url
from hybrid_assets.orchestration.faults import with_remedy
from hybrid_assets.orchestration.gpu import GpuResource, gpu_gib
from hybrid_assets.orchestration.records import open_records, try_making
from hybrid_assets.orchestration.storage import replace_file
from hybrid_assets.recommender.encoders.weights import (
    EncoderUnavailable,
    NotFetchedYet,
    check_weights,
    weights_folder,
)


@dataclass(frozen=True)
class Finding:
    """One thing examined; `fix` says what to do where it is not ok."""

    subject: str
    ok: bool
    found: str
    fix: str = ""


def examine(catalog: Catalog) -> list[Finding]:
    """Everything, in the order in which a person would mend it."""
    device = catalog.gpu.device
    machine = [_python(), *_packages(), _gpu(device), *_weights(catalog, gpu_gib(device))]
    return [*machine, *_own_files(catalog), _storage(), _tables(catalog), _home()]


def _python() -> Finding:
    supported = sys.version_info[:2] in ((3, 11), (3, 12))
    return Finding(
        "Python", supported, platform.python_version(), "use Python 3.11 or 3.12: make PYTHON=python3.11 run"
    )


def _packages() -> Iterator[Finding]:
    """What pyproject.toml asks for: each that is wrong, and the others in one."""
    fit = []
    for need in map(Requirement, importlib.metadata.requires("hybrid-assets") or []):
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(need.name, False, "not installed", "make install")
            continue
        if need.specifier.contains(version, prereleases=True):
            fit.append(f"{need.name} {version}")
        else:
            yield Finding(need.name, False, f"{version}, needed {need.specifier}", "make install")
    yield Finding("packages", True, ", ".join(fit))


def _gpu(device: str) -> Finding:
    free, found = GpuResource(device=device).free_gib()
    if free >= 0:
        return Finding("GPU", True, found)
    if gpu_gib(device) > 0:
        return Finding(
            "GPU", False, f"the driver has one, torch finds {found}", "install the torch that fits the driver"
        )
    return Finding("GPU", True, f"{found}; encoders that need one are left out, all else runs")


def _weights(catalog: Catalog, gpu: float) -> Iterator[Finding]:
    for name, encoder in catalog.encoders.items():
        if encoder.weights is None:
            continue  # fine-tuned: its base is examined
        if encoder.gpu_gib > gpu:
            yield Finding(f"encoder {name}", True, f"left out: needs a GPU with {encoder.gpu_gib:g} GiB")
            continue
        try:
            folder = weights_folder(encoder.weights, encoder.revision, fetch=False)
            check_weights(folder, encoder.sha256)
            checked = "SHA-256 as expected" if encoder.sha256 else "no sha256 in the catalog to check against"
            yield Finding(f"encoder {name}", True, f"{folder} ({checked})")
        except NotFetchedYet as missing:
            yield Finding(f"encoder {name}", True, str(missing))
        except EncoderUnavailable as error:
            yield Finding(f"encoder {name}", False, "not usable", str(error))
        except OSError as error:
            yield Finding(f"encoder {name}", False, "not usable", with_remedy(error))


def _own_files(catalog: Catalog) -> Iterator[Finding]:
    if catalog.dataset != "folder" or catalog.folder is None:
        return
    folder = catalog.folder.path.absolute()
    try:
        found = [file for name in ("ratings", "movies", "tags") if (file := find_table(folder, name))]
        for file in found:
            file.open("rb").close()
        yield Finding("your files", True, f"{folder}: {', '.join(file.name for file in found)}")
    except OSError as error:
        yield Finding("your files", False, str(folder), with_remedy(error))
    except BadInput as problem:
        yield Finding("your files", False, str(folder), str(problem))


def _storage() -> Finding:
    try:
        probe = UPath(storage_url()) / f".doctor-{uuid.uuid4().hex}"
        replace_file(probe, b"writable")
        probe.unlink()
    except dg.Failure as failure:
        return Finding("storage", False, f"{storage_url()}, not writable", str(failure.description))
    except (ImportError, ValueError) as error:  # a kind of storage whose package is missing, or none
        return Finding("storage", False, f"HYBRID_STORAGE = {storage_url()}", str(error))
    return Finding("storage", True, f"{storage_url()}, writable")


def _tables(catalog: Catalog) -> Finding:
    try:
        store = table_store(catalog)
        return Finding("tables", True, f"{store.url}, {store.verify_all()} tables as they were written")
    except dg.Failure as failure:
        return Finding("tables", False, f"{storage_url()}, cannot be read whole", str(failure.description))
    except OSError as error:
        return Finding("tables", False, f"{storage_url()}, cannot be read whole", with_remedy(error))


def _home() -> Finding:
    home = dagster_home()
    try:
        if not (home / "dagster.yaml").exists():
            try_making(home)
            return Finding("Dagster home", True, f"{home}, which the first run makes")
        with open_records(home) as instance:
            kept_in = type(instance.run_storage).__name__.removesuffix("RunStorage")
            return Finding("Dagster home", True, f"{home}, records in {kept_in}, {instance.get_runs_count()} runs")
    except dg.Failure as failure:
        return Finding("Dagster home", False, f"{home}, records cannot be kept there", str(failure.description))
    except OSError as error:
        return Finding("Dagster home", False, f"{home}, records cannot be kept there", with_remedy(error))
