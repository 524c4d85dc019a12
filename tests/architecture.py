"""Files, median lines, imports between folders and circles, as they stand. `python tests/architecture.py` fails on a circle.

A folder is a package below one of the two source roots; the modules that lie directly in a root's package are its contract and count as
one folder. Imports of every kind count, also those inside functions and under TYPE_CHECKING: a reader has to follow them too.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"interp_tui_engine": ROOT / "engine", "interp_tui": ROOT / "tui"}
TOP = {"worker", "supervisor", "api", "cli", "app", "__main__"}
"""Modules that stand above the rooms: what starts a process, and the Python interface."""

Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Every module of the two source roots, by its dotted name."""
    found = {}
    for package, root in SOURCES.items():
        for path in sorted((root / package).rglob("*.py")):
            parts = list(path.relative_to(root).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of this project that a module imports, wherever in it the import stands."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                target = f"{base}.{alias.name}"
                if (target if target in known else base) in known and (target in known or base != package):
                    yield target if target in known else base


def folder_of(name: str, path: Path) -> str:
    """The folder a module lies in; modules that start a process stand alone, the rest of a root's own modules are its contract."""
    parts = name.split(".")
    if path.name == "__init__.py":
        return name if len(parts) > 1 else f"{name} (package)"
    if len(parts) == 2:
        return name if parts[1] in TOP else f"{parts[0]} (contract)"
    return ".".join(parts[:-1])


def graphs() -> tuple[dict[str, Path], dict[str, set[str]], dict[str, set[str]]]:
    """The modules, the imports between them, and the imports between folders."""
    known = modules()
    files: dict[str, set[str]] = {name: set(imports(name, path, known)) - {name} for name, path in known.items()}
    folders: dict[str, set[str]] = defaultdict(set)
    for name, targets in files.items():
        here = folder_of(name, known[name])
        folders[here] |= {there for target in targets if (there := folder_of(target, known[target])) != here}
    return known, files, dict(folders)


def circles(graph: Graph) -> list[list[str]]:
    """The strongly connected parts of a graph that hold more than one node (Tarjan 1972), largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            at = stack.index(node)
            part, stack[at:] = stack[at:], []
            if len(part) > 1:
                found.append(sorted(part))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(found, key=len, reverse=True)


def arrows(graph: Graph, part: Iterable[str]) -> list[str]:
    """The arrows inside a circle, for whoever has to cut it."""
    nodes = set(part)
    return [f"{node} -> {target}" for node in sorted(nodes) for target in sorted(graph[node] & nodes)]


def main() -> int:
    """Print what stands; 1 if files or folders import each other in a circle."""
    known, files, folders = graphs()
    lengths = [len(path.read_text("utf-8").splitlines()) for path in known.values()]
    print(f"{len(known)} files, median {median(lengths):.0f} lines, {sum(length > 300 for length in lengths)} over 300")
    print(f"{len(folders)} folders, {sum(map(len, folders.values()))} imports between them")
    between_files, between_folders = circles(files), circles(folders)
    print(f"{len(between_files)} circles between files, {len(between_folders)} between folders")
    for part in between_files:
        print(f"  files: {', '.join(part)}")
    for part in between_folders:
        print(f"  folders: {', '.join(part)}")
        for arrow in arrows(folders, part):
            source, target = arrow.split(" -> ")
            because = [
                f"{name} -> {imported}"
                for name, targets in files.items()
                if folder_of(name, known[name]) == source
                for imported in sorted(targets)
                if folder_of(imported, known[imported]) == target
            ]
            print(f"    {arrow}: {'; '.join(because[:4])}{' …' if len(because) > 4 else ''}")
    return 1 if between_files or between_folders else 0


if __name__ == "__main__":
    sys.exit(main())
