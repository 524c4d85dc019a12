"""The stacked form of a Llama: losses and gradients are the model's, and chains sampled by it are those sampled one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sampler_models import SERIAL, STACKED, config, llama, run, tiny_lm, token_rows
from torch import nn

from interp_tui_engine.errors import UserError
from interp_tui_engine.samplers.chains.executor import choose_executor
from interp_tui_engine.samplers.chains.run import Command
from interp_tui_engine.samplers.chains.stacked_loss import VmappedLoss, stacked_loss
from interp_tui_engine.samplers.row_norms import row_norms
from interp_tui_engine.samplers.target import stacked_operations as operations
from interp_tui_engine.samplers.target.problem import ModuleTarget
from interp_tui_engine.samplers.target.stacked_llama import stacked_llama

CHAINS = 3


def model(**changes: object) -> nn.Module:
    """Widths that are multiples of 16 lie side by side in the flat vector; others do not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(vocab_size=24, num_hidden_layers=2, max_position_embeddings=32, tie_word_embeddings=True)
    shape |= dict(hidden_size=16, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2)
    made: nn.Module = LlamaForCausalLM(LlamaConfig(**{**shape, **changes}))
    with torch.no_grad():
        for parameter in made.parameters():  # norms of 1 would hide a weight in the wrong place
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())))
    return made


