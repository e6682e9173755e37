"""Examples in docstrings do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

import hybrid_assets

PACKAGE = Path(hybrid_assets.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("hybrid_assets", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in PACKAGE.rglob("*.py")
    if ">>>" in file.read_text()
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module_hold(module):
    outcome = doctest.testmod(importlib.import_module(module))
    assert outcome.attempted > 0
    assert outcome.failed == 0
