"""The lineage as a tree: every input once, and a word where an input was made anew or counts in part."""

from rich.console import Console

from hybrid_assets.reporting.lineage_tree import lineage_tree

STAMPS = {
    "c": {"data_version": "c1", "code_version": "1-x", "inputs": {"b": "b1", "a": "a0", "weights": "w"}},
    "b": {"data_version": "b1", "code_version": "1-x", "inputs": {"a": "a1"}},
    "a": {"data_version": "a1", "code_version": "1-x", "inputs": {"raw_files": "part f00"}},
    "raw_files": {"data_version": "r1", "code_version": "1-x", "inputs": {}},
}


def test_the_tree():
    console = Console(width=100, record=True)
    console.print(lineage_tree("c", STAMPS, [("ratings.csv", "f00")], "here"))
    assert console.export_text().splitlines() == [
        "here",
        "├── c c1 code 1-x",
        "│   ├── b b1 code 1-x",
        "│   │   └── a a1 code 1-x",
        "│   │       └── raw_files r1 code 1-x of which part f00",
        "│   ├── a a1 code 1-x (made anew since) (see above)",
        "│   └── weights w",
        "└── raw files",
        "    └── ratings.csv sha256 f00",
    ]
