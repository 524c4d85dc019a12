"""Small models and runs that the sampler tests share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from interp_tui_engine.samplers.chains.executor import Executor
from interp_tui_engine.samplers.chains.run import ChainsResult, Command, run_chains
from interp_tui_engine.samplers.chains.store import ObservableSpec, SampleStore
from interp_tui_engine.samplers.settings import SamplerConfig
from interp_tui_engine.samplers.target.problem import ModuleTarget, SamplingTarget

SERIAL = Executor("serial", workers=1, intra_threads=1, width=1, resident=8)
THREADS = Executor("threads", workers=2, intra_threads=1, width=1, resident=8)
VMAP = Executor("vmap", workers=1, intra_threads=1, width=4, resident=4)
STACKED = Executor("stacked", workers=1, intra_threads=1, width=4, resident=4)


class TinyLM(nn.Module):
    """Embedding, one hidden layer over a causal mean of the past, dropout, unembedding: a language model with logits and nothing else."""

    def __init__(self, vocabulary: int = 24, width: int = 12, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.mix = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, vocabulary)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        past = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[None, :, None]
        return self.out(self.drop(torch.tanh(self.mix(x + past))))


def tiny_lm(seed: int = 0, **kwargs: float) -> TinyLM:
    torch.manual_seed(seed)
    return TinyLM(**kwargs)  # type: ignore[arg-type]


def llama(layers: int = 2, vocabulary: int = 24) -> nn.Module:
    """A Llama with grouped keys and tied embeddings, small enough for any test."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(hidden_size=16, intermediate_size=32, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_hidden_layers=layers, tie_word_embeddings=True, **shape))


def token_rows(n: int = 40, length: int = 9, vocabulary: int = 24, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, vocabulary, (n, length), generator=torch.Generator().manual_seed(seed))


def config(**changes: object) -> SamplerConfig:
    base: dict[str, object] = dict(lr=1e-3, n_beta=20.0, localization=5.0, num_chains=4, num_draws=6, batch_size=4, num_init_loss_batches=3)
    return SamplerConfig(**{**base, **changes})  # type: ignore[arg-type]


def problem(c: SamplerConfig, model: nn.Module | None = None, **kwargs: object) -> ModuleTarget:
    rows = token_rows()
    return ModuleTarget(model if model is not None else tiny_lm(), rows, {"train": (rows, 2)}, c.batch_size, **kwargs)  # type: ignore[arg-type]


def cut_into(p: ModuleTarget, block: int) -> ModuleTarget:
    """The target with its flat vector, laid out as it is, in blocks of another size."""
    p.space.blocks = tuple(p.space._cut(block, dict.fromkeys(slot.name for slot in p.space.slots)))
    p.space.starts = tuple(each.start for each in p.space.blocks)
    return p


def make_store(path: Path, p: SamplingTarget, c: SamplerConfig) -> SampleStore:
    specs = tuple(
        ObservableSpec(o.name, o.rows, o.rows // o.batch_size, None if o.input_ids is None else o.input_ids.numpy()) for o in p.observables
    )
    return SampleStore.create(path, c, p.positions, specs, {}, p.space.numel)


def run(
    p: SamplingTarget,
    c: SamplerConfig,
    store: SampleStore | None = None,
    executor: Executor = SERIAL,
    chains: list[int] | None = None,
    folder: Path | None = None,
    every: float | None = None,
    poll=lambda: Command.GO,
    report=lambda snapshot: None,
    report_every: float = 0.05,
    warn=lambda text: None,
) -> ChainsResult:
    return run_chains(
        p,
        c,
        chains=list(range(c.num_chains)) if chains is None else chains,
        store=store,
        executor=executor,
        checkpoint_dir=folder,
        checkpoint_every=every,
        poll=poll,
        report=report,
        report_every=report_every,
        warn=warn,
    )