def target(made: nn.Module, **options: object) -> ModuleTarget:
    rows = token_rows()
    return ModuleTarget(made, rows, {"o": (rows, 2)}, 4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1, "head_dim": 8},
        {"hidden_size": 20, "intermediate_size": 27, "num_attention_heads": 5, "num_key_value_heads": 5},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}, "rms_norm_eps": 1e-2},
    ],
    ids=["grouped", "untied", "ungrouped", "one key", "apart in memory", "scaled positions"],
)
@pytest.mark.parametrize("budget", [1 << 20, 4 * 24 * CHAINS * 5], ids=["whole", "in chunks"])
def test_losses_and_gradients_are_those_of_the_model(changes: dict[str, object], budget: int) -> None:
    problem = target(model(**changes))
    space, stacked = problem.space, stacked_llama(problem._source, problem.space, budget)
    assert stacked is not None and problem.stacked is not None
    draw = torch.Generator().manual_seed(1)
    flat = space.anchor().repeat(CHAINS, 1)
    flat += 0.1 * torch.randn(flat.shape, generator=draw)
    reference, own, plain = VmappedLoss(problem), torch.zeros_like(flat), torch.zeros_like(flat)
    for first, ids in enumerate((token_rows(4), token_rows(2 * CHAINS, seed=3).view(CHAINS, 2, -1))):
        dim, keep = (None, 0) if ids.dim() == 2 else (0, 1)  # the second batch adds to the first
        losses = stacked.gradient(flat, own, ids, total=32, keep=keep)
        want = reference.gradient(flat, plain, ids, dim, 32, first=first == 0)
        torch.testing.assert_close(losses, want, rtol=1e-5, atol=1e-5)
    for name, gradient in space.views(own).items():
        torch.testing.assert_close(gradient, space.views(plain)[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(stacked.losses(flat, token_rows(4)), reference.losses(flat, token_rows(4)), rtol=1e-5, atol=1e-5)
    gaps = torch.ones(space.size, dtype=torch.bool)
    for slot in space.slots:
        gaps[slot.start : slot.stop] = False
    assert not own[:, gaps].any()


def test_probabilities_of_a_large_vocabulary_add_up_to_one() -> None:
    vocabulary, draw = 49_152, torch.Generator().manual_seed(0)
    problem = target(model(vocab_size=vocabulary, num_hidden_layers=1))
    stacked = stacked_llama(problem._source, problem.space, 1 << 30)
    assert stacked is not None
    hidden, unembed = torch.randn(2, 32, 16, generator=draw), torch.randn(2, vocabulary, 16, generator=draw)
    weights = stacked.weights(problem.space.anchor().repeat(2, 1))._replace(unembed=(unembed,))
    tokens = torch.randint(vocabulary, (2, 32, 1), generator=draw)
    losses, slopes = stacked._losses_and_slopes(hidden, weights, tokens)
    logits = torch.bmm(hidden, unembed.mT)
    exact = torch.log_softmax(logits.double(), -1)
    entropy, lse = -(exact.exp() * exact).sum(-1), logits.double().logsumexp(-1)
    rounding = 2.0**-23 * (entropy + lse)  # of a logit less lse, and of lse
    assert ((slopes.double().sum(-1)).abs() <= rounding).all()
    assert ((losses + exact.gather(-1, tokens)[..., 0]).abs() <= 2.0**-23 * (losses + lse)).all()


@pytest.mark.parametrize("count", [3, 4096, 4097, 5_000_001])
def test_norms_of_long_rows_are_exact_to_rounding(count: int) -> None:
    rows = 1e-3 * torch.randn(2, count, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(row_norms(rows).double(), rows.double().norm(dim=1), rtol=2.0**-21, atol=0.0)


@pytest.mark.parametrize("settings", [{}, {"match_sampling_input_ids_across_chains": False}, {"gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("method", ["sgmcmc_sgld", "rmsprop_sgld", "sgnht"])
def test_chains_are_those_sampled_one_by_one(settings: dict[str, object], method: str) -> None:
    problem = target(model())
    how = config(num_chains=3, init_noise=0.01, sampling_method=method, **settings)
    together = run(problem, how, executor=STACKED).snapshot
    alone = run(problem, how, executor=SERIAL).snapshot
    torch.testing.assert_close(torch.from_numpy(together.trace), torch.from_numpy(alone.trace), rtol=1e-4, atol=1e-5)
    assert [c.distance for c in together.chains] == pytest.approx([c.distance for c in alone.chains], rel=1e-4)
    assert [c.gradient_norm for c in together.chains] == pytest.approx([c.gradient_norm for c in alone.chains], rel=1e-3)


def test_a_chain_does_not_depend_on_the_others_of_its_stack_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    problem, how = target(model()), config(num_chains=4, num_draws=120)
    whole = run(problem, how, executor=STACKED).snapshot.trace
    part = run(problem, how, executor=STACKED, chains=[1, 3]).snapshot.trace
    assert (part == whole[[1, 3]]).all()
    stopped = run(problem, how, executor=STACKED, folder=tmp_path, poll=lambda: Command.STOP)
    assert stopped.interrupted and 0 < stopped.snapshot.chains[0].step < 120
    assert (run(problem, how, executor=STACKED, folder=tmp_path).snapshot.trace == whole).all()


def test_what_has_no_stacked_form(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import GemmaConfig, GemmaForCausalLM

    gemma = GemmaForCausalLM(
        GemmaConfig(vocab_size=24, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
    )
    some = {"model.layers.1.mlp.up_proj.weight": None}
    others = [target(tiny_lm()), target(gemma), target(llama(), masks=some), target(model(attention_bias=True))]
    others.append(target(llama(), loss_fn=lambda made, ids: made(ids[:, :-1]).logits.logsumexp(-1)))
    for problem in others:
        assert problem.stacked is None
        with pytest.raises(UserError, match=r"(?s)for Llamas.*'vmap'"):
            stacked_loss(problem, "stacked")
        assert choose_executor(problem, config(), range(4), cores=1).mode == "serial"
    monkeypatch.setattr(operations, "rotate", lambda x, by: x * by.cos)
    assert target(model()).stacked is None, "a form that does not give the model's losses is not used"


def test_a_gradient_that_is_not_the_models_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    back = operations.swiglu_back
    monkeypatch.setattr("interp_tui_engine.samplers.target.stacked_llama.swiglu_back", lambda g, gated: back(g * 1.01, gated))
    assert target(model()).stacked is None


def test_masks_of_some_numbers_hold_in_a_stack() -> None:
    made = model()
    masks = {name: torch.ones_like(p) for name, p in made.named_parameters()}
    masks["model.norm.weight"][:5] = 0
    problem = target(made, masks=masks)
    if problem.stacked is None:  # a mask of rows samples these alone
        assert {s.shape for s in problem.space.slots} != {p.shape for p in made.parameters()}
        return
    how = config(num_chains=2)
    together, alone = (run(problem, how, executor=executor).snapshot.trace for executor in (STACKED, SERIAL))
    torch.testing.assert_close(torch.from_numpy(together), torch.from_numpy(alone), rtol=1e-4, atol=1e-5)


def test_one_chain_is_a_stack_of_one() -> None:
    problem = target(model())
    chosen = choose_executor(problem, config(), range(1), "stacked", cores=1)
    assert (chosen.width, chosen.mode) == (1, "stacked") and choose_executor(problem, config(), range(3), "stacked", cores=1).width == 4
    how = config(num_chains=1, save_metrics=True, acceptance_every=2)
    by_itself, alone = (run(problem, how, executor=executor).snapshot for executor in (chosen, replace(SERIAL)))
    torch.testing.assert_close(torch.from_numpy(by_itself.trace), torch.from_numpy(alone.trace), rtol=1e-4, atol=1e-5)
    assert by_itself.chains[0].metrics == pytest.approx(alone.chains[0].metrics, rel=1e-3, abs=1e-6)
