"""Restricted sampling computes less and samples the same: against the whole model with a mask, and against the slow loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.models.restrictions.masks import create_param_masks
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains import checkpoint
from interp_tui_engine.samplers.chains.executor import Executor
from interp_tui_engine.samplers.chains.initial_loss import initial_loss, share_initial_loss
from interp_tui_engine.samplers.chains.microbatch import Microbatch
from interp_tui_engine.samplers.chains.run import ChainsSnapshot, Command, run_chains
from interp_tui_engine.samplers.chains.store import ObservableSpec, SampleStore, open_samples
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.parameters import ChainWeights
from interp_tui_engine.samplers.target.prefix_cache import PrefixCache, PrefixCut
from interp_tui_engine.samplers.target.problem import ModuleTarget, take
from interp_tui_engine.samplers.target.weight_slice import WeightSlice, weight_slice_of
from references.sgld_loop import sample_reference, token_losses
from references.tiny_architectures import LAYERS, VOCABULARY, tiny_model

BATCH = 4
SAME = dict(rtol=1e-5, atol=1e-6)
"""Sums of some hundred float32 numbers taken in another order differ by a few eps (1.2e-7) of their size."""
LLAMA = [
    "l0h1",
    "l1h3",
    "l1g0",
    "l1kv1",
    "l1 attn",
    "l1 mlp",
    "l1",
    "embed",
    "unembed",
    "model.norm.weight",
    ["l0h0", "l1h2"],
    ["l1h0", "l1h2"],
]
OTHERS = [
    *[("gpt2", "l1h2"), ("gpt_neox", "l1h2"), ("gpt_neox", "l1h0"), ("falcon", "l1h3"), ("qwen2", "l1h1"), ("phi3", "l1h1")],
    *[("gpt_oss", "l1h0"), ("mixtral", "l1h1"), ("gemma3n_text", "l1h0"), ("bart", "l1h1"), ("deepseek_v3", "l1h2"), ("jamba", "l1h1")],
    *[("mamba", "l1"), ("xlm", "l1h1"), ("cohere2", "l1 mlp"), ("bloom", "l1h1"), ("olmo2", "l1"), ("gemma4_text", "l1h1")],
]


def model_of(model_type: str, **settings: object) -> nn.Module:
    torch.manual_seed(3)
    if model_type == "llama":
        settings = {"tie_word_embeddings": False, **settings}
    return tiny_model(model_type, **settings).requires_grad_(False)


def rows_of(count: int, seed: int = 0) -> Tensor:
    return torch.randint(4, VOCABULARY, (count, 9), generator=torch.Generator().manual_seed(seed))


def whole_gradients(model: nn.Module, masks: Mapping[str, Tensor | None], ids: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses and the gradient of their mean for every restricted parameter as a whole, times the mask: autograd on the plain model."""
    leaves = dict(model.named_parameters())
    wanted = [leaves[name].requires_grad_(True) for name in masks]
    losses = token_losses(model, ids)
    found = torch.autograd.grad(losses.mean(), wanted)
    for leaf in wanted:
        leaf.requires_grad_(False)
    return losses.detach(), {n: g if m is None else g * m for (n, m), g in zip(masks.items(), found, strict=True)}


def check_against_the_whole_model(model: nn.Module, masks: Mapping[str, Tensor | None]) -> ModuleTarget:
    rows = rows_of(12)
    problem = ModuleTarget(model, rows, {"seen": (rows_of(8, 1), 1)}, BATCH, masks=masks)
    weights = ChainWeights(problem.space)
    loss = problem.bind(weights.leaves)
    with torch.no_grad():  # away from w0, so that nothing agrees because it was not looked at
        weights.load(weights.flat + 0.05 * torch.randn(weights.flat.shape, generator=torch.Generator().manual_seed(5)))
    moved = {name: p.detach().clone() for name, p in model.named_parameters()}
    slabs = problem._model._slabs
    for slot in problem.space.slots:
        part = weights.leaves[slot.name].detach()
        whole = (
            slabs[slot.name].put(moved[slot.name], part)
            if slot.name in slabs
            else torch.where(_of(masks, slot, moved), part, moved[slot.name])
        )
        dict(model.named_parameters())[slot.name].data.copy_(whole)
        if slot.name not in slabs:
            weights.leaves[slot.name].data.copy_(whole)
    index = torch.tensor([7, 2, 11, 5])
    weights.zero_gradients()
    losses = loss(problem.batch(index))
    losses.mean().backward()
    want, gradients = whole_gradients(model, masks, rows[index])
    np.testing.assert_allclose(losses.detach(), want, **SAME)
    scale = max(float(gradient.abs().max()) for gradient in gradients.values())  # that of a key's bias is 0, as softmax does not see it
    assert scale > 0
    for name, gradient in gradients.items():
        expected = slabs[name].take(gradient) if name in slabs else gradient
        got = weights.leaves[name].grad
        got = got if name in slabs or masks[name] is None else got * masks[name]
        np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=2e-5)
    observed = problem.observables[0]
    with torch.no_grad():
        np.testing.assert_allclose(loss(take(observed.data, slice(0, BATCH))), token_losses(model, observed.input_ids[:BATCH]), **SAME)
        np.testing.assert_allclose(problem.functional(weights.leaves, problem.prepared(problem.batch(index))), want, **SAME)
    return problem


