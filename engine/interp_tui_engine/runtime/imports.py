"""When heavy libraries are imported: not before they are needed, and those that a run has no use for not at all. Torch-free."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_scipy() -> Iterator[None]:
    """Inside, transformers' modelling code is imported as if there were no scipy.

    It needs it for the losses of object detectors, which it imports with every model: half a second of processor time for nothing. Those
    losses then lack it, in this process; where the code is imported already, nothing is changed.
    """
    if "transformers.modeling_utils" in sys.modules:
        yield
        return
    utils: Any = importlib.import_module("transformers.utils")
    known = utils.is_scipy_available
    utils.is_scipy_available = lambda: False
    try:
        yield
    finally:
        utils.is_scipy_available = known


def ahead(*modules: str) -> None:
    """Import what will be needed later, on a thread beside the work that goes on. An error there is left to whoever needs the module."""

    def load() -> None:
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    threading.Thread(target=load, name="imports", daemon=True).start()
