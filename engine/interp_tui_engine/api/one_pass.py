"""One forward pass, from Python: causal tracing, single patches and the logit lens on a model in memory.

    model = load_model("builtin:tiny")
    clean, corrupt = "The capital of France is", "The capital of Japan is"
    found = causal_trace(model, clean=clean, corrupt=corrupt, answer=" Paris", counterfactual=" Tokyo")
    found.recovery["resid_post"]              # (layers, positions)
    logit_lens(model, "The capital of France is", " Paris").crossover_layer

Models are what `load_model` returns, or a transformers model given with its `tokenizer`. All of it raises UserError for prompts that do not
align, answers of several tokens, sites the model lacks, and prompts longer than its context.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data.prompts import WhenLong, answer_ids, encode, need_tokenizer, read_pair, texts_of
from ..errors import UserError
from ..lenses import logit_lens as lens
from ..lenses import tuned_lens as lenses
from ..lenses.tuned_lens import TunedLens
from ..patching.recovery import HEADS, GridCell, TracePrompts, batches, grid, prepare
from ..patching.recovery import recovery as recovered
from ..sites.answers import Answer
from ..sites.cache import ActivationCache
from ..sites.site import site_name
from ..sites.site_map import SiteMap

ROWS = 256
METRICS = {"answer_prob": "prob"}
"""Other tools' names of metrics."""


class CausalTrace(NamedTuple):
    """Recovery by kind of site, (layers, positions), or (layers, positions, heads) under the name 'heads'; unclamped."""

    tokens: list[str]
    corrupt_tokens: list[str]
    clean_metric: float
    corrupt_metric: float
    recovery: dict[str, Float[Tensor, "layers positions"]]


class PatchEffect(NamedTuple):
    """What one patch did to the target's logit, or to its difference from the counterfactual's, in nats."""

    clean_logit_diff: float
    corrupt_logit_diff: float
    patched_logit_diff: float

    @property
    def logit_diff_change(self) -> float:
        """Patched less corrupt."""
        return self.patched_logit_diff - self.corrupt_logit_diff

    @property
    def recovery(self) -> float:
        """The change as a share of the way from corrupt to clean."""
        return recovered(self.patched_logit_diff, self.clean_logit_diff, self.corrupt_logit_diff)


class LogitLens(NamedTuple):
    """What each layer would predict after the prompt."""

    answer: str
    answer_prob: Float[Tensor, " layers"]
    answer_rank: Int[Tensor, " layers"]
    top_token: list[str]
    crossover_layer: int | None


def causal_trace(
    model: Any,
    *,
    clean: str,
    corrupt: str,
    answer: str | Sequence[str],
    counterfactual: str | Sequence[str] | None = None,
    metric: str = "logit_diff",
    sites: Sequence[str] = ("resid_post", "attn_out", "mlp_out"),
    heads: bool = False,
    window: int = 1,
    long_answers: WhenLong = "error",
    tokenizer: Any = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> CausalTrace:
    """Put each activation of the clean run into the corrupt one and measure how much of the metric comes back (Meng et al. 2022).

    window: layers patched at once. long_answers: of an answer of several tokens, 'first' looks at the first alone, 'sequence' (with metric
    'prob' or 'logprob') scores them all; the grid then has a column for each token but the answer's last.
    Raises UserError for a window below 1, no sites, and a metric that cannot score a sequence.
    """
    metric = METRICS.get(metric, metric)
    if window < 1:
        raise UserError(f"window is {window}", "give how many layers are patched at once, at least 1")
    if not sites and not heads:
        raise UserError("there are no sites to patch", "give sites, such as ('resid_post',), or heads=True")
    if long_answers == "sequence" and metric not in ("prob", "logprob"):
        raise UserError(f"{metric!r} cannot score a sequence", "use metric = 'logprob' or 'prob'")
    cache = ActivationCache(model, tokenizer)
    tokens = need_tokenizer(cache.tokenizer, "this model")
    record = {"clean": clean, "corrupt": corrupt, "answer": answer, "counterfactual": counterfactual}
    needed = metric == "logit_diff"
    pair = read_pair(tokens, record, context=cache.site_map.context, name="", when_long=long_answers, need_counterfactual=needed)
    names = tuple(dict.fromkeys(map(site_name, sites)))
    prompts = TracePrompts.of(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual), pair.sequence)
    trace = prepare(cache.site_map, prompts, [*names, *(["z"] if heads else [])], metric, window=window, freeze=())
    recovered(0.0, trace.clean_metric, trace.corrupt_metric)
    grids = {name: torch.zeros(cache.site_map.num_layers, len(prompts.clean)) for name in names}
    if heads:
        grids[HEADS] = torch.zeros(cache.site_map.num_layers, len(prompts.clean), cache.site_map.heads("z"))
    # Nobody watches this grid fill, so cells of all kinds of site travel together: fewer passes than a kind at a time.
    cells = sorted(itertools.chain.from_iterable(grid(cache.site_map, prompts, names, heads=heads)), key=lambda cell: -cell.position)
    chunks, done = batches([cells], ROWS), 0
    for chunk in chunks:
        for cell, value in zip(chunk, trace.patched(chunk).tolist(), strict=True):
            name, at = cell.place
            grids[name][at] = recovered(value, trace.clean_metric, trace.corrupt_metric)
        done += len(chunk)
        on_progress(done, sum(map(len, chunks)))
    texts = texts_of(tokens, prompts.clean), texts_of(tokens, prompts.corrupt)
    return CausalTrace(*texts, trace.clean_metric, trace.corrupt_metric, grids)


