"""The logit lens and the tuned lens: what each layer would predict next, over the positions of a prompt."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...catalog import Estimate, Kind, Result
from ...errors import Problem, UserError
from ...events import Event, Metrics, Phase
from ...manifest import Manifest
from ...payload import LEFT_OUT, given
from ...results.logit_lens import LIVE, LensCell, LensLayers, LogitLensHeadline, LogitLensResult
from ...runtime import cost, input_files, inputs
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays
from ...uncertainty import none_known
from ...validation_errors import nearest
from . import tuned_lens
from .params import Params
from .report import figure, report, uncertainty

if TYPE_CHECKING:
    from ...lenses.logit_lens import Reading

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "params": {"prompt": "The capital of France is", "answer": " Paris"},
}
STORE = "lens.zarr"
BUILTIN = ("builtin:prose", "builtin:code", "builtin:facts")
LENSES = ("", "tuned_")
"""What the names of each lens's numbers begin with."""
PER_POSITION = ("answer_prob", "answer_rank", "entropy", "kl_to_end")


def check(manifest: Manifest) -> list[Problem]:
    """A lens to be fitted without text, or one given that is not asked for."""
    params: Params = manifest.params
    problems = []
    if params.lens == "logit" and params.tuned_from is not None:
        problems.append(Problem("params.tuned_from", "is given, but lens = 'logit'; set lens = 'tuned'", value=params.tuned_from))
    if params.lens == "tuned" and params.tuned_from is None and params.data not in manifest.data:
        there = ", ".join(manifest.data)
        what = f"is none of the manifest's data: {there}" if there else "is not there: a tuned lens is fitted to text"
        problems.append(Problem("params.data", f"[data.{params.data}] {what}; add it, or give tuned_from", value=params.data))
    known = [*BUILTIN, *manifest.data]
    for index, name in enumerate(params.domains):
        if name not in known:
            message = f"{name!r} is no built-in text and no [data] table; there are {', '.join(known)}"
            problems.append(Problem(f"params.domains.{index}", message, value=name, suggestion=nearest(name, known, 0.5)))
    if params.answer is not None and not all([params.answer] if isinstance(params.answer, str) else params.answer or [""]):
        problems.append(Problem("params.answer", "is empty; give what should follow, or leave it out", value=params.answer))
    if params.lens == "tuned" and not problems:
        if params.tuned_from is not None:
            return inputs.read("params.tuned_from", params.tuned_from, _lens_file)[1]
        return inputs.data_problems(manifest.data, [params.data, *params.domains])
    return problems


def _lens_file(path: Path) -> None:
    file = path / tuned_lens.FILE if path.is_dir() else path
    if "layers.0.weight" not in input_files.tensors(file):
        raise UserError(f"{file} is no tuned lens of this program", "give the folder of a run with lens = 'tuned', or its lens.safetensors")


