"""Imports transformers' modelling code without what no run has a use for. Torch-free at import.

Four things that come with every model cost more processor time than the model's own code: scipy (for the losses of object detectors),
torch._dynamo (the compiler, wanted for a few decorators that mark what it must not trace), the tensors of torch.distributed, and the names
of all model families, which are gathered twice from more than a thousand files. While the code is first imported, scipy and
torch.distributed look absent, a stand-in answers for the compiler, and a folder is read once. What was imported so computes the same; it
lacks marks for a compiler that no run uses, and takes no model for one that transformers itself has spread over devices.

Another release of transformers may want more of the compiler than the stand-in has. Then its import fails here, unseen, and the code is
imported in the ordinary way by whoever needs it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

MODELLING = "transformers.modeling_utils"
FAMILY_NAMES = "transformers.utils.import_utils"
COMPILER, TRACING = "torch._dynamo", "torch._dynamo._trace_wrapped_higher_order_op"

F = TypeVar("F")


def import_model_code(*, distributed: bool = False) -> None:
    """Import what all model families share. Does nothing where it is imported already, and raises nothing.

    distributed: the model will lie on several devices, so that transformers must know of torch.distributed.
    """
    if MODELLING in sys.modules:
        return
    absent = ("is_scipy_available",) if distributed else ("is_scipy_available", "is_torch_distributed_available")
    with _folders_read_once(), _without_compiler(), contextlib.suppress(Exception):
        import torch  # noqa: F401  the compiler's stand-in is for those that import torch, not for torch itself

        with _looking_absent(absent):
            importlib.import_module(MODELLING)
            importlib.import_module("transformers.masking_utils")


@contextlib.contextmanager
def _looking_absent(questions: Sequence[str]) -> Iterator[None]:
    """Inside, transformers' own questions whether a library is there are answered no; code imported inside keeps that answer."""
    places = [importlib.import_module(name) for name in ("transformers.utils", FAMILY_NAMES)]
    known = [(place, name, getattr(place, name)) for place in places for name in questions]
    for place, name, _ in known:
        setattr(place, name, lambda: False)
    try:
        yield
    finally:
        for place, name, answer in known:
            setattr(place, name, answer)


@contextlib.contextmanager
def _without_compiler() -> Iterator[None]:
    """Inside, `torch._dynamo` has only what marks functions for it; afterwards whoever asks for it imports it."""
    if COMPILER in sys.modules:
        yield
        return
    compiler, tracing = ModuleType(COMPILER), ModuleType(TRACING)
    for mark in ("disable", "allow_in_graph", "assume_constant_result"):
        setattr(compiler, mark, _unmarked)
    tracing.TransformGetItemToIndex = _get_item_to_index  # type: ignore[attr-defined]
    sys.modules |= {COMPILER: compiler, TRACING: tracing}
    try:
        yield
    finally:
        for name, stand_in in ((COMPILER, compiler), (TRACING, tracing)):
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
        torch = sys.modules.get("torch")
        if torch is not None and vars(torch).get("_dynamo") is compiler:
            del torch._dynamo


def _unmarked(function: F | None = None, *args: Any, **options: Any) -> F | Callable[[F], F]:
    """A decorator, with or without arguments, that leaves a function as it is."""
    return function if function is not None else lambda inner: inner


def _get_item_to_index(*args: Any) -> Any:
    """The mode under which masks are built by vmap: imported, with the compiler, by the first model that needs it."""
    return importlib.import_module(TRACING).TransformGetItemToIndex(*args)


@contextlib.contextmanager
def _folders_read_once() -> Iterator[None]:
    """Inside, transformers reads the names of a folder's classes once."""
    if "transformers" in sys.modules:
        yield
        return
    finder = _FamilyNames()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        module = sys.modules.get(FAMILY_NAMES)
        if module is not None and finder.reads is not None:
            module.create_import_structure_from_path = finder.reads  # type: ignore[attr-defined]


class _FamilyNames(importlib.abc.MetaPathFinder):
    """Has the module that gathers the names remember what it has read, as soon as it is imported."""

    reads: Callable[[str], Any] | None = None

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name != FAMILY_NAMES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module
            loader.exec_module = lambda module: self._remembering(module, execute)
        return spec

    def _remembering(self, module: Any, execute: Callable[[ModuleType], None]) -> None:
        execute(module)
        self.reads = reads = module.create_import_structure_from_path
        known = functools.cache(reads)

        def read(path: str | os.PathLike[str]) -> Any:
            place = Path(path)
            return _copied(known(str(place.parent if place.is_file() else place)))

        module.create_import_structure_from_path = read


def _copied(names: Any) -> Any:
    return {key: _copied(inner) for key, inner in names.items()} if isinstance(names, dict) else set(names)
