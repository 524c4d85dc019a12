"""Every kind's small run on a simulated GPU: nothing mixes devices, and what it launches and waits for keeps within a budget.

The table of BUDGETS stands in tests/bench/RESULTS.md. A number here may fall; raising one needs a reason. A wait is the host standing still
until the device has done all that it was asked: a read-back, a blocking copy, a size that it must know. A kind that is added must be here.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from in_process import run_manifest
from interp_tui_engine import catalog, manifest
from interp_tui_engine.features.attribution import Feature, PromptBatch, exact, weights
from interp_tui_engine.sites.dissect import site_map_of
from references.tiny_families import some_ids, tiny_family
from simulated_gpu import COUNTS, GpuTensor, models_on_the_gpu, simulated_gpu, to_gpu
from torture.requests import small

BUDGETS: dict[str, tuple[int, int]] = {  # launches and waits; 7 of these are the check that every model gets
    "activation_patch": (1404, 42),
    "activations": (1004, 8),
    "attention": (1563, 24),
    "attribution_patch": (1926, 44),
    "causal_trace": (2030, 59),
    "circuit": (3983, 78),
    "contrast": (5773, 138),
    "interventions": (3376, 72),
    "logit_lens": (609, 12),
    "path_patch": (1663, 59),
    "probe": (587, 20),
    "records": (595, 13),
    "steer": (6418, 101),
    "steer_text": (3845, 113),
    "train_sae": (4542, 220),  # reports and checkpoints follow the clock, and read back
}
SAMPLING = "its step is held by samplers/test_launches.py, test_chains_on_a_gpu.py and test_static_step.py"
ELSEWHERE = {
    **dict.fromkeys(["bif", "calibrate", "development", "llc", "sample", "susceptibilities"], SAMPLING),
    "attribution_graph": "its small request runs no model; its passes are below",
    "certify": "computes on the CPU",
    "inspect": "runs a model by what `records` does",
    "match": "has no model",
    "pipeline": "its steps are runs of their own",
}
FEWER: dict[str, Any] = {"draws": 2, "permutations": 2, "plain_rows": 1}
OWN: dict[str, dict[str, Any]] = {
    "train_sae": {"tokens": 2_000, "batch_size": 200, "buffer": 1_024},
    "contrast": {"draws": 3, "strengths": [1.0], "plain_rows": 1, "batch_size": 64},
    "interventions": {"batch_size": 64},
    "steer": {"strengths": [1.0, 2.0], "draws": 3, "batch_size": 64},
    "probe": {"permutations": 0},
}


def request(kind: str) -> manifest.Manifest:
    tables = small(kind)
    tables["params"] |= {key: value for key, value in FEWER.items() if key in tables["params"]}
    tables["params"] |= OWN.get(kind, {})
    return manifest.resolve(tables)


def test_every_kind_is_here() -> None:
    assert BUDGETS.keys() | ELSEWHERE.keys() == {kind.name for kind in catalog.kinds()}


@pytest.mark.parametrize("kind", BUDGETS)
def test_a_kind_keeps_its_budget_of_launches_and_waits(kind: str, tmp_path: Path) -> None:
    with simulated_gpu() as counts, models_on_the_gpu():
        assert run_manifest(request(kind), tmp_path / "run") is not None
        launches, waits = BUDGETS[kind]
        assert sum(counts.waits.values()) <= waits, counts.waits.most_common(12)
        assert sum(counts.launches.values()) <= launches, counts.launches.most_common(12)


def test_an_attribution_graphs_passes_have_the_cpus_numbers_and_wait_once_a_target() -> None:
    module, ids = tiny_family("llama"), some_ids(3, 6)

    def passes(place: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
        site_map = site_map_of(module if place is None else to_gpu(copy.deepcopy(module)))
        here = place or (lambda values: values)
        draw = torch.Generator().manual_seed(0)
        directions = [here(torch.randn(site_map.d_model, generator=draw)) for _ in range(4)]
        features = [Feature(at // 2, lambda x, d=d: x.float() @ d, d, 0.1) for at, d in enumerate(directions)]  # type: ignore[misc]
        prompts = PromptBatch(here(ids), here(torch.tensor([5, 3, 4])), lambda logits: logits[:, 7] - logits[:, 9])
        return list(weights(site_map, features, prompts, 0, 0.5)), exact(site_map, features, prompts, 1)

    here, without = passes(None)
    with simulated_gpu():
        there, taken = passes(GpuTensor)
        read_back = sum(count for what, count in COUNTS.waits.items() if "features/attribution.py" in what and "CPU" in what)
    for mine, want in zip([*there, taken], [*here, without], strict=True):
        torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-5)
    assert read_back <= len(here) + 1, COUNTS.waits
