"""Models in other libraries' wrappers, handed over as they are: the same numbers as the module inside, or one sentence."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import interp_tui_engine as engine
from interp_tui_engine import manifest
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.models.backend_nnsight import NnsightModule
from interp_tui_engine.models.given import module_of
from interp_tui_engine.models.restrictions.wrapped_names import own_name
from interp_tui_engine.models.skeleton import load_skeleton

IDS = torch.randint(1, 2000, (8, 9), generator=torch.Generator().manual_seed(1))
SETTINGS: dict[str, Any] = {"lr": 1e-5, "n_beta": 10.0, "num_chains": 1, "num_draws": 2, "batch_size": 4, "num_init_loss_batches": 1}
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def loaded() -> Any:
    return engine.load_model("builtin:tiny", revision="final", device="cpu")


class Wrapped:
    """A stand-in for nnsight's model: no module itself, and holding one."""

    def __init__(self, module: Any) -> None:
        self._module = module


Wrapped.__module__ = "nnsight.modeling.language"

WRAPPERS: dict[str, Any] = {
    "LoadedModel": lambda loaded: loaded,
    "torch.compile": lambda loaded: torch.compile(loaded.module),
    "DataParallel": lambda loaded: nn.DataParallel(loaded.module),
    "nnsight": lambda loaded: Wrapped(loaded.module),
    "compiled twice over": lambda loaded: torch.compile(nn.DataParallel(loaded.module)),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_module_inside_is_found(loaded: Any, wrapper: str) -> None:
    assert module_of(WRAPPERS[wrapper](loaded)) is loaded.module


@pytest.mark.parametrize("wrapper", ["LoadedModel", "torch.compile"])
def test_numbers_are_those_of_the_module(loaded: Any, wrapper: str) -> None:
    given = WRAPPERS[wrapper](loaded)
    masks = engine.create_param_masks(given, "l3h1")
    assert set(masks) == set(engine.create_param_masks(loaded.module, "l3h1"))
    ours, theirs = (engine.sample(m, IDS, {"x": (IDS, 1)}, param_masks=masks, **SETTINGS) for m in (loaded.module, given))
    np.testing.assert_array_equal(ours["loss_x"].values, theirs["loss_x"].values)
    lenses = [engine.logit_lens(m, PROMPT, " Paris", tokenizer=loaded.tokenizer) for m in (loaded.module, given)]
    assert torch.equal(lenses[0].answer_prob, lenses[1].answer_prob)
    seen = engine.ActivationCache(given, loaded.tokenizer).run(PROMPT)
    assert torch.equal(seen.residual_stream(layer=2), engine.ActivationCache(loaded).run(PROMPT).residual_stream(layer=2))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("builtin:tiny", TypeError, "the model is a str"),
        (None, TypeError, "the model is a NoneType"),
        (Wrapped(None), TypeError, "the model is a Wrapped"),
    ],
)
def test_what_holds_no_model_is_refused_in_a_sentence(given: Any, error: type[Exception], said: str) -> None:
    for call in (
        lambda: engine.sample(given, IDS, {}, **SETTINGS),
        lambda: engine.create_param_masks(given, "l0h1"),
        lambda: engine.ActivationCache(given),
        lambda: engine.causal_trace(given, clean=PROMPT, corrupt=PROMPT, answer=" Paris"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            call()
        assert isinstance(caught.value, error) or not isinstance(caught.value, (TypeError, ValueError))


def test_weights_that_are_not_loaded_cannot_be_computed_with_but_have_parts() -> None:
    given = Wrapped(load_skeleton("builtin:tiny", None))
    for call in (lambda: engine.sample(given, IDS, {}, **SETTINGS), lambda: engine.ActivationCache(given)):
        with pytest.raises(UserError, match=r"not loaded.*\n.*dispatch=True"):
            call()
    assert any(mask is not None for mask in engine.create_param_masks(given, "l0h1").values())


class Around(nn.Module):
    """What another library puts in a layer's place: the layer inside, under its own name for it, and what it adds."""

    def __init__(self, layer: Any, inside: str, added: dict[str, nn.Module]) -> None:
        super().__init__()
        self.add_module(inside, layer)
        for name, module in added.items():
            self.add_module(name, module)


def surrounded(inside: str, adapters: bool) -> Any:
    """A model whose projections are each inside a module of another library's."""
    module = copy.deepcopy(engine.load_model("builtin:tiny", revision="final", device="cpu").module)
    for layer in module.model.layers:
        for parent, name in ((layer.self_attn, "q_proj"), (layer.self_attn, "o_proj"), (layer.mlp, "down_proj")):
            added = {"lora_A": nn.ModuleDict({"default": nn.Linear(4, 2, bias=False)})} if adapters else {}
            setattr(parent, name, Around(getattr(parent, name), inside, added))
    return module


@pytest.mark.parametrize("inside", ["_original_component", "base_layer", "_orig_mod"])
@pytest.mark.parametrize("part", ["l2h1", "l2 attn", "l1 mlp", "l3g1", "embed"])
def test_parts_are_found_inside_what_other_libraries_put_around_them(loaded: Any, inside: str, part: str) -> None:
    """A TransformerBridge, a PEFT model, a model compiled layer by layer: without this, a head had no queries and no outputs."""
    given = surrounded(inside, adapters=False)
    masks, plain = engine.create_param_masks(given, part), engine.create_param_masks(loaded.module, part)
    assert set(masks) <= {name for name, _ in given.named_parameters()}
    by_own_name = {own_name(name): mask for name, mask in masks.items()}
    assert set(by_own_name) == set(plain)
    for name, mask in plain.items():
        assert by_own_name[name] is mask is None or torch.equal(by_own_name[name], mask)


def test_adapters_belong_to_a_layer_and_to_no_head() -> None:
    given = surrounded("base_layer", adapters=True)
    with pytest.warns(UserWarning, match="12 matrices of adapters, such as .*lora_A"):
        assert not any("lora_A" in name for name in engine.create_param_masks(given, "l2h1"))
    assert sum("lora_A" in name for name in engine.create_param_masks(given, "l2 attn")) == 2
    name = "model.layers.2.self_attn.q_proj.base_layer.weight"
    assert list(engine.create_param_masks(given, [name, "l2h1"])) and engine.create_param_masks(given, name) == {name: None}
    assert engine.create_param_masks(given, "model.layers.2.self_attn.q_proj.weight") == {name: None}


def test_nnsights_back_end_is_taken_for_the_model_inside(loaded: Any) -> None:
    """Copies of a traced model cannot be run, and chains compute with copies."""
    assert module_of(replace(loaded, module=NnsightModule(loaded.module, object()))) is loaded.module


def test_a_module_of_ones_own_is_sampled_and_cannot_be_looked_into() -> None:
    bare = nn.Sequential(nn.Embedding(2000, 4), nn.Linear(4, 2000))
    assert np.isfinite(engine.sample(bare, IDS, {"x": (IDS, 1)}, **SETTINGS)["loss_x"].values).all()
    for call in (
        lambda: engine.ActivationCache(bare),
        lambda: engine.logit_lens(bare, PROMPT),
        lambda: engine.create_param_masks(bare, "l0"),
    ):
        with pytest.raises(UserError, match=r"cannot be looked into|layout of a module without a configuration is not known"):
            call()


@pytest.mark.parametrize("kind", ["sample", "llc", "bif", "susceptibilities", "calibrate", "development"])
@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_sampling_under_another_back_end_is_refused_before_it_starts(kind: str, backend: str) -> None:
    params: dict[str, Any] = {"lr": 1e-4, "n_beta": 1.0, "batch_size": 4, "observables": {"train": 1, "code": 1}}
    own: dict[str, dict[str, Any]] = {
        "susceptibilities": {"restrictions": ["l0h1"]},
        "development": {"revisions": ["step-100", "final"]},
        "calibrate": {"lr": [1e-4], "n_beta": [1.0], "observables": None},
    }
    data = {name: {"source": f"builtin:{source}", "context": 8, "rows": 32} for name, source in (("train", "prose"), ("code", "code"))}
    tables = {"kind": kind, "model": {"source": "builtin:tiny", "backend": backend}, "data": data}
    given = {key: value for key, value in {**params, **own.get(kind, {})}.items() if value is not None}
    with pytest.raises(ManifestError, match=rf"model\.backend.*'{backend}' cannot be sampled"):
        manifest.resolve({**tables, "params": given})
