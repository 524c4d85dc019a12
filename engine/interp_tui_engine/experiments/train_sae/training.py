"""The training loop of train_sae: batches in, dictionaries out, numbers and checkpoints on the way. Imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial

import psutil
import torch
from torch import Tensor

from ...dictionaries.architecture import Pass, reconstruct
from ...dictionaries.evaluation import loss_recovered, rate_histogram
from ...dictionaries.health import complaint
from ...dictionaries.learner import Learner, Running
from ...dictionaries.names import ARCHITECTURES
from ...dictionaries.registry import build
from ...dictionaries.schedule import Schedule
from ...dictionaries.stream import keyed_generator
from ...dictionaries.weights import tied
from ...errors import RunFailed, UserError
from ...events import Checkpoint, Event, Metrics, Progress, Warned
from ...results.train_sae import FiringHistograms, FiringRates, InTraining, LossInTraining, Training, TrainSAEHeadline
from ...runtime.context import Context, Interrupted, Ticker, parse_interval
from ...runtime.pause import next_order
from ...samplers.chains.microbatch import Microbatch
from .checkpoints import Checkpoints
from .params import Params, Variant
from .source import ActivationSource

REPORT_EVERY = 0.5
"""Seconds between reports: a view repaints twice a second."""
LOSS_CHECKS = 10
"""How often on the way the model is asked what it thinks of the dictionaries."""
HISTORY = 300
"""Fewest points of a curve that has been thinned."""


@dataclass(frozen=True)
class Trained:
    """Dictionaries in the units they were trained in: `scale` times the model's."""

    learners: list[Learner]
    scale: float
    steps: int
    seconds: float
    """Time in training steps, over all starts of the run."""
    history: list[list[list[float]]]
    """For each dictionary [step, FVU, L0], as reported."""
    partners: list[Learner]
    """The same dictionaries from another start, where params.seeds asks for them."""


def steps_of(params: Params, tokens: int) -> int:
    """Optimiser steps for the token budget."""
    wanted = params.tokens if params.tokens is not None else params.epochs * tokens
    return max(1, math.ceil(wanted / params.batch_size))


def train(context: Context, params: Params, source: ActivationSource, chosen: list[Variant]) -> Generator[Event, None, Trained]:
    """Train all of `chosen` on one stream. Goes on from the checkpoint where there is one; raises Interrupted after a stop."""
    steps = steps_of(params, source.tokens)
    _check_variety(source)
    scale = _scale(source) if params.normalise else 1.0
    own = _learners(params, source, chosen, scale, steps, context.manifest.seed)
    partners = _learners(params, source, chosen, scale, steps, context.manifest.seed, start=1) if params.seeds > 1 else []
    learners = [*own, *partners]
    warnings: list[str] = []
    pieces = Microbatch(params.batch_size, warnings.append)
    with Checkpoints(context.checkpoint_path / "training.pt", source, learners, pieces) as checkpoints:
        step, spent, history = checkpoints.restore()
        history = history[: len(own)]
        every = parse_interval(context.manifest.compute.checkpoint_every) or checkpoints.every
        reporter = _Reporter(source, chosen, own, scale, steps, params.batch_size, history)
        report, keep, last_saved = Ticker(REPORT_EVERY), Ticker(every), step
        keep.due()
        checks = {round(steps * (i + 1) / LOSS_CHECKS) for i in range(LOSS_CHECKS)} if source.losses is not None else set()
        while step < steps:
            begun, before, whole = time.monotonic(), source.stream.state(), True
            try:
                x_BD = source.stream.take(params.batch_size) * scale
                for learner in learners:
                    done = pieces.run(partial(_differentiate, learner, pieces, x_BD))
                    whole = False
                    learner.apply(x_BD, done)
            except Interrupted:  # reading activations of a large model, most likely: the steps before this one are whole
                if whole and step > last_saved and context.poll() == "stop":
                    checkpoints.save(step, spent, history, stream=before)
                raise
            step += 1
            while warnings:
                yield Warned(warnings.pop(0).replace("micro-batches", "batches"))
            spent += time.monotonic() - begun
            order = context.poll()
            if (keep.due() or order in ("checkpoint", "stop", "pause")) and step > last_saved:
                checkpoints.save(step, spent, history)
                last_saved = step
                yield Checkpoint("checkpoint", step)
            if report.due() or step == steps or order != "go":
                yield from reporter.events(step, spent)
            if step in checks and step < steps:
                yield from reporter.losses(step)
            if order == "pause":
                order = next_order(context.poll)
            if order == "stop":
                raise Interrupted
        if step > last_saved:
            checkpoints.save(step, spent, history)
    return Trained(own, scale, steps, spent, history, partners)


def _scale(source: ActivationSource) -> float:
    """√width / mean norm (Anthropic, April 2024 update): learning rate and coefficients then mean the same for any model and layer."""
    return math.sqrt(source.width) / float(source.sample.norm(dim=1).mean())


def _check_variety(source: ActivationSource) -> None:
    """Raise UserError for activations from which nothing can be learnt."""
    if not bool(source.sample.any()):
        raise UserError("all activations are zero", "choose another site, or other records")
    if len(source.sample) > 1 and bool((source.sample == source.sample[0]).all()):
        raise UserError(f"all {len(source.sample):,} activations are the same", "choose another site, or other records")


