"""A steer_text run: each prompt's continuation before and under each strength, with what happens to its next token. Imports torch."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...catalog import Result
from ...data.prompts import answer_ids, encode, need_tokenizer, texts_of
from ...events import Event, Metrics, Phase
from ...figures.lines import Curve, lines_svg
from ...markdown import words
from ...numbers import short
from ...payload import LEFT_OUT
from ...probes.steering import Steering, continuation
from ...results.steer_text import SteeredPoint, SteeredRow, SteeredVariant, SteerTextCell, SteerTextHeadline, SteerTextResult
from ...runtime.context import Context
from ...runtime.open_model import open_model, run_started
from ...runtime.steps import Numbers, Steps, digests, write_arrays, write_figure
from ...sites.answers import log_prob
from ...sites.cache import ActivationCache
from ...uncertainty import Uncertainty, none_known
from .._features.direction import Direction, fit_direction, read_direction
from .params import Params

STORE = "steer_text.zarr"
HEAD = 3
"""Numbers of a variant before its token ids: KL, log-probability of the answer (NaN without one), and how many tokens there are."""


@dataclass(frozen=True)
class SteeredText:
    """One continuation."""

    kl: float
    logprob: float | None
    ids: list[int]

    @classmethod
    def of(cls, numbers: Numbers) -> SteeredText:
        """From the numbers that a step keeps."""
        logprob = float(numbers[1])
        return cls(float(numbers[0]), None if np.isnan(logprob) else logprob, [int(i) for i in numbers[HEAD : HEAD + int(numbers[2])]])


def run(context: Context) -> Generator[Event, None, Result]:
    """The whole run. Raises Interrupted after a stop, UserError for directions, prompts and answers that do not fit the model."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    model, site_map = yield from open_model(manifest)
    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = [encode(tokenizer, text, context=site_map.context, name=f"prompt {i + 1}") for i, text in enumerate(params.prompts)]
    right: list[tuple[int, ...]] = [()] * len(ids)
    if params.answer is not None:
        answer, when_long = params.answer, params.long_answers
        right = [answer_ids(tokenizer, text, answer, name="answer", when_long=when_long, as_whole=False) for text in params.prompts]
    if params.direction:
        direction = read_direction(params.direction, params.site, site_map)
    else:
        assert params.site is not None
        direction = fit_direction(ActivationCache(model), params.site, params.toward, params.away)
    yield run_started(context, model)
    yield Phase("writing", f"{len(ids)} prompts, {len(params.strengths)} strengths")
    plans = [None, *(_steering(direction, params, strength) for strength in params.strengths)]

    def do(index: int) -> Numbers:
        row = torch.tensor([ids[index]], device=model.device)
        rows, clean = [], None
        for steering in plans:
            written = continuation(model.module, site_map, row, params.tokens, steering, end=tokenizer.eos_token_id)
            logs = written.logits.log_softmax(-1)
            clean = logs if clean is None else clean
            logprob = float(log_prob(written.logits, right[index])) if right[index] else float("nan")
            numbers = np.zeros(HEAD + params.tokens, np.float32)
            numbers[:HEAD] = (_kl(clean, logs), logprob, len(written.ids))
            numbers[HEAD : HEAD + len(written.ids)] = written.ids
            rows.append(numbers)
        return np.stack(rows).ravel()

    def say(index: int, _: int, numbers: Numbers) -> list[Event]:
        before, *after = _variants(numbers, params)
        first = index == 0
        cell = SteerTextCell(
            prompt=params.prompts[index],
            before_tokens=tuple(texts_of(tokenizer, before.ids)),
            before_logprob=before.logprob,
            kl=before.kl,
            after=tuple(
                SteeredVariant(strength=s, after_tokens=tuple(texts_of(tokenizer, text.ids)), after_logprob=text.logprob, kl=text.kl)
                for s, text in zip(params.strengths, after, strict=True)
            ),
            direction=direction.origin if first else LEFT_OUT,
            site=str(direction.site) if first else LEFT_OUT,
            verb=params.verb if first else LEFT_OUT,
            step=direction.step if first else LEFT_OUT,
        )
        return [Metrics("cells", index, cell.as_json()), Metrics("headline", index, SteerTextHeadline(kl=after[-1].kl).as_json())]

    done = yield from Steps(context, range(len(ids)), unit="prompts", size=lambda _: 1).run(do, say)
    variants = [_variants(numbers, params) for numbers in done]
    table = np.stack(done).reshape(len(ids), len(plans), -1)
    arrays: dict[str, Any] = {
        "kl": (("prompt", "variant"), table[..., 0]),
        "logprob": (("prompt", "variant"), table[..., 1]),
        "tokens": (("prompt", "variant", "token"), table[..., HEAD:].astype(np.int32)),
    }
    yield from write_arrays(context.folder.path, STORE, arrays, {"prompts": params.prompts, "strengths": [0.0, *params.strengths]})
    rows, curve = _rows_and_curve(params, variants, tokenizer)
    yield _figure(context, params.strengths, curve)
    values = SteerTextResult(
        site=str(direction.site),
        direction=direction.origin,
        verb=params.verb,
        step=direction.step,
        zero=direction.zero,
        rows=rows,
        curve=curve,
        arrays=(f"{STORE}/tokens",),
        seconds=time.monotonic() - started,
    )
    headline = SteerTextHeadline(changed=sum(row.after != row.before for row in rows), of=len(rows), kl=curve[-1].kl)
    report, bars = _report(params, direction, values), {"kl": _over_prompts(table[:, -1, 0])}
    return Result(values.as_json(), headline.as_json(), report, digests(STORE, arrays), bars)


