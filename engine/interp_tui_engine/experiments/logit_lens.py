"""The logit lens: what each layer would predict next, over the positions of a prompt."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from .. import atomic
from ..catalog import Estimate, Group, Result
from ..events import Artifact, Event, Metrics, Phase, RunStarted
from ..figures import Curve, lines_svg
from ..manifest import Manifest
from ..specs import Table
from . import _cost, _pairs
from ._steps import Numbers, Steps, digest, write_arrays
from .context import Context

if TYPE_CHECKING:
    from ..lenses.logit_lens import Reading

TITLE = "Logit lens"
QUESTION = "At which layer does the model make up its mind?"
GROUP: Group = "One forward pass"
NEEDS = frozenset({"model"})
EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"prompt": "The capital of France is", "answer": " Paris"},
}
STORE = "lens.zarr"
PER_POSITION = ("answer_prob", "answer_rank", "entropy", "kl_to_end")


class Params(Table):
    """Which prompt, and what to ask each layer about."""

    prompt: str = Field(min_length=1, description="the text to read")
    answer: str | list[str] | None = Field(None, description="what should follow; the model's own likeliest token when left out")
    positions: Literal["all", "last"] | list[int] = Field("all", description="'all', 'last', or token positions; -1 is the last")
    top_k: int = Field(5, ge=1, le=50, description="likeliest tokens to keep for each layer and position")
    long_answers: Literal["error", "first"] = Field("error", description="for an answer of several tokens: refuse, or look at the first")


def estimate(manifest: Manifest) -> Estimate:
    """One forward pass, and an unembedding for each layer."""
    size = _cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    tokens = len(manifest.params.prompt) // 3 + 1
    return Estimate(_cost.seconds(8 * size.parameters * tokens), _cost.BASE_BYTES + 6 * size.parameters, 1 << 20, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read layer by layer; a layer that is read is not read again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    model, anatomy = yield from _pairs.loaded(manifest)
    import torch

    from ..data.prompts import answer_ids, encode, need_tokenizer, texts_of
    from ..lenses import logit_lens

    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = encode(tokenizer, params.prompt, context=anatomy.context, name="prompt")
    positions = _positions(params, len(ids))
    stream = logit_lens.streams(anatomy, torch.tensor([ids], device=model.device))
    given = params.answer
    if given is None:
        right: tuple[int, ...] = (int(anatomy.unembed(stream[-1, -1]).argmax()),)
    else:
        right = answer_ids(tokenizer, params.prompt, given, name="answer", when_long=params.long_answers)
    answers = [right if place == len(ids) - 1 else (ids[place + 1],) for place in positions]
    yield RunStarted(manifest.kind, manifest.name, device=str(model.device), resumed=context.resumed, provenance=_pairs.provenance(model))
    yield Phase("reading layers")
    k = min(params.top_k, model.vocab_size)
    tokens = [texts_of(tokenizer, [ids[place]])[0] for place in positions]
    asked = ["".join(texts_of(tokenizer, answer[:1])) for answer in answers]

    def do(layer: int) -> Numbers:
        return _packed(logit_lens.read(anatomy, stream[layer, positions], stream[-1, positions], answers, k))

    def say(index: int, layer: int, numbers: Numbers) -> list[Event]:
        found = _unpacked(numbers, len(positions), k)
        values: dict[str, Any] = {
            "layer": layer,
            **{name: [round(float(v), 6) for v in found[name]] for name in PER_POSITION},
            "top": [texts_of(tokenizer, [int(token) for token in row]) for row in found["top_token"]],
            "top_prob": [[round(float(p), 4) for p in row] for row in found["top_prob"]],
        }
        if layer == 0:
            values |= {"tokens": tokens, "asked": asked, "layers": anatomy.num_layers, "positions": positions}
        return [Metrics("cells", index, values), Metrics("headline", index, {"answer_prob": float(found["answer_prob"][-1])})]

    steps = Steps(context, list(range(anatomy.num_layers)), unit="layers", size=lambda _: 1)
    done = yield from steps.run(do, say)
    found = [_unpacked(numbers, len(positions), k) for numbers in done]
    arrays = {name: np.stack([row[name] for row in found]) for name in found[0]}
    written = {n: (("layer", "position", "k")[: a.ndim], a) for n, a in arrays.items()}
    yield from write_arrays(context.folder.path, STORE, written, {"kind": "logit_lens", "tokens": tokens, "positions": positions})
    probs, ranks = arrays["answer_prob"][:, -1], arrays["answer_rank"][:, -1].astype(int)
    first = logit_lens.crossover(ranks.tolist())
    top = [texts_of(tokenizer, [int(token)])[0] for token in arrays["top_token"][:, -1, 0]]
    yield from _figure(context, asked[-1], probs)
    values = {
        "tokens": tokens,
        "answer": asked[-1],
        "layers": list(range(anatomy.num_layers)),
        "answer_prob": probs.astype(float).tolist(),
        "answer_rank": ranks.tolist(),
        "top_token": top,
        "entropy": arrays["entropy"][:, -1].astype(float).tolist(),
        "kl_to_end": arrays["kl_to_end"][:, -1].astype(float).tolist(),
        "crossover_layer": first,
        "seconds": time.monotonic() - started,
    }
    headline = {"crossover_layer": first, "answer_prob": float(probs[-1])}
    return Result(values, headline, _report(params.prompt, values), {f"{STORE}/{name}": digest(array) for name, array in arrays.items()})


def _positions(params: Params, length: int) -> list[int]:
    from ..errors import UserError

    if params.positions == "all":
        return list(range(length))
    chosen = [-1] if params.positions == "last" else list(params.positions)
    if not chosen:
        raise UserError("params.positions is empty", "give 'all', 'last', or token positions")
    if wrong := [place for place in chosen if not -length <= place < length]:
        raise UserError(f"params.positions: there is no position {wrong[0]}", f"the prompt has tokens 0 to {length - 1}")
    return sorted({place % length for place in chosen})


def _packed(reading: Reading) -> Numbers:
    parts = (*(getattr(reading, name) for name in PER_POSITION), reading.top_prob, reading.top_token)
    return np.concatenate([part.float().cpu().numpy().ravel() for part in parts])  # token ids are exact in float32 up to 2^24


def _unpacked(numbers: Numbers, positions: int, k: int) -> dict[str, Numbers]:
    plain = len(PER_POSITION) * positions
    found = dict(zip(PER_POSITION, numbers[:plain].reshape(len(PER_POSITION), positions), strict=True))
    top_prob, top_token = numbers[plain:].reshape(2, positions, k)
    return {**found, "top_prob": top_prob, "top_token": top_token}


def _figure(context: Context, answer: str, probs: Numbers) -> Generator[Event, None, None]:
    folder = context.folder.path / "figures"
    folder.mkdir(exist_ok=True)
    curve = Curve("".join(c if c.isprintable() else "·" for c in answer), range(len(probs)), probs.astype(float).tolist())
    atomic.write_text(folder / "answer.svg", lines_svg("probability of the answer by layer", "layer", "probability", [curve]))
    yield Artifact("figures/answer.svg", "probability of the answer by layer")


def _report(prompt: str, values: dict[str, Any]) -> str:
    first = values["crossover_layer"]
    said = f"from layer **{first}** on" if first is not None else "at **no** layer"
    rows = zip(values["layers"], values["answer_prob"], values["answer_rank"], values["top_token"], values["kl_to_end"], strict=True)
    table = "\n".join(f"| {layer} | {p:.4f} | {r} | {token!r} | {far:.3f} |" for layer, p, r, token, far in rows)
    return f"""# Logit lens

`{prompt}` → `{values["answer"]}`: first the likeliest token {said}.

![probability of the answer](figures/answer.svg)

| layer | P(answer) | rank | likeliest | KL to the end, nats |
|---:|---:|---:|---|---:|
{table}
"""