def _learners(
    params: Params, source: ActivationSource, chosen: list[Variant], scale: float, steps: int, seed: int, start: int = 0
) -> list[Learner]:
    """A learner for each dictionary; `start` numbers the random weights it begins with."""
    schedule = Schedule(steps, params.lr, round(params.warmup * steps), round(params.decay * steps), round(params.sparsity_warmup * steps))
    learners = []
    for variant in chosen:
        if variant.sparsity.k > variant.latents and ARCHITECTURES[variant.architecture].has_k:
            raise UserError(f"params.k = {variant.sparsity.k} is more than the {variant.latents} latents", "lower k, or raise expansion")
        architecture = build(variant.architecture, variant.latents, variant.sparsity)
        weights = tied(variant.latents, source.sample * scale, keyed_generator(seed, -4 - 1_000 * start))
        learners.append(
            Learner(
                architecture,
                weights,
                schedule,
                auxk_coefficient=params.auxk if architecture.revives_dead else 0.0,
                k_aux=params.k_aux or max(1, source.width // 2),
                dead_after=params.dead_tokens,
                bf16=None if params.products == "auto" else params.products == "bf16",
            )
        )
    return learners


def _differentiate(learner: Learner, pieces: Microbatch, x_BD: Tensor) -> Pass:
    return learner.differentiate(pieces.split(x_BD))


class _Reporter:
    """Turns the learners' running numbers into events."""

    def __init__(
        self,
        source: ActivationSource,
        chosen: list[Variant],
        learners: list[Learner],
        scale: float,
        steps: int,
        batch: int,
        history: list[list[list[float]]],
    ) -> None:
        self._source, self._chosen, self._learners = source, chosen, learners
        self._scale, self._steps, self._batch = scale, steps, batch
        self._warned: set[tuple[int, str]] = set()
        self._history = history
        self._fired: list[Tensor] = [torch.zeros(learner.weights.latents) for learner in learners]
        self._counted = [0] * len(learners)

    def events(self, step: int, spent: float) -> Generator[Event, None, None]:
        rate = step / spent if spent > 0 else 0.0
        yield Progress(step, self._steps, "steps", (self._steps - step) / rate if rate > 0 else None)
        device = self._source.device
        yield Metrics(
            "training",
            step,
            Training(
                tokens=step * self._batch,
                tokens_per_second=rate * self._batch,
                lr=self._learners[0].schedule.rate(step - 1),
                memory_bytes=psutil.Process().memory_info().rss,
                device_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            ).as_json(),
        )
        histograms = []
        headline: TrainSAEHeadline | None = None
        for index, (variant, learner) in enumerate(zip(self._chosen, self._learners, strict=True)):
            running, fired = learner.take_running()
            if running.tokens == 0:
                continue
            if not math.isfinite(running.loss):
                raise RunFailed(f"{variant.name}: loss not finite by step {step}", "lower lr")
            yield from self._warnings(index, running, step)
            numbers = InTraining(fvu=running.fvu, l0=running.l0, dead_fraction=running.dead_fraction, loss=running.loss)
            yield Metrics(f"sae{index}", step, numbers.as_json())
            self._keep(index, step, running)
            headline = headline or TrainSAEHeadline(fvu=running.fvu, l0=running.l0, dead_fraction=running.dead_fraction)
            histograms.append(self._histogram(index, running, fired))
        if headline is not None:
            rates = FiringHistograms(names=tuple(variant.name for variant in self._chosen), saes=tuple(histograms))
            yield Metrics("histogram", step, rates.as_json())
            yield Metrics("headline", step, headline.as_json())

    def losses(self, step: int) -> Generator[Event, None, None]:
        assert self._source.losses is not None
        for index, learner in enumerate(self._learners):
            rows = self._source.losses.measure(reconstructor(learner, self._scale), live=True)
            means = {name: float(values.mean()) for name, values in rows.items()}
            recovered = loss_recovered(means["ce_clean"], means["ce_sae"], means["ce_zero"])
            losses = LossInTraining(ce_loss_recovered=recovered, ce_sae=means["ce_sae"], ce_clean=means["ce_clean"])
            yield Metrics(f"loss{index}", step, losses.as_json())

    def _keep(self, index: int, step: int, running: Running) -> None:
        history = self._history[index]
        history.append([step, running.fvu, running.l0])
        if len(history) > 2 * HISTORY:
            history[:] = history[1::2]

    def _histogram(self, index: int, running: Running, fired: Tensor) -> FiringRates:
        """Over a window of the newest tokens that is long enough to see a latent that fires once in ten thousand."""
        fired = fired.cpu()
        window = max(1, 100_000 // max(1, running.tokens))
        self._fired[index] = self._fired[index] * (1 - 1 / window) + fired
        self._counted[index] = round(self._counted[index] * (1 - 1 / window)) + running.tokens
        edges, counts, _ = rate_histogram(self._fired[index], self._counted[index])
        dead = int(self._learners[index].dead.sum())
        latents = self._learners[index].weights.latents
        return FiringRates(low=edges[0], high=edges[-1], counts=tuple(counts), dead=dead, latents=latents)

    def _warnings(self, index: int, running: Running, step: int) -> Generator[Event, None, None]:
        variant = self._chosen[index]
        warning = complaint(running, latents=variant.latents, width=self._source.width, share_done=step / self._steps)
        if warning is not None and (kind := (index, warning.split(":")[0].lstrip("0123456789%. "))) not in self._warned:
            self._warned.add(kind)
            yield Warned(f"{variant.name}: {warning}")


def reconstructor(learner: Learner, scale: float) -> Callable[[Tensor], Tensor]:
    """x̂ of activations in the model's own units."""

    def of(x_BD: Tensor) -> Tensor:
        scaled = x_BD * scale
        return reconstruct(learner.weights, learner.architecture.encode(learner.weights, scaled)) / scale

    return of
