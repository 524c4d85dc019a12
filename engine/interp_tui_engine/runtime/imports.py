"""Imports what is needed later beside the work that goes on. Torch-free."""

from __future__ import annotations

import contextlib
import importlib
import threading


def ahead(*modules: str) -> None:
    """Import what will be needed later, on a thread beside the work that goes on. An error there is left to whoever needs the module."""

    def load() -> None:
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    threading.Thread(target=load, name="imports", daemon=True).start()
