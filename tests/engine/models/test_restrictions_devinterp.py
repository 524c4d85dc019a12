"""What devinterp 2.0.1 selects of its own model types, recorded, beside what is selected here: the same, but for the peer's faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from interp_tui_engine.errors import UserError
from interp_tui_engine.models.restrictions.masks import create_param_masks
from references.devinterp_restrictions import ERROR, FAULTS, RESTRICTIONS, digest_of, fault_of, parameters_digest
from references.tiny_architectures import tiny_model

RECORDED: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "recorded/devinterp_restrictions.json").read_text())


@pytest.mark.filterwarnings("ignore:'embed' selects", "ignore:'unembed' selects")
@pytest.mark.parametrize("model_type", RECORDED)
def test_the_same_is_selected_but_for_the_peers_faults(model_type: str) -> None:
    """Both ways: what differs is a fault that is listed with its reason, and what is listed still differs."""
    model, recorded = tiny_model(model_type), RECORDED[model_type]
    if parameters_digest(model) != recorded["parameters"]:
        pytest.skip("this release of transformers gives the parameters other names or shapes than the one it was recorded with")
    for restriction in RESTRICTIONS:
        try:
            ours = digest_of(model, create_param_masks(model, restriction))
        except UserError:
            ours = ERROR
        fault = fault_of(model_type, restriction)
        assert (ours == recorded[restriction]) == (fault is None), f"{restriction}: {fault.why if fault else 'selects otherwise'}"


def test_every_fault_names_types_and_restrictions_that_are_compared() -> None:
    for fault in FAULTS:
        assert set(fault.restrictions) <= set(RESTRICTIONS) and set(fault.model_types) <= set(RECORDED), fault.why
    pairs = [(t, r) for fault in FAULTS for t in fault.model_types for r in fault.restrictions]
    assert len(pairs) == len(set(pairs)), "a difference has one reason"
    assert len(RECORDED) == 93 and len(pairs) < 0.15 * len(RECORDED) * len(RESTRICTIONS)


@pytest.mark.parametrize("model_type", ["opt", "bert", "ctrl", "xlm"])
def test_a_key_bias_that_is_left_out_changes_nothing(model_type: str) -> None:
    """And the one that RoFormer turns by position does."""
    for kind, idle in ((model_type, True), ("roformer", False)):
        torch.manual_seed(0)
        model = tiny_model(kind).eval()
        left_out = set(create_param_masks(model, "l0h1 own")) - set(create_param_masks(model, "l0h1"))
        names = left_out or {name for name in create_param_masks(model, "l0h1") if name.endswith("key.bias")}
        assert len(names) == 1 and bool(left_out) == idle
        bias, ids = dict(model.named_parameters())[names.pop()], torch.tensor([[5, 11, 3, 29, 17, 8]])
        with torch.no_grad():
            before = model(ids)[0]
            bias.add_(torch.randn(bias.shape))
            away = float((model(ids)[0] - before).abs().max() / before.abs().max())
        assert (away < 1e-5) == idle, away