def _of(masks: Mapping[str, Tensor | None], slot: object, like: Mapping[str, Tensor]) -> Tensor:
    mask = masks[slot.name]
    return torch.ones_like(like[slot.name], dtype=torch.bool) if mask is None else mask.bool()


@pytest.mark.parametrize("restriction", LLAMA, ids=str)
def test_losses_and_gradients_are_those_of_the_whole_model(restriction: str | list[str]) -> None:
    model = model_of("llama")
    masks = create_param_masks(model, restriction)
    problem = check_against_the_whole_model(model, masks)
    moving = sum(p.numel() if (m := masks[n]) is None else int(m.sum()) for n, p in model.named_parameters() if n in masks)
    assert problem.space.numel == moving == sum(s.stop - s.start for s in problem.space.slots), "nothing else is held, drawn or updated"


@pytest.mark.parametrize(("model_type", "restriction"), OTHERS)
def test_other_architectures(model_type: str, restriction: str) -> None:
    model = model_of(model_type)
    check_against_the_whole_model(model, create_param_masks(model, restriction))


class Calls:
    """The layers that compute while this is open, one entry a pass."""

    def __init__(self, model: nn.Module) -> None:
        self._block, self.layers = type(model.model.layers[0]), []

    def __enter__(self) -> list[int]:
        self._forward = forward = self._block.forward
        self._block.forward = lambda block, *a, **k: self.layers.append(block.self_attn.layer_idx) or forward(block, *a, **k)
        return self.layers

    def __exit__(self, *_: object) -> None:
        self._block.forward = self._forward


@pytest.mark.parametrize(
    ("restriction", "depth"), [("l0h1", None), ("l1h0", 1), ("l1", 1), (["l0h1", "l1h1"], None), ("embed", None), ("unembed", 2)], ids=str
)
def test_layers_below_the_restriction_are_not_computed_again(restriction: str | list[str], depth: int | None) -> None:
    model = model_of("llama")
    problem = ModuleTarget(model, rows_of(12), {"seen": (rows_of(8), 1)}, BATCH, masks=create_param_masks(model, restriction))
    assert (problem._model.cut and problem._model.cut.depth) == depth
    loss = problem.bind(ChainWeights(problem.space).leaves)
    seen = take(problem.observables[0].data, slice(0, BATCH))
    with Calls(model) as first:
        loss(problem.batch(torch.arange(BATCH))).sum().backward()
        loss(seen)
    assert sorted(first) == sorted(2 * list(range(LAYERS)))
    with Calls(model) as again:
        loss(problem.batch(torch.arange(BATCH))).sum().backward()
        loss(seen)
        problem.bind(ChainWeights(problem.space).leaves)(seen)
    assert sorted(again) == sorted(3 * list(range(depth or 0, LAYERS)))


def test_what_does_not_fit_in_the_budget_is_computed_each_time() -> None:
    model = model_of("llama")
    masks = create_param_masks(model, "l1h0")
    batch_bytes = BATCH * 8 * 32 * 4
    kept, tight = (
        ModuleTarget(model, rows_of(12), {}, BATCH, masks=masks, prefixes=PrefixCache(budget)) for budget in (10 * batch_bytes, batch_bytes)
    )
    loss = {p: p.bind(ChainWeights(p.space).leaves) for p in (kept, tight)}
    batches = [torch.arange(4), torch.arange(4, 8)]
    with Calls(model) as calls:
        losses = {p: [loss[p](p.batch(rows)) for rows in (*batches, *batches)] for p in (tight,)}
    assert calls.count(0) == 3, "the first batch is kept, the second computed each time"
    for rows, again, want in zip(batches, losses[tight][2:], losses[tight], strict=False):
        assert torch.equal(again, want) and torch.equal(want, loss[kept](kept.batch(rows)))