def _over_prompts(kls: Numbers) -> Uncertainty:
    """Of the mean at the last strength, by the prompts' spread."""
    count = len(kls)
    return none_known("one prompt") if count < 2 else Uncertainty(f"{count} prompts", float(kls.std(ddof=1, dtype=np.float64)) / count**0.5)


def _steering(direction: Direction, params: Params, strength: float) -> Steering:
    amount = strength * direction.step if params.verb == "add" else direction.level(strength)
    return Steering(direction.site, direction.unit, params.verb, amount)


def _kl(clean: Tensor, steered: Tensor) -> float:
    """KL(clean ‖ steered) of the next token, nats."""
    return max(0.0, float((clean.exp() * (clean - steered)).sum()))


def _variants(numbers: Numbers, params: Params) -> list[SteeredText]:
    return [SteeredText.of(row) for row in numbers.reshape(1 + len(params.strengths), HEAD + params.tokens)]


def _rows_and_curve(
    params: Params, variants: Sequence[Sequence[SteeredText]], tokenizer: Any
) -> tuple[tuple[SteeredRow, ...], tuple[SteeredPoint, ...]]:
    """Every prompt at every strength, and each strength over the prompts. variants: by prompt, unsteered first."""
    rows, curve = [], []
    for place, strength in enumerate(params.strengths, 1):
        gains = []
        for prompt, (before, *_), after in zip(params.prompts, variants, (texts[place] for texts in variants), strict=True):
            gain = None if before.logprob is None or after.logprob is None else after.logprob - before.logprob
            gains.append(gain)
            unsteered, steered = tokenizer.decode(before.ids), tokenizer.decode(after.ids)
            rows.append(SteeredRow(prompt=prompt, strength=strength, before=unsteered, after=steered, kl=after.kl, effect=gain))
        defined = [gain for gain in gains if gain is not None]
        kl = float(np.mean([texts[place].kl for texts in variants]))
        curve.append(SteeredPoint(strength=strength, kl=kl, effect=float(np.mean(defined)) if defined else None))
    return tuple(rows), tuple(curve)


def _figure(context: Context, xs: Sequence[float], curve: Sequence[SteeredPoint]) -> Event:
    curves = [Curve("KL from unsteered", xs, [point.kl for point in curve])]
    if curve[0].effect is not None:
        curves.append(Curve("Δ log P(answer)", xs, [point.effect for point in curve]))
    svg = lines_svg("effect on the next token", "strength", "nats", curves)
    return write_figure(context.folder.path, "strengths", svg, "effect on the next token by strength")


def _report(params: Params, direction: Direction, values: SteerTextResult) -> str:
    what = {"add": "added to", "ablate": "removed from", "clamp": "held in"}[params.verb]
    lines = [
        "# Steer a text",
        "",
        f"{direction.origin}, {what} {direction.site} at every position. A strength of 1 is {short(direction.step)} along it.",
        "",
        "![effect by strength](figures/strengths.svg)",
        "",
        "| prompt | strength | before | after | KL | Δ log P(answer) |",
        "|---|---:|---|---|---:|---:|",
    ]
    for row in values.rows:
        effect = "" if row.effect is None else f"{row.effect:+.2f}"
        lines.append(f"| {words(row.prompt)} | {row.strength:g} | {words(row.before)} | {words(row.after)} | {row.kl:.3f} | {effect} |")
    return "\n".join([*lines, ""])
