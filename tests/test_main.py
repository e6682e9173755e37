"""The program as it is installed, and as a module."""

import subprocess
import sys
from pathlib import Path


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_module_is_the_command():
    command = str(Path(sys.executable).with_name("hybrid-assets"))
    for words in ("--help", "backfill --help"):
        shown = printed(command, *words.split())
        assert "hybrid-assets" in shown
        asked = printed(sys.executable, "-m", "hybrid_assets", *words.split())
        assert asked.replace("python -m hybrid_assets", "hybrid-assets").split() == shown.split()


def test_nothing_heavy_is_imported_before_the_process_is_told_how_to_collect_garbage():
    script = "import sys; import hybrid_assets.__main__; print({'dagster', 'polars', 'numpy'} & set(sys.modules))"
    assert printed(sys.executable, "-c", script).strip() == "set()"
