"""Parameters large enough to be updated within the backward pass, and a tied embedding's one gradient."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sampler_models import config
from transformers import LlamaConfig, LlamaForCausalLM

from interp_tui_engine.errors import RunFailed
from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chain import Chain
from interp_tui_engine.samplers.language_model import plain_losses
from interp_tui_engine.samplers.noise import BLOCK
from interp_tui_engine.samplers.pieces import Pieces
from interp_tui_engine.samplers.problem import ModuleProblem
from interp_tui_engine.samplers.record import ChainRecord

WIDTH, VOCABULARY = 64, BLOCK // 64 + 20


def llama(*, tied: bool = True, padding: int | None = None) -> LlamaForCausalLM:
    """Embedding and MLP matrices of more than one block each, attention's of less."""
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=BLOCK // WIDTH + 8, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=tied, pad_token_id=padding, use_cache=False,
    )  # fmt: skip
    return LlamaForCausalLM(shape).eval()


def rows() -> torch.Tensor:
    return torch.randint(0, 40, (16, 9), generator=torch.Generator().manual_seed(3))


def chain_after(steps: int, *, eager: bool, threads: int = 1, pieces: int = 1, **changes: object) -> Chain:
    c = config(num_chains=1, num_draws=6, **changes)
    p = ModuleProblem(llama(), rows(), {"train": (rows(), 1)}, c.batch_size)
    with ThreadPoolExecutor(2) as pool:
        shared = Pieces(c.batch_size, print)
        shared.count = pieces
        chain = Chain(p, c, ChainRecord(0, c, {}, None), BatchOrder(p.rows, c), shared, pool if threads > 1 else None, threads)
        chain._eager = eager
        assert sum(block.slot is not None for block in p.space.blocks) > 8, "the model must have large parameters"
        for _ in range(steps):
            chain.step()
    return chain


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_accumulation_steps": 3},
        {"pieces": 2},
        {"sampling_method": "rmsprop_sgld", "lr": 1e-5},
        {"sampling_method": "sgmcmc_sgld", "save_metrics": True, "bounding_box_size": 0.02},
    ],
    ids=lambda c: ",".join(c) or "plain",
)
@pytest.mark.parametrize("threads", [1, 2])
def test_an_update_within_the_backward_pass_moves_the_chain_as_one_after_it(changes, threads):
    eager = chain_after(4, eager=True, threads=threads, **changes)
    after = chain_after(4, eager=False, threads=threads, **changes)
    assert torch.equal(eager.weights.flat, after.weights.flat)
    assert not torch.equal(eager.weights.flat, eager._problem.space.anchor)
    assert eager.records[0].now.gradient_norm == pytest.approx(after.records[0].now.gradient_norm, rel=1e-5)
    assert all(leaf.grad is None for name, leaf in eager.weights.leaves.items() if leaf.numel() >= BLOCK)


@pytest.mark.parametrize("padding", [None, 7])
@pytest.mark.parametrize("backwards", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_those_of_autograd(tied, backwards, padding):
    model = llama(tied=tied, padding=padding)
    p = ModuleProblem(model, rows(), {}, 4)
    leaves = {name: torch.nn.Parameter(value.detach().clone()) for name, value in model.named_parameters()}
    loss = p.bind(leaves)
    for start in range(backwards):
        loss(rows()[4 * start : 4 * start + 4]).sum().backward()
        plain_losses(model, rows()[4 * start : 4 * start + 4]).sum().backward()
    for name, value in model.named_parameters():
        assert value.grad is not None
        # sums of 32 tokens' float32 gradients, each of order one
        torch.testing.assert_close(leaves[name].grad, value.grad, rtol=1e-4, atol=1e-5)


def test_a_tied_gradient_keeps_its_memory_from_step_to_step():
    model = llama()
    p = ModuleProblem(model, rows(), {}, 4)
    leaves = {name: torch.nn.Parameter(value.detach().clone()) for name, value in model.named_parameters()}
    loss, places = p.bind(leaves), set()
    for _ in range(3):
        loss(rows()[:4]).sum().backward()
        places.add(leaves["model.embed_tokens.weight"].grad.data_ptr())
        for leaf in leaves.values():
            leaf.grad = None
    assert len(places) == 1, "autograd copied the gradient instead of taking it"


def test_memory_that_runs_out_after_some_weights_moved_ends_the_run(monkeypatch):
    chain = chain_after(1, eager=True)
    calls = []

    def short(step: int, blocks: list[object]) -> None:
        chain._applied.update(range(3))
        calls.append(step)
        raise RuntimeError("can't allocate memory: you tried to allocate 4 bytes")

    monkeypatch.setattr(chain, "_apply", short)
    with pytest.raises(RunFailed, match="in the middle of an update"):
        chain.step()
    assert calls == [1], "the step must not be tried again"


def test_a_chain_that_has_ended_gives_its_memory_back_at_once():
    chain = chain_after(2, eager=True)
    weights, leaf = weakref.ref(chain.weights), weakref.ref(next(iter(chain.weights.leaves.values())))
    gc.disable()
    try:
        del chain
        assert weights() is None and leaf() is None, "a cycle keeps it until the next collection: a model's worth of memory"
    finally:
        gc.enable()