def test_restrictions_share_what_lies_below_them() -> None:
    model, shared, rows = model_of("llama", num_hidden_layers=3), PrefixCache(1 << 20), torch.arange(4)

    def losses(name: str, prefixes: PrefixCache) -> tuple[Tensor, list[int]]:
        problem = ModuleTarget(model, rows_of(12), {}, BATCH, masks=create_param_masks(model, name), prefixes=prefixes)
        loss = problem.bind(ChainWeights(problem.space).leaves)
        with Calls(model) as calls:
            return loss(problem.batch(rows)).detach(), calls

    assert losses("l1h0", shared)[1] == [0, 1, 2]
    assert losses("l1h1", shared)[1] == [1, 2]
    deeper, calls = losses("l2h0", shared)
    assert calls == [1, 2], "layer 2 goes on from what entered layer 1"
    assert losses("l2 mlp", shared)[1] == [2]
    assert torch.equal(deeper, losses("l2h0", PrefixCache(0))[0]), "what was kept shows in the numbers"


def test_chains_that_ask_at_once_compute_once() -> None:
    prefixes, rows, begun, made = PrefixCache(1 << 20), rows_of(4), threading.Barrier(4), []

    def compute(lower: PrefixCut | None, known: Tensor | None) -> Tensor:
        made.append(lower)
        time.sleep(0.05)
        return torch.ones(4, 2)

    def ask(_: int) -> Tensor:
        begun.wait()
        return prefixes.get(PrefixCut("blocks", 1), rows, compute)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert made == [None] and all(each is found[0] for each in found)


def test_a_batch_that_could_not_be_computed_is_tried_again() -> None:
    prefixes, rows = PrefixCache(1 << 20), rows_of(4)

    def fail(lower: PrefixCut | None, known: Tensor | None) -> Tensor:
        raise RuntimeError("not enough memory")

    with pytest.raises(RuntimeError):
        prefixes.get(PrefixCut("blocks", 1), rows, fail)
    assert prefixes.get(PrefixCut("blocks", 1), rows, lambda lower, known: torch.ones(4)).sum() == 4


def test_a_model_that_shares_keys_between_layers_is_not_cut() -> None:
    model = model_of("gemma4_text", num_hidden_layers=4, num_kv_shared_layers=2, layer_types=["sliding_attention", "full_attention"] * 2)
    masks = create_param_masks(model, "l3 mlp")
    assert check_against_the_whole_model(model, masks)._model.cut is None


