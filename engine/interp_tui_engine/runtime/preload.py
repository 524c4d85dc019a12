"""What a spare worker imports before it is given a run: libraries and our own code. It touches no device, computes nothing."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

from .. import catalog
from .model_code import import_model_code

LIBRARIES = (
    "torch",
    "safetensors.torch",
    "transformers.models.llama.modeling_llama",
    "transformers.tokenization_utils_tokenizers",
    "zarr",
    "xarray",
    "arviz_stats.base",
)
OURS = ("models.load", "models.builtin", "data.rows", "data.builtin", "sites.verify", "experiments._sampling.run", "runtime.open_model")
ROOT = "interp_tui_engine"


def preload(kind: str) -> None:
    """Import what a run of the kind needs. What cannot be imported is left to the run that needs it, which says so."""
    import_model_code()
    for name in (*LIBRARIES, *(f"{ROOT}.{module}" for module in OURS), *_modules_of(kind)):
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _modules_of(kind: str) -> list[str]:
    """The kind's own modules, if there is such a kind."""
    if kind not in catalog.kind_names():
        return []
    name = f"{ROOT}.experiments.{kind}"
    package = importlib.import_module(name)
    inner = pkgutil.iter_modules(package.__path__) if hasattr(package, "__path__") else ()
    return [name, *(f"{name}.{module.name}" for module in inner)]