def estimate(manifest: Manifest) -> Estimate:
    """One forward pass, and an unembedding for each layer."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    params: Params = manifest.params
    flops, memory, notes = 8 * size.parameters * (len(params.prompt) // 3 + 1), cost.BASE_BYTES + 6 * size.parameters, size.notes
    spec = manifest.data.get(params.data)
    if params.lens == "tuned" and params.tuned_from is None and spec is not None:
        # a step runs the model once, and for every layer an unembedding forward and back, about a quarter of all parameters
        layers = max(4, round(size.parameters**0.18))
        flops += params.fit_steps * params.fit_batch * (spec.context + 1) * size.parameters * (2 + 1.5 * layers)
        memory += 8 * size.parameters + 12 * params.fit_batch * (spec.context + 1) * 50_000
        notes = (*notes, "a tuned lens unembeds every layer at each step: fewer, shorter rows make it faster")
    return Estimate(cost.seconds(flops), memory, 1 << 20, notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read layer by layer; a layer that is read is not read again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    model, site_map = yield from open_model(manifest)
    import torch

    from ...data.prompts import answer_ids, encode, need_tokenizer, texts_of
    from ...lenses import logit_lens
    from ...models.device import sent
    from ...sites.row_memory import fitting_logits

    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = encode(tokenizer, params.prompt, context=site_map.context, name="prompt")
    positions = _positions(params, len(ids))
    stream = logit_lens.streams(site_map, torch.tensor([ids], device=model.device))
    asked_for = params.answer
    if asked_for is None:
        right: tuple[int, ...] = (int(site_map.unembed(stream[-1, -1]).argmax()),)
    else:
        right = answer_ids(tokenizer, params.prompt, asked_for, name="answer", when_long=params.long_answers, as_whole=False)
    answers = [right if place == len(ids) - 1 else (ids[place + 1],) for place in positions]
    yield run_started(context, model)
    tuned = (yield from tuned_lens.tuned(context, model, site_map)) if params.lens == "tuned" else None
    yield Phase("reading layers")
    k = min(params.top_k, model.vocab_size)
    tokens = [texts_of(tokenizer, [ids[place]])[0] for place in positions]
    asked = ["".join(texts_of(tokenizer, answer[:1])) for answer in answers]

    together, chosen = fitting_logits(site_map, len(positions)), sent(positions, model.device)

    def do(layer: int) -> Numbers:
        read, end = stream[layer, chosen], stream[-1, chosen]
        seen = [read] if tuned is None else [read, tuned.lens(layer, read)]
        return np.concatenate([_packed(logit_lens.read(site_map, hidden, end, answers, k, together)) for hidden in seen])

    def unpacked(numbers: Numbers) -> dict[str, Numbers]:
        parts = np.split(numbers, 1 if tuned is None else 2)
        return {f"{lens}{n}": v for lens, part in zip(LENSES, parts, strict=False) for n, v in _unpacked(part, len(positions), k).items()}

    def say(index: int, layer: int, numbers: Numbers) -> list[Event]:
        arrays = unpacked(numbers)
        readings: dict[str, Any] = {}
        for lens in LENSES[: 1 if tuned is None else 2]:
            readings |= {f"{lens}{name}": tuple(round(float(v), 6) for v in arrays[f"{lens}{name}"]) for name in PER_POSITION}
            readings[f"{lens}top"] = tuple(tuple(texts_of(tokenizer, [int(id) for id in row])) for row in arrays[f"{lens}top_token"])
            readings[f"{lens}top_prob"] = tuple(tuple(round(float(p), 4) for p in row) for row in arrays[f"{lens}top_prob"])
        first = layer == 0
        cell = LensCell(
            layer=layer,
            **readings,
            tokens=tuple(tokens) if first else LEFT_OUT,
            asked=tuple(asked) if first else LEFT_OUT,
            layers=site_map.num_layers if first else LEFT_OUT,
            positions=tuple(positions) if first else LEFT_OUT,
        )
        headline = LogitLensHeadline(answer_prob=float(arrays["answer_prob"][-1]))
        return [Metrics("cells", index, cell.as_json()), Metrics("headline", index, headline.as_json())]

    steps = Steps(context, list(range(site_map.num_layers)), unit="layers", size=lambda _: 1)
    done = yield from steps.run(do, say)
    by_layer = [unpacked(numbers) for numbers in done]
    arrays = {name: np.stack([row[name] for row in by_layer]) for name in by_layer[0]}
    written = {n: (("layer", "position", "k")[: a.ndim], a) for n, a in arrays.items()}
    yield from write_arrays(context.folder.path, STORE, written, {"kind": "logit_lens", "tokens": tokens, "positions": positions})

    def at_the_end(lens: str) -> LensLayers:
        ranks = arrays[f"{lens}answer_rank"][:, -1].astype(int).tolist()
        return LensLayers(
            answer_prob=tuple(arrays[f"{lens}answer_prob"][:, -1].astype(float).tolist()),
            answer_rank=tuple(ranks),
            top_token=tuple(texts_of(tokenizer, [int(token)])[0] for token in arrays[f"{lens}top_token"][:, -1, 0]),
            entropy=tuple(arrays[f"{lens}entropy"][:, -1].astype(float).tolist()),
            kl_to_end=tuple(arrays[f"{lens}kl_to_end"][:, -1].astype(float).tolist()),
            crossover_layer=logit_lens.crossover(ranks),
        )

    plain, other = at_the_end(""), None if tuned is None else at_the_end("tuned_")
    yield figure(context, asked[-1], plain, other)
    values = LogitLensResult(
        tokens=tuple(tokens),
        answer=asked[-1],
        layers=tuple(range(site_map.num_layers)),
        **given(plain),
        tuned=other,
        held_out=None if tuned is None else tuned.held_out,
        domains={} if tuned is None else tuned.domains,
        seconds=time.monotonic() - started,
    )
    headline = LogitLensHeadline(
        crossover_layer=plain.crossover_layer,
        answer_prob=plain.answer_prob[-1],
        tuned_crossover=LEFT_OUT if other is None else other.crossover_layer,
    )
    hashes = digests(STORE, written) | ({} if tuned is None else {tuned_lens.FILE: tuned.digest})
    bars = {name: none_known("one prompt") for name in ("crossover_layer", "answer_prob")}
    return Result(values.as_json(), headline.as_json(), report(params.prompt, values), hashes, bars | uncertainty(values))


def _positions(params: Params, length: int) -> list[int]:
    from ...errors import UserError

    if params.positions == "all":
        return list(range(length))
    chosen = [-1] if params.positions == "last" else list(params.positions)
    if not chosen:
        raise UserError("params.positions is empty", "give 'all', 'last', or token positions")
    if wrong := [place for place in chosen if not -length <= place < length]:
        raise UserError(f"params.positions: there is no position {wrong[0]}", f"the prompt has tokens 0 to {length - 1}")
    return sorted({place % length for place in chosen})


def _packed(reading: Reading) -> Numbers:
    from ...models.host_copies import host_copies

    parts = (*(getattr(reading, name) for name in PER_POSITION), reading.top_prob, reading.top_token)
    return np.concatenate([part.ravel() for part in host_copies([part.float() for part in parts])])  # token ids are exact up to 2^24


def _unpacked(numbers: Numbers, positions: int, k: int) -> dict[str, Numbers]:
    plain = len(PER_POSITION) * positions
    by_name = dict(zip(PER_POSITION, numbers[:plain].reshape(len(PER_POSITION), positions), strict=True))
    top_prob, top_token = numbers[plain:].reshape(2, positions, k)
    return {**by_name, "top_prob": top_prob, "top_token": top_token}


KIND = Kind(
    name="logit_lens",
    title="Logit lens",
    question="At which layer does the model make up its mind?",
    group="One forward pass",
    needs=frozenset({"model"}),
    example=EXAMPLE,
    params=Params,
    result=LogitLensResult,
    headline=LogitLensHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