@pytest.mark.parametrize(
    ("restriction", "method"), [("l1g1", "rmsprop_sgld"), (["l0h1", "l1 mlp"], "sgmcmc_sgld"), ("l1h2", "sgmcmc_sgld")], ids=str
)
def test_sampling_a_restriction_equals_the_slow_loop(restriction: str | list[str], method: str) -> None:
    model, rows, seen = model_of("llama"), rows_of(16), rows_of(4, 2)
    masks = create_param_masks(model, restriction)
    settings = dict(lr=1e-3, n_beta=20.0, localization=5.0, num_chains=2, num_draws=4, batch_size=BATCH, num_init_loss_batches=2)
    got = engine.sample(model, rows, {"o": (seen, 1)}, param_masks=masks, sampling_method=method, chains="serial", **settings)
    config = SamplerConfig(sampling_method=method, **settings)
    chosen = torch.as_tensor(got["input_ids_o"].values).long()
    init, micro, observed, _ = sample_reference(model.requires_grad_(True), rows, chosen, config, masks)
    close = dict(rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(got["init_loss"].values[0], init, **close)
    np.testing.assert_allclose(got["sampling_loss_micro"].values, micro.numpy(), **close)
    np.testing.assert_allclose(got["loss_o"].values, observed.numpy(), **close)
    assert np.ptp(observed.numpy().mean((0, 2, 3))) > 1e-4, "the chains do not move: the comparison says nothing"
    if restriction != "l1h2":
        return
    stacked = engine.sample(model, rows, {"o": (seen, 1)}, param_masks=masks, sampling_method=method, chains="vmap", **settings)
    np.testing.assert_allclose(stacked["loss_o"].values, observed.numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("executor", [Executor("serial", 1, 1, 1, 8), Executor("threads", 2, 1, 1, 8)], ids=["serial", "threads"])
def test_a_restricted_run_that_is_stopped_goes_on_with_the_same_numbers(tmp_path: Path, executor: Executor) -> None:
    model, rows = model_of("llama"), rows_of(16)
    config = SamplerConfig(lr=1e-3, n_beta=20.0, num_chains=2, num_draws=100, batch_size=BATCH, num_init_loss_batches=2)

    def run(name: str, stop_after: int | None) -> bool:
        problem = ModuleTarget(model, rows, {"o": (rows_of(8), 1)}, BATCH, masks=create_param_masks(model, "l1h2"))
        specs = tuple(ObservableSpec(o.name, o.rows, 1, o.input_ids.numpy()) for o in problem.observables)
        store, seen = SampleStore.create(tmp_path / name, config, problem.positions, specs, {}, problem.space.numel), [0]

        def report(snapshot: ChainsSnapshot) -> None:
            seen[0] = snapshot.steps_done

        return run_chains(
            problem,
            config,
            chains=range(2),
            store=store,
            executor=executor,
            checkpoint_dir=tmp_path / f"{name}.checkpoint",
            checkpoint_every=None,
            poll=lambda: Command.STOP if stop_after is not None and seen[0] >= stop_after else Command.GO,
            report=report,
            report_every=0.0,
            warn=lambda text: None,
        ).interrupted

    assert not run("whole", None)
    assert run("cut", 3)
    assert not run("cut", None)
    for name in ("sampling_loss_micro", "loss_o", "init_loss"):
        whole, cut = (open_samples(tmp_path / each)[name].values for each in ("whole", "cut"))
        assert np.array_equal(whole, cut), name


def test_parts_take_the_initial_loss_of_the_whole(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "full" / "init_loss.pt", {"init_loss": torch.arange(8, dtype=torch.float64)})
    model, rows = model_of("llama"), rows_of(16)
    config = SamplerConfig(lr=1e-3, n_beta=20.0, num_chains=1, num_draws=2, batch_size=BATCH, num_init_loss_batches=2)
    share_initial_loss(tmp_path / "full", tmp_path / "part")
    share_initial_loss(tmp_path / "nowhere", tmp_path / "other")
    problem = ModuleTarget(model, rows, {}, BATCH, masks=create_param_masks(model, "l1h2"))
    pieces, order = Microbatch(BATCH, lambda text: None), BatchOrder(16, config)
    taken = initial_loss(problem, order, Executor("serial", 1, 1, 1, 1), tmp_path / "part", pieces)
    assert taken.tolist() == list(range(8)) and not (tmp_path / "other").exists()


def test_a_store_of_another_model_is_not_taken_for_this_one(tmp_path: Path) -> None:
    model, rows = model_of("llama"), rows_of(16)
    settings = dict(lr=1e-4, n_beta=1.0, num_chains=1, num_draws=2, batch_size=BATCH, num_init_loss_batches=1, chains="serial")
    masks = create_param_masks(model, "l1h0")
    engine.sample(model, rows, {}, param_masks=masks, output_path=tmp_path / "s.zarr", **settings)
    engine.sample(model, rows, {}, param_masks=masks, output_path=tmp_path / "s.zarr", **settings)
    model.model.layers[0].mlp.up_proj.weight.data.mul_(1.5)  # outside the restriction
    with pytest.raises(UserError, match="holds other samples"):
        engine.sample(model, rows, {}, param_masks=masks, output_path=tmp_path / "s.zarr", **settings)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2), st.data())
def test_slabs_are_found_where_masks_are_slabs(shape: list[int], axis: int, data: st.DataObject) -> None:
    axis %= len(shape)
    keep = torch.tensor(data.draw(st.lists(st.booleans(), min_size=shape[axis], max_size=shape[axis])))
    mask = keep.view([-1 if a == axis else 1 for a in range(len(shape))]).expand(shape)
    slab = weight_slice_of(mask)
    if bool(keep.all()) or not bool(keep.any()):
        assert slab is None
        return
    full = torch.randn(shape)
    part = slab.take(full)
    assert part.numel() == int(mask.sum()) and torch.equal(slab.put(torch.zeros(shape), part), full * mask)
    assert weight_slice_of(mask.float()) is not None and weight_slice_of(mask * 0.5) is None


def test_a_mask_of_single_elements_is_no_slab() -> None:
    assert weight_slice_of(torch.eye(3)) is None
    assert WeightSlice(0, torch.tensor([1, 2])).stretch == (1, 2) and WeightSlice(0, torch.tensor([0, 2])).stretch is None
