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
from ...figures.lines import Curve, lines_svg
from ...manifest import Manifest
from ...markdown import code
from ...results.logit_lens import LIVE, LogitLensHeadline, LogitLensResult
from ...runtime import cost, input_files, inputs
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays, write_figure
from ...uncertainty import Uncertainty, none_known
from ...validation_errors import nearest
from . import tuned_lens
from .params import Params

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
SMALLEST_KL = 1e-3
"""Nats by which a lens must be further from the end to be called worse on one prompt."""
PER_POSITION = ("answer_prob", "answer_rank", "entropy", "kl_to_end")


def check(manifest: Manifest) -> list[Problem]:
    """A lens to be fitted without text, or one given that is not asked for."""
    params: Params = manifest.params
    problems = []
    if params.lens == "logit" and params.tuned_from is not None:
        problems.append(Problem("params.tuned_from", "is given, but lens = 'logit'; set lens = 'tuned'", value=params.tuned_from))
    if params.lens == "tuned" and params.tuned_from is None and params.data not in manifest.data:
        there = ", ".join(manifest.data)
        said = f"is none of the manifest's data: {there}" if there else "is not there: a tuned lens is fitted to text"
        problems.append(Problem("params.data", f"[data.{params.data}] {said}; add it, or give tuned_from", value=params.data))
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

    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = encode(tokenizer, params.prompt, context=site_map.context, name="prompt")
    positions = _positions(params, len(ids))
    stream = logit_lens.streams(site_map, torch.tensor([ids], device=model.device))
    given = params.answer
    if given is None:
        right: tuple[int, ...] = (int(site_map.unembed(stream[-1, -1]).argmax()),)
    else:
        right = answer_ids(tokenizer, params.prompt, given, name="answer", when_long=params.long_answers, as_whole=False)
    answers = [right if place == len(ids) - 1 else (ids[place + 1],) for place in positions]
    yield run_started(context, model)
    tuned = (yield from tuned_lens.tuned(context, model, site_map)) if params.lens == "tuned" else None
    yield Phase("reading layers")
    k = min(params.top_k, model.vocab_size)
    tokens = [texts_of(tokenizer, [ids[place]])[0] for place in positions]
    asked = ["".join(texts_of(tokenizer, answer[:1])) for answer in answers]

    def do(layer: int) -> Numbers:
        seen = [stream[layer, positions]] + ([] if tuned is None else [tuned.lens(layer, stream[layer, positions])])
        return np.concatenate([_packed(logit_lens.read(site_map, one, stream[-1, positions], answers, k)) for one in seen])

    def unpacked(numbers: Numbers) -> dict[str, Numbers]:
        parts = np.split(numbers, 1 if tuned is None else 2)
        return {f"{lens}{n}": v for lens, part in zip(LENSES, parts, strict=False) for n, v in _unpacked(part, len(positions), k).items()}

    def say(index: int, layer: int, numbers: Numbers) -> list[Event]:
        found = unpacked(numbers)
        values: dict[str, Any] = {"layer": layer}
        for lens in LENSES[: 1 if tuned is None else 2]:
            values |= {f"{lens}{name}": [round(float(v), 6) for v in found[f"{lens}{name}"]] for name in PER_POSITION}
            values[f"{lens}top"] = [texts_of(tokenizer, [int(token) for token in row]) for row in found[f"{lens}top_token"]]
            values[f"{lens}top_prob"] = [[round(float(p), 4) for p in row] for row in found[f"{lens}top_prob"]]
        if layer == 0:
            values |= {"tokens": tokens, "asked": asked, "layers": site_map.num_layers, "positions": positions}
        return [Metrics("cells", index, values), Metrics("headline", index, {"answer_prob": float(found["answer_prob"][-1])})]

    steps = Steps(context, list(range(site_map.num_layers)), unit="layers", size=lambda _: 1)
    done = yield from steps.run(do, say)
    found = [unpacked(numbers) for numbers in done]
    arrays = {name: np.stack([row[name] for row in found]) for name in found[0]}
    written = {n: (("layer", "position", "k")[: a.ndim], a) for n, a in arrays.items()}
    yield from write_arrays(context.folder.path, STORE, written, {"kind": "logit_lens", "tokens": tokens, "positions": positions})

    def at_the_end(lens: str) -> dict[str, Any]:
        ranks = arrays[f"{lens}answer_rank"][:, -1].astype(int).tolist()
        return {
            "answer_prob": arrays[f"{lens}answer_prob"][:, -1].astype(float).tolist(),
            "answer_rank": ranks,
            "top_token": [texts_of(tokenizer, [int(token)])[0] for token in arrays[f"{lens}top_token"][:, -1, 0]],
            "entropy": arrays[f"{lens}entropy"][:, -1].astype(float).tolist(),
            "kl_to_end": arrays[f"{lens}kl_to_end"][:, -1].astype(float).tolist(),
            "crossover_layer": logit_lens.crossover(ranks),
        }

    plain, other = at_the_end(""), None if tuned is None else at_the_end("tuned_")
    yield _figure(context, asked[-1], plain, other)
    values = {
        "tokens": tokens,
        "answer": asked[-1],
        "layers": list(range(site_map.num_layers)),
        **plain,
        "tuned": other,
        "held_out": None if tuned is None else tuned.held_out,
        "domains": {} if tuned is None else tuned.domains,
        "seconds": time.monotonic() - started,
    }
    headline = {"crossover_layer": plain["crossover_layer"], "answer_prob": plain["answer_prob"][-1]}
    hashes = digests(STORE, written)
    if tuned is not None:
        headline["tuned_crossover"], hashes[tuned_lens.FILE] = other and other["crossover_layer"], tuned.digest
    bars = {name: none_known("one prompt") for name in ("crossover_layer", "answer_prob")}
    return Result(values, headline, _report(params.prompt, values), hashes, bars | _uncertainty(values))


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
    parts = (*(getattr(reading, name) for name in PER_POSITION), reading.top_prob, reading.top_token)
    return np.concatenate([part.float().cpu().numpy().ravel() for part in parts])  # token ids are exact in float32 up to 2^24


