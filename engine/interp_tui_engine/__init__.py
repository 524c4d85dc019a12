"""The engine of interp-tui. Names load on first use, so that importing the package costs nothing and loads no torch.

import interp_tui_engine as engine
model = engine.load_model("builtin:tiny")
result = engine.llc(model.module, dataset, {"train": dataset}, lr=1e-4, n_beta=30)
"""

from __future__ import annotations

from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

_HOMES = {
    "sample": "api.sampling",
    "sample_function": "api.sampling",
    "sample_single_chain": "api.single_chain",
    "open_samples": "api.rows",
    "llc": "api.sampling",
    "run": "api.sampling",
    "bif": "api.analyses",
    "inspect": "api.discover",
    "match": "api.discover",
    "compare": "api.discover",
    "susceptibilities": "api.analyses",
    "train_sae": "api.sae_training",
    "compute_bif": "estimators.bif",
    "compute_llc": "estimators.llc",
    "compute_susceptibilities": "estimators.susceptibilities",
    "SamplerConfig": "samplers.settings",
    "load_model": "models.load",
    "create_param_masks": "models.restrictions.masks",
    "preview_weight_restriction": "models.restrictions.masks",
    "load_rows": "data.rows",
    "tokenize_and_concatenate": "data.concatenated",
    "default_nbeta": "samplers.inverse_temperature",
    "DataSpec": "specs",
    "ActivationCache": "sites.cache",
    "CircuitFinder": "circuits.finder",
    "LinearProbe": "probes.linear",
    "activation_patch": "api.one_pass",
    "causal_trace": "api.one_pass",
    "logit_lens": "api.one_pass",
    "tuned_lens": "api.one_pass",
    "plot_attention": "figures.plots",
    "plot_circuit": "figures.plots",
}

__all__ = [
    "ActivationCache",
    "CircuitFinder",
    "DataSpec",
    "LinearProbe",
    "SamplerConfig",
    "activation_patch",
    "bif",
    "causal_trace",
    "compare",
    "compute_bif",
    "compute_llc",
    "compute_susceptibilities",
    "create_param_masks",
    "default_nbeta",
    "inspect",
    "llc",
    "load_model",
    "load_rows",
    "logit_lens",
    "match",
    "open_samples",
    "plot_attention",
    "plot_circuit",
    "preview_weight_restriction",
    "run",
    "sample",
    "sample_function",
    "sample_single_chain",
    "susceptibilities",
    "tokenize_and_concatenate",
    "train_sae",
    "tuned_lens",
]

if TYPE_CHECKING:
    from .api.analyses import bif, susceptibilities
    from .api.discover import compare, inspect, match
    from .api.one_pass import activation_patch, causal_trace, logit_lens, tuned_lens
    from .api.rows import open_samples
    from .api.sae_training import train_sae
    from .api.sampling import llc, run, sample, sample_function
    from .api.single_chain import sample_single_chain
    from .circuits.finder import CircuitFinder
    from .data.concatenated import tokenize_and_concatenate
    from .data.rows import load_rows
    from .estimators.bif import compute_bif
    from .estimators.llc import compute_llc
    from .estimators.susceptibilities import compute_susceptibilities
    from .figures.plots import plot_attention, plot_circuit
    from .models.load import load_model
    from .models.restrictions.masks import create_param_masks, preview_weight_restriction
    from .probes.linear import LinearProbe
    from .samplers.inverse_temperature import default_nbeta
    from .samplers.settings import SamplerConfig
    from .sites.cache import ActivationCache
    from .specs import DataSpec


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    if isinstance(value, FunctionType):
        value = import_module(".api.builtin_errors", __name__).with_builtin_errors(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