def activation_patch(
    model: Any,
    clean_input: str,
    corrupt_input: str,
    target_token: str,
    patch_layer: int,
    patch_component: str = "resid_post",
    *,
    counterfactual_token: str | None = None,
    head: int | None = None,
    position: int | None = None,
    long_answers: WhenLong = "error",
    tokenizer: Any = None,
) -> PatchEffect:
    """Put one component of the clean run into the corrupt one, at every position or at one, and measure the target's logit.

    patch_component: 'mlp', 'attn', 'resid', 'head' (the one that `head` numbers), or any kind of site. With a counterfactual token the
    logits' difference is measured.
    long_answers = 'first' looks at the first token of a target that is several.
    Raises UserError for a position or head that there is not, and for targets of several tokens.
    """
    if long_answers == "sequence":
        raise UserError("a patch is measured on one token's logit, not on a sequence", "use long_answers = 'first'")
    cache = ActivationCache(model, tokenizer)
    tokens = need_tokenizer(cache.tokenizer, "this model")
    record = {"clean": clean_input, "corrupt": corrupt_input, "answer": target_token, "counterfactual": counterfactual_token}
    pair = read_pair(
        tokens, record, context=cache.site_map.context, name="", when_long=long_answers, need_counterfactual=False, as_whole=False
    )
    if patch_component == "head" and head is None:
        raise UserError("patch_component = 'head', but no head is named", "give head, counted from 0, or patch_component = 'attn'")
    name = "z" if patch_component == "head" else site_name(patch_component)
    cache.site_map.check(GridCell(name, patch_layer, 0, head).site)
    metric = "logit_diff" if pair.counterfactual else "logit"
    length = len(pair.clean)
    if position is not None and not -length <= position < length:
        raise UserError(f"there is no position {position}", f"the prompts have tokens 0 to {length - 1}")
    prompts = TracePrompts.of(pair.clean, pair.corrupt, Answer(pair.answer, pair.counterfactual), sequence=False)
    trace = prepare(cache.site_map, prompts, [name], metric, window=1, freeze=())
    places = range(prompts.first, length) if position is None else [position % length]
    patched = trace.together([GridCell(name, patch_layer, place, head) for place in places])
    return PatchEffect(trace.clean_metric, trace.corrupt_metric, patched)


def logit_lens(
    model: Any,
    prompt: str,
    answer: str | Sequence[str] | None = None,
    *,
    position: int | None = None,
    tuned: TunedLens | None = None,
    long_answers: WhenLong = "error",
    tokenizer: Any = None,
) -> LogitLens:
    """Unembed the residual stream of every layer after the prompt (nostalgebraist 2020), through a tuned lens where one is given.

    position: the token that is read instead of the last one, counted from 0, or from the end where negative; without an answer the model's
    own next token there is looked for.
    long_answers = 'first' looks at the first token of an answer that is several.
    Raises UserError for a position that there is not, and for answers of several tokens.
    """
    if long_answers == "sequence":
        raise UserError("a lens looks at one token, not at a sequence", "use long_answers = 'first'")
    cache = ActivationCache(model, tokenizer)
    site_map: SiteMap = cache.site_map
    tokens = need_tokenizer(cache.tokenizer, "this model")
    ids = encode(tokens, prompt, context=site_map.context, name="prompt")
    if position is not None and not -len(ids) <= position < len(ids):
        raise UserError(f"there is no position {position}", f"the prompt has tokens 0 to {len(ids) - 1}")
    ids = ids if position is None else ids[: position % len(ids) + 1]  # what comes after it cannot be seen from it
    with torch.no_grad():
        stream = lens.streams(site_map, torch.tensor([ids], device=next(site_map.embed.parameters()).device))[:, -1]
        if answer is None:
            right: tuple[int, ...] = (int(site_map.unembed(stream[-1]).argmax()),)
        else:
            right = answer_ids(tokens, prompt, answer, name="answer", when_long=long_answers, as_whole=False)
        end = stream[-1:].expand_as(stream)
        if tuned is not None:
            stream = torch.stack([tuned(layer, layer_stream) for layer, layer_stream in enumerate(stream)])
        reading = lens.read(site_map, stream, end, [right] * len(stream), 1)
    top = [texts_of(tokens, [int(token)])[0] for token in reading.top_token[:, 0]]
    answer_text = "".join(texts_of(tokens, right[:1]))
    return LogitLens(answer_text, reading.answer_prob, reading.answer_rank, top, lens.crossover(reading.answer_rank.tolist()))


def tuned_lens(
    model: Any,
    rows: Int[Tensor, "rows pos"],
    *,
    steps: int = 250,
    lr: float = 1e-3,
    batch_size: int = 8,
    held_out: float = 0.1,
    seed: int = 0,
    on_step: Callable[[int, list[float]], None] = lambda step, losses: None,
) -> TunedLens:
    """Fit an affine map for each layer to token rows, blocks of them held out (Belrose et al. 2023); `logit_lens` reads with it.

    A layer whose map is no better than the logit lens on the held-out rows is left without one (`identity_layers`).
    Raises UserError for fewer than two rows.
    """
    site_map: SiteMap = ActivationCache(model).site_map
    if len(rows) < 2:
        raise UserError(f"there is {len(rows)} row of tokens", "give at least two: some to fit the lens to, some held out")
    fitted, apart = lenses.held_out_rows(len(rows), held_out)
    ids = rows.long().to(next(site_map.embed.parameters()).device)
    fitting = lenses.Fitting(site_map, lr=lr, steps=steps)
    for step, losses in lenses.fit(fitting, ids[fitted], seed=seed, batch=batch_size):
        on_step(step, losses)
    return lenses.no_worse(fitting.lens, lenses.measured(site_map, fitting.lens, ids[apart], batch_size).mean(-1).float())
