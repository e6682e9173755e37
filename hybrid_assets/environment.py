"""Where things are on this machine: the environment variables the project reads, and their defaults.

Belongs here: every variable but HYBRID_CATALOG and HYBRID_DATASET (catalog.py), HYBRID_ML_* (datasets/) and
HYBRID_POSTGRES (orchestration/records.py).
"""

import os
from pathlib import Path


def project_folder() -> Path:
    """The checkout this package is installed from, else the current folder."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "workspace.yaml").exists() else Path.cwd()


def dagster_home() -> Path:
    """DAGSTER_HOME, else `dagster_home/` of the project: where Dagster keeps its records."""
    return _folder("DAGSTER_HOME", "dagster_home")


def storage_url() -> str:
    """HYBRID_STORAGE, any folder or fsspec URL, else `data/` of the project: where tables are kept."""
    url = os.environ.get("HYBRID_STORAGE") or str(project_folder() / "data")
    # a quoted ~, which no shell has replaced, would be one folder for some readers and another for the rest
    return str(Path(url).expanduser()) if url.startswith("~") else url


def raw_cache() -> Path:
    """HYBRID_RAW, else `data/raw/` of the project: where downloaded datasets are kept."""
    return _folder("HYBRID_RAW", "data/raw")


def checkpoints_folder() -> Path:
    """HYBRID_CHECKPOINTS, else `data/checkpoints/` of the project: where a training that was killed goes on from."""
    return _folder("HYBRID_CHECKPOINTS", "data/checkpoints")


def _folder(variable: str, otherwise: str) -> Path:
    given = os.environ.get(variable)
    return (Path(given).expanduser() if given else project_folder() / otherwise).absolute()
