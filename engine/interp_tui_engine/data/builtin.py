"""Text that is on every machine: the facts table, and the docstrings and source of Python's own standard library.

Files are read and parsed, never imported. The order is that of the sorted paths, so two machines with the same Python see the same text.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import os
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from interp_tui_engine.data.facts import sentences

Split = Literal["train", "heldout"]

SPLITS: tuple[Split, ...] = ("train", "heldout")

# Parts that some distributions leave out, that are tables rather than text, or that belong to somebody else.
_SKIPPED = frozenset(
    [
        "site-packages",
        "dist-packages",
        "test",
        "tests",
        "encodings",
        "idlelib",
        "distutils",
        "lib2to3",
        "pydoc_data",
        "tkinter",
        "turtledemo",
        "ensurepip",
        "__phello__",
    ]
)
_HELDOUT_SHARE = 0.1
_SHORTEST_DOCSTRING = 60


def is_heldout(module: str) -> bool:
    """Whether the module at this path inside the standard library is kept out of the training of `builtin:tiny`."""
    digest = hashlib.sha256(module.encode()).digest()
    return int.from_bytes(digest[:4], "big") < _HELDOUT_SHARE * 2**32


def stdlib_files(split: Split) -> Iterator[Path]:
    """The standard library's modules of this split, by sorted path."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in _modules(root):
        if path.parts[len(root.parts)].startswith("config-"):
            continue
        if is_heldout(path.relative_to(root).as_posix()) == (split == "heldout"):
            yield path


def _modules(folder: Path) -> Iterator[Path]:
    """Python files below a folder in the order of their paths' parts; folders to skip are not entered.

    site-packages may hold most of all files, and a reader of a few documents must not wait for the names of the rest.
    """
    with os.scandir(folder) as entries:
        known = sorted(entries, key=lambda entry: entry.name)
    for entry in known:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in _SKIPPED:
                yield from _modules(Path(entry.path))
        elif entry.name.endswith(".py"):
            yield Path(entry.path)


def code(split: Split) -> Iterator[str]:
    """One document a module: its source."""
    for path in stdlib_files(split):
        if text := _read(path):
            yield text


def prose(split: Split) -> Iterator[str]:
    """One document a docstring, in the order they stand in; those of a few words are left out."""
    for text in code(split):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
                if len(docstring) >= _SHORTEST_DOCSTRING:
                    yield docstring


def fact_sentences(split: Split) -> Iterator[str]:
    """One document a sentence. Facts cannot be guessed, so none are held out: both splits hold them all."""
    del split
    yield from sentences()


BUILTIN: dict[str, Callable[[Split], Iterator[str]]] = {"facts": fact_sentences, "prose": prose, "code": code}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return ""
