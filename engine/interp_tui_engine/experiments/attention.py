"""Attention patterns of a prompt, and what each head is by its behaviour: previous-token, duplicate-token, induction, copying."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ..catalog import Estimate, Kind, Result
from ..errors import Problem, UserError
from ..events import Artifact, Event, Metrics, Phase
from ..figures.heat import heatmap_svg
from ..figures.plots import plot_attention
from ..manifest import Manifest
from ..markdown import code
from ..payload import LEFT_OUT, Grid
from ..results.attention import LIVE, AttentionCell, AttentionHeadline, AttentionResult, NamedHead
from ..runtime import cost
from ..runtime.context import Context
from ..runtime.open_model import open_model, run_started
from ..runtime.steps import Numbers, Steps, digests, write_arrays, write_figure
from ..specs import Table
from ..uncertainty import none_known

if TYPE_CHECKING:
    from ..circuits.heads import HeadScores

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"prompt": "The capital of France is Paris. The capital of France is"},
}
STORE = "attention.zarr"
MOST_BYTES = 2 << 30
"""Of patterns in one run: they are kept in memory and in the store."""
DRAWN, DRAWN_TOKENS = 4, 64
"""Patterns of named heads that are drawn for the report, of prompts that are no longer."""


class Params(Table):
    """Which prompt, which layers, and how heads are scored."""

    prompt: str = Field(min_length=1, description="the text to read")
    layers: list[int] = Field(default_factory=list, description="layers to keep; all when left out")
    scores: bool = Field(True, description="score each head on repeated random tokens, so that it has a name")
    score_length: int = Field(32, ge=2, le=2048, description="random tokens in a sequence, which is then said again")
    score_rows: int = Field(16, ge=1, description="random sequences to average over")


def check(manifest: Manifest) -> list[Problem]:
    """Layers below 0."""
    wrong = [layer for layer in manifest.params.layers if layer < 0]
    return [Problem("params.layers", f"there is no layer {wrong[0]}; layers count from 0", value=wrong[0])] if wrong else []


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of the prompt, one of the scoring sequences for each layer."""
    size = cost.parameters_of(manifest)
    params: Params = manifest.params
    tokens = len(params.prompt) // 3 + 1
    disk = 4 * tokens * tokens * 64
    if size is None:
        return Estimate(None, None, disk, ("the model's size is not known before it is loaded",))
    scored = 2 * params.score_length * params.score_rows if params.scores else 0
    flops = 2 * size.parameters * (tokens * 4 + scored * 8)
    return Estimate(cost.seconds(flops), cost.BASE_BYTES + 6 * size.parameters, disk, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read layer by layer; a layer that is read is not read again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    model, site_map = yield from open_model(manifest)
    import torch

    from ..circuits.heads import SCORES, head_scores
    from ..data.prompts import encode, need_tokenizer, texts_of
    from ..sites.hooks import activations
    from ..sites.site import Site

    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = encode(tokenizer, params.prompt, context=site_map.context, name="prompt")
    layers = sorted(set(params.layers)) or list(range(site_map.num_layers))
    site_map.check(Site("attn_pattern", layers[-1]))
    if params.scores and site_map.context is not None and 2 * params.score_length > site_map.context:
        wrong = f"params.score_length = {params.score_length} is said twice, but the model reads at most {site_map.context} tokens"
        raise UserError(wrong, f"use {site_map.context // 2} or less")
    tokens, heads = texts_of(tokenizer, ids), site_map.num_heads
    each = 4 * heads * len(ids) ** 2
    if each * len(layers) > MOST_BYTES:
        size = each * len(layers) / 2**30
        wrong = f"patterns of {len(layers)} layers × {heads} heads × {len(ids):,} × {len(ids):,} tokens are {size:.1f} GiB"
        fits = f"name at most {MOST_BYTES // each} layers, or " if each <= MOST_BYTES else ""
        raise UserError(wrong, f"{fits}shorten the prompt; {MOST_BYTES >> 30} GiB are allowed")
    yield run_started(context, model)
    yield Phase("reading attention")
    row = torch.tensor([ids], device=model.device)

    def do(layer: int) -> Numbers:
        site = Site("attn_pattern", layer)
        pattern: Numbers = activations(site_map, row, [site])[site][0].float().cpu().numpy()
        return pattern.ravel()

    def say(index: int, layer: int, numbers: Numbers) -> list[Event]:
        pattern = numbers.reshape(heads, len(ids), len(ids))
        small = len(ids) * len(ids) * heads <= 20_000
        cell = AttentionCell(
            layer=layer,
            heads=heads,
            array=STORE,
            pattern=tuple(_lower_triangle(head) for head in pattern) if small else LEFT_OUT,
            tokens=tuple(tokens) if index == 0 else LEFT_OUT,
            layers=tuple(layers) if index == 0 else LEFT_OUT,
        )
        return [Metrics("cells", index, cell.as_json())]

    done = yield from Steps(context, layers, unit="layers", size=lambda _: 1).run(do, say)
    patterns = np.stack([numbers.reshape(heads, len(ids), len(ids)) for numbers in done])
    arrays: dict[str, Any] = {"pattern": (("layer", "head", "query", "key"), patterns)}
    table: dict[str, Grid] = {}
    named: tuple[NamedHead, ...] = ()
    drawn: list[str] = []
    if params.scores:
        yield Phase("scoring heads")
        scores = head_scores(site_map, model.vocab_size, length=params.score_length, rows=params.score_rows, seed=manifest.seed)
        for name in SCORES:
            by_head = getattr(scores, name).float().numpy()
            arrays[f"score_{name}"] = (("all_layers", "head"), by_head)
            yield _figure(context, name, by_head)
        table = {name: tuple(tuple(row) for row in getattr(scores, name).tolist()) for name in SCORES}
        named = _named(scores, table, heads)
        yield Metrics("cells", len(layers), AttentionCell(scores=table, named=named).as_json())
        drawn = [row.head for row in named if _place(row.head)[0] in layers][: DRAWN if len(tokens) <= DRAWN_TOKENS else 0]
        for name in drawn:
            layer, head = _place(name)
            path = context.folder.path / "figures" / f"pattern-{name}.svg"
            plot_attention(patterns[layers.index(layer), head], tokens, path, f"{name} on the prompt")
            yield Artifact(f"figures/pattern-{name}.svg", f"attention pattern of {name}")
    yield from write_arrays(context.folder.path, STORE, arrays, {"kind": "attention", "tokens": tokens, "layers": layers})
    values = AttentionResult(
        tokens=tuple(tokens),
        layers=tuple(layers),
        heads=heads,
        arrays=(f"{STORE}/pattern",),
        scores=table if params.scores else LEFT_OUT,
        named_heads=named if params.scores else LEFT_OUT,
        drawn=tuple(drawn) if params.scores else LEFT_OUT,
        seconds=time.monotonic() - started,
    )
    headline = AttentionHeadline(
        heads=heads * site_map.num_layers,
        named=len(named) if params.scores else LEFT_OUT,
        answer=heads_by_name(named) or LEFT_OUT,
    )
    bars = {"named": none_known(f"scores are means over {params.score_rows} sequences, held to a threshold")} if params.scores else {}
    return Result(values.as_json(), headline.as_json(), _report(params, values), digests(STORE, arrays), bars)


def _lower_triangle(head: Numbers) -> Grid:
    """One head's pattern, (query, key): of each query the keys up to itself, rounded."""
    return tuple(tuple(round(float(weight), 3) for weight in line[: query + 1]) for query, line in enumerate(head))


def _named(scores: HeadScores, table: Mapping[str, Grid], heads: int) -> tuple[NamedHead, ...]:
    """The heads that do something known. table: by score, [layer][head]."""
    return tuple(
        NamedHead(
            head=f"L{layer}H{head}",
            name=name,
            previous_token=table["previous_token"][layer][head],
            duplicate_token=table["duplicate_token"][layer][head],
            induction=table["induction"][layer][head],
            copying=table["copying"][layer][head],
        )
        for layer in range(len(table["induction"]))
        for head in range(heads)
        if (name := scores.name_of(layer, head)) is not None
    )


def heads_by_name(heads: Sequence[NamedHead]) -> str:
    """The heads by what they are, those next to each other as one: `induction L1H0-H3, L2H5; previous token L0H2`."""
    by_name: dict[str, list[tuple[int, int]]] = {}
    for row in heads:
        by_name.setdefault(row.name, []).append(_place(row.head))
    order = sorted(by_name, key=lambda name: (name != "induction", name))
    return "; ".join(f"{name} {', '.join(_runs(sorted(by_name[name])))}" for name in order)


def _runs(places: Sequence[tuple[int, int]]) -> list[str]:
    runs: list[list[tuple[int, int]]] = []
    for layer, head in places:
        if runs and runs[-1][-1] == (layer, head - 1):
            runs[-1].append((layer, head))
        else:
            runs.append([(layer, head)])
    return [f"L{run[0][0]}H{run[0][1]}" + (f"-H{run[-1][1]}" if len(run) > 1 else "") for run in runs]


def _place(name: str) -> tuple[int, int]:
    """Layer and head of 'L3H1'."""
    layer, _, head = name.removeprefix("L").partition("H")
    return int(layer), int(head)


def _figure(context: Context, name: str, scores: Numbers) -> Event:
    rows, columns = [f"L{i}" for i in range(scores.shape[0])], [f"H{i}" for i in range(scores.shape[1])]
    title = f"{name.replace('_', ' ')} score by head"
    return write_figure(context.folder.path, name, heatmap_svg(title, rows, columns, scores.astype(float).tolist(), "score"), title)


def _report(params: Params, values: AttentionResult) -> str:
    lines = [
        "# Attention",
        "",
        f"`{code(params.prompt)}`: {len(values.tokens)} tokens, patterns of {len(values.layers)} layers in `{STORE}`.",
    ]
    if params.scores:
        lines += ["", f"Scores on {params.score_rows} sequences of {params.score_length} random tokens said twice.", ""]
        lines += ["| head | is a | previous | duplicate | induction | copying |", "|---|---|---:|---:|---:|---:|"]
        for head in values.named_heads:
            numbers = " | ".join(f"{score:.2f}" for score in (head.previous_token, head.duplicate_token, head.induction, head.copying))
            lines.append(f"| {head.head} | {head.name} head | {numbers} |")
        lines += ["", *(f"![{name}](figures/{name}.svg)" for name in values.scores)]
        lines += ["", *(f"![{name}](figures/pattern-{name}.svg)" for name in values.drawn)]
    return "\n".join([*lines, ""])


KIND = Kind(
    name="attention",
    title="Attention",
    question="What does each head look at, and what is it for?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=AttentionResult,
    headline=AttentionHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
