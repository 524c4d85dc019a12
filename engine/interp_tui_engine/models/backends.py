"""Who runs the forward pass of a loaded model: one backend a file (`backend_NAME`), with `drive(model) -> LoadedModel`.

A backend is an extra: its package is imported when a model is loaded with it, and a missing one is an error that says what to install.
"""

from __future__ import annotations

import importlib

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.loaded import LoadedModel

EXTRAS = {"transformer_lens": "transformer-lens", "nnsight": "nnsight"}
"""The extra of pyproject.toml that brings each backend's package."""


def need(backend: str) -> None:
    """Raise UserError, with what to install, unless the backend's package is here."""
    try:
        importlib.import_module(backend)
    except ImportError as error:
        message = f"backend {backend!r} needs the package {EXTRAS[backend]}"
        if not isinstance(error, ModuleNotFoundError) or error.name != backend:
            message += f", which is here but cannot be imported ({error})"
        raise UserError(message, f"pip install 'interp-tui[{EXTRAS[backend]}]', or use backend = 'transformers'") from None


def drive(backend: str, model: LoadedModel) -> LoadedModel:
    """`model`, its forward passes run by `backend`. Raises UserError for an architecture that the backend does not know."""
    driven: LoadedModel = importlib.import_module(f".backend_{backend}", __package__).drive(model)
    return driven
