"""The parameters that a weight restriction selects, drawn as a tree with elements selected of elements in all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

Counts = Mapping[str, tuple[int, int]]
"""Parameter name -> (elements selected, elements in all)."""


def restriction_tree(counts: Counts, total: int) -> Tree:
    """A tree along the parameters' dotted names. A run of names with one branch each is one line; equal layers are not merged.

    total: elements of the whole model, of which the root states the share.
    """
    chosen = sum(selected for selected, _ in counts.values())
    root = Tree(_line(f"{len(counts)} parameter{'' if len(counts) == 1 else 's'}", chosen, total), guide_style="dim")
    _grow(root, {tuple(name.split(".")): count for name, count in counts.items()})
    return root


def write_tree(counts: Counts, total: int, file: TextIO) -> None:
    """The tree on a terminal or in a file; colours only where the file is a terminal that wants them."""
    Console(file=file, highlight=False, soft_wrap=True).print(restriction_tree(counts, total))


def _grow(tree: Tree, leaves: Mapping[tuple[str, ...], tuple[int, int]]) -> None:
    branches: dict[str, dict[tuple[str, ...], tuple[int, int]]] = {}
    for path, count in leaves.items():
        branches.setdefault(path[0], {})[path[1:]] = count
    for head, below in branches.items():
        name = head
        while len({path[:1] for path in below}) == 1 and () not in below:
            (first,) = {path[0] for path in below}
            name, below = f"{name}.{first}", {path[1:]: count for path, count in below.items()}
        branch = tree.add(_line(name, sum(selected for selected, _ in below.values()), sum(total for _, total in below.values())))
        if () not in below:
            _grow(branch, below)


def _line(name: str, selected: int, total: int) -> Text:
    share = "all" if selected == total else f"{100 * selected / total:.3g} %"
    return Text.assemble((name, "bold"), f"  {selected:,} of {total:,}  ", (share, "dim"))
