"""Parameters too large to be packed, and a tied embedding's one gradient."""

from __future__ import annotations

import gc
import math
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sampler_models import config
from transformers import LlamaConfig, LlamaForCausalLM

from interp_tui_engine.samplers.batches import BatchOrder
from interp_tui_engine.samplers.chains.chain import Chain
from interp_tui_engine.samplers.chains.microbatch import Microbatch
from interp_tui_engine.samplers.chains.record import ChainRecord
from interp_tui_engine.samplers.noise import BLOCK, NoiseSource
from interp_tui_engine.samplers.target.language_model import plain_losses
from interp_tui_engine.samplers.target.problem import ModuleTarget

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


def chain_after(steps: int, threads: int = 1) -> Chain:
    c = config(num_chains=1)
    p = ModuleTarget(llama(), rows(), {"train": (rows(), 1)}, c.batch_size)
    with ThreadPoolExecutor(2) as pool:
        pieces = Microbatch(c.batch_size, print)
        chain = Chain(p, c, ChainRecord(0, c, {}, None), BatchOrder(p.rows, c), pieces, pool if threads > 1 else None, threads)
        for _ in range(steps):
            chain.step()
    return chain


@pytest.mark.parametrize("threads", [1, 2])
def test_a_chain_with_large_parameters_takes_the_written_out_step(threads):
    """w += -lr/2 (nβ g + γ (w - w0)) + sqrt(lr) ξ, the noise read from the same source, for packed and for large parameters."""
    chain = chain_after(1, threads)
    space, c = chain.weights.space, config(num_chains=1)
    assert sum(block.slot is not None for block in space.blocks) > 8 and space.packed > 0
    anchor = space.anchor()
    model = llama()
    plain_losses(model, rows()[BatchOrder(16, c).step(0, 0)[0]]).mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    noise, source = torch.empty(space.size), NoiseSource(c.init_seed, 0, len(space.blocks), "step", space.device)
    for block in space.blocks:
        source.fill(noise[block.start : block.stop], 0, block.index)
    for slot in space.slots:
        here = slice(slot.start, slot.stop)
        wanted = anchor[here] - c.lr / 2 * c.n_beta * gradients[slot.name].reshape(-1) + math.sqrt(c.lr) * noise[here]
        torch.testing.assert_close(chain.weights.flat[here], wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", [None, 7])
@pytest.mark.parametrize("backwards", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_those_of_autograd(tied, backwards, padding):
    model = llama(tied=tied, padding=padding)
    p = ModuleTarget(model, rows(), {}, 4)
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
    p = ModuleTarget(model, rows(), {}, 4)
    leaves = {name: torch.nn.Parameter(value.detach().clone()) for name, value in model.named_parameters()}
    loss, places = p.bind(leaves), set()
    for _ in range(3):
        loss(rows()[:4]).sum().backward()
        places.add(leaves["model.embed_tokens.weight"].grad.data_ptr())
        for leaf in leaves.values():
            leaf.grad = None
    assert len(places) == 1, "autograd copied the gradient instead of taking it"


def test_a_chain_that_has_ended_gives_its_memory_back_at_once():
    chain = chain_after(2)
    weights, leaf = weakref.ref(chain.weights), weakref.ref(next(iter(chain.weights.leaves.values())))
    gc.disable()
    try:
        del chain
        assert weights() is None and leaf() is None, "a cycle keeps it until the next collection: a model's worth of memory"
    finally:
        gc.enable()