def _unpacked(numbers: Numbers, positions: int, k: int) -> dict[str, Numbers]:
    plain = len(PER_POSITION) * positions
    found = dict(zip(PER_POSITION, numbers[:plain].reshape(len(PER_POSITION), positions), strict=True))
    top_prob, top_token = numbers[plain:].reshape(2, positions, k)
    return {**found, "top_prob": top_prob, "top_token": top_token}


def _figure(context: Context, answer: str, plain: dict[str, Any], tuned: dict[str, Any] | None) -> Event:
    name = "".join(c if c.isprintable() else "·" for c in answer)
    curves = [Curve(name, range(len(plain["answer_prob"])), plain["answer_prob"])]
    if tuned is not None:
        curves.append(Curve(f"{name}, tuned lens", range(len(tuned["answer_prob"])), tuned["answer_prob"]))
    said = "probability of the answer by layer"
    return write_figure(context.folder.path, "answer", lines_svg(said, "layer", "probability", curves), said)


def _report(prompt: str, values: dict[str, Any]) -> str:
    lines = [
        "# Logit lens",
        "",
        f"`{code(prompt)}` → `{code(values['answer'])}`: {_first(values)}.",
        "",
        "![probability of the answer](figures/answer.svg)",
    ]
    lines += ["", *_table(values["layers"], values)]
    if (tuned := values["tuned"]) is not None:
        lines += ["", "# Tuned lens", "", f"Through a map fitted for each layer, {_first(tuned)}.", "", *_table(values["layers"], tuned)]
        lines += ["", *_here(values)]
    if (held := values["held_out"]) is not None:
        same = ", ".join(f"L{layer}" for layer in held["identity_layers"])
        lines += [
            "",
            f"On {held['tokens']:,} held-out tokens, in blocks across the text it was fitted to, mean KL to the end in nats a token:",
            "",
        ]
        lines += ["| layer | logit lens | tuned lens |", "|---:|---:|---:|"]
        lines += [f"| {i} | {a:.4f} | {b:.4f} |" for i, (a, b) in enumerate(zip(held["logit_kl"], held["tuned_kl"], strict=True))]
        lines += ["", f"Fitting did not help {same}: read as by the logit lens."] if same else []
    lines += _elsewhere(values["layers"], values["domains"])
    return "\n".join([*lines, ""])


def _here(values: dict[str, Any]) -> list[str]:
    """Whether the tuned lens does worse than the logit lens on the very prompt that is read."""
    both = zip(values["kl_to_end"], values["tuned"]["kl_to_end"], strict=True)
    worse = ", ".join(f"L{layer}" for layer, (plain, other) in enumerate(both) if other > plain + SMALLEST_KL)
    return [f"**Worse than the logit lens here**: further from the end on this prompt at {worse}."] if worse else []


def _elsewhere(layers: list[int], domains: dict[str, Any]) -> list[str]:
    """Both lenses on texts that the tuned one was not fitted to."""
    if not domains:
        return []
    lines = ["", "On other texts, mean KL to the end in nats a token, logit lens → tuned lens:", ""]
    lines += ["| layer | " + " | ".join(f"`{code(name)}`" for name in domains) + " |", "|---:|" + "---:|" * len(domains)]
    for layer in layers:
        cells = [f"{row['logit_kl'][layer]:.4f} → {row['tuned_kl'][layer]:.4f}" for row in domains.values()]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    for name, row in domains.items():
        if row["worse_layers"]:
            worse = ", ".join(_by_how_much(row, layer) for layer in row["worse_layers"])
            lines += ["", f"**Worse than the logit lens here**, on `{code(name)}`: {worse} nats, with the standard error over its rows."]
    return lines


def _by_how_much(row: dict[str, Any], layer: int) -> str:
    return f"L{layer} by {row['tuned_kl'][layer] - row['logit_kl'][layer]:.3f} ± {row['std_error'][layer]:.3f}"


def _uncertainty(values: dict[str, Any]) -> dict[str, Uncertainty]:
    """By text: how much further from the end the tuned lens is, over the layers but the last; the logit lens is its control, at 0."""
    return {
        f"domains.{name}.difference": Uncertainty(
            f"{row['rows']} rows of text",
            row["difference_std_error"],
            control=0.0,
            clear=abs(row["difference"]) > 2 * row["difference_std_error"],
        )
        for name, row in values["domains"].items()
    }


def _first(values: dict[str, Any]) -> str:
    first = values["crossover_layer"]
    return "the answer is the likeliest token first " + (f"at layer **{first}**" if first is not None else "at **no** layer")


def _table(layers: list[int], values: dict[str, Any]) -> list[str]:
    rows = zip(layers, values["answer_prob"], values["answer_rank"], values["top_token"], values["kl_to_end"], strict=True)
    head = ["| layer | P(answer) | rank | likeliest | KL to the end, nats |", "|---:|---:|---:|---|---:|"]
    return [*head, *(f"| {layer} | {p:.4f} | {r} | {token!r} | {far:.3f} |" for layer, p, r, token, far in rows)]


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
)
