"""A small request of every kind: its example, cut until it takes seconds."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from interp_tui_engine import catalog

SMALL: dict[str, Any] = {
    "num_chains": 2, "num_draws": 8, "num_burnin_steps": 2, "num_steps_bw_draws": 1, "batch_size": 4, "num_init_loss_batches": 2,
    "resamples": 20, "permutations": 10, "shuffles": 5, "draws": 20, "most_prompts": 4, "latents": 64, "tokens": 20_000, "buffer": 4096,
    "fit_steps": 5, "folds": 2, "top": 2, "plain_rows": 2, "noise_samples": 2, "sample": 8, "exact": 2, "edges": 10,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "certify": {"cases": [{"family": "quadratic", "curvatures": [1.0], "n_beta": 10.0, "lr": 0.01}]},
    "development": {"revisions": ["step-0", "final"]},
    "calibrate": {"lr": [1e-4], "n_beta": [300.0], "num_draws": 12},
    "susceptibilities": {"restrictions": ["l0h0"]},
    "circuit": {"threshold": 0.2},
    "path_patch": {"nodes": ["L1.mlp", "L2.mlp"]},
    "steer_text": {"strengths": [1.0]},
    "interventions": {"targets": ["L2:D95"]},
    "train_sae": {"k": 8, "tokens": 20_000, "latents": 64, "buffer": 4096},
}


def kinds() -> list[str]:
    """All kinds, pipelines too."""
    return sorted(kind.name for kind in catalog.kinds())


def small(name: str) -> dict[str, Any]:
    """The tables of a request of this kind that runs for seconds on the embedded model."""
    kind = catalog.get(name)
    tables: dict[str, Any] = {"kind": name, **deepcopy(dict(kind.example))}
    fields = kind.params.model_fields
    params = tables.setdefault("params", {})
    params |= {key: value for key, value in SMALL.items() if key in fields and (key in params or key not in ("tokens", "top", "latents"))}
    params |= OWN.get(name, {})
    for spec in tables.get("data", {}).values():
        spec |= {"rows": min(spec.get("rows", 32), 256 if name == "train_sae" else 16), "context": 16}
    if "observables" in params:
        params["observables"] = dict.fromkeys(params["observables"], 1)
    if "model" in tables:
        tables["model"] = {**tables["model"], "device": "cpu"}
    return tables
