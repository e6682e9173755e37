"""What an asset was made from, as a tree for a terminal.

Belongs here: how versions and inputs look. Does not: finding them.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.tree import Tree

OUTSIDE = "raw_files"


def lineage_tree(
    asset: str, stamps: Mapping[str, Mapping[str, Any]], raw_files: Iterable[tuple[str, str]], title: str
) -> Tree:
    """The tree of `asset`: each line an asset, its data version and code version; its inputs below it, each once.

    Args:
        asset: the root.
        stamps: asset -> `data_version`, `code_version` and `inputs` (input -> its data version at that time, or
            `part <version>` where only a part of it counts).
        raw_files: name and SHA-256 of each raw file.
        title: the first line.
    """
    shown: set[str] = set()

    def grow(tree: Tree, name: str, version: str | None) -> None:
        stamp = stamps.get(name)
        if stamp is None:
            tree.add(f"{name} [dim]{version}[/dim]")
            return
        note = ""
        if version and version.startswith("part "):
            note = f" [dim]of which {version}[/dim]"
        elif version not in (None, stamp["data_version"]):
            note = " [yellow](made anew since)[/yellow]"
        note += " [dim](see above)[/dim]" if name in shown else ""
        branch = tree.add(f"[bold]{name}[/bold] {stamp['data_version']} [dim]code {stamp['code_version']}[/dim]{note}")
        if name not in shown:
            shown.add(name)
            for source, seen in stamp["inputs"].items():
                grow(branch, source, seen)

    root = Tree(title)
    grow(root, asset, None)
    if OUTSIDE in stamps:
        files = root.add("raw files")
        for name, digest in raw_files:
            files.add(f"{name} [dim]sha256 {digest}[/dim]")
    return root
