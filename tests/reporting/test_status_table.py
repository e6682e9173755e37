"""The states of all assets in a terminal."""

import io

from rich.console import Console

from hybrid_assets.reporting.status_table import WITH_VERSIONS, status_table

RECORD = {
    "asset": "user_metrics/mf_qwen3_4b_lora_notebook",
    "state": "blocked",
    "rows": 1_234_567,
    "made": "2026-11-22T18:00:00",
    "data_version": "ae0ae0123456",
    "code_version": "1-bec7123456",
}


def printed(width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(status_table([RECORD], with_versions=width >= WITH_VERSIONS))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_nothing_is_cut_in_80_columns_and_wider_ones_have_the_versions_too():
    shown = ["user_metrics/mf_qwen3_4b_lora_notebook", "blocked", "1,234,567", "2026-11-22 18:00"]
    assert printed(80).splitlines()[1].split() == " ".join(shown).split()
    assert printed(WITH_VERSIONS).splitlines()[1].split() == [*" ".join(shown).split(), "ae0ae012", "1-bec712"]
    assert "…" not in printed(80) + printed(WITH_VERSIONS)
