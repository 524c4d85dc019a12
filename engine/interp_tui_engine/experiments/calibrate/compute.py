"""Every setting of a calibration, one after another over one loaded model; what is done stays done. Imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict
from pathlib import Path

from ... import atomic
from ...catalog import Result
from ...data.rows import TokenRows
from ...digests import of_json
from ...errors import RunFailed
from ...estimators.calibration import Judged, Setting, Shown, Verdict, control_of, described, drift_of, finer_of, judge, verdict
from ...estimators.llc import acceptance_of, compute_llc
from ...events import Artifact, Event, Metrics, Phase, RunStarted, Warned
from ...manifest import Manifest
from ...models.loaded import LoadedModel
from ...numbers import as_finite, short
from ...payload import LEFT_OUT
from ...results.calibrate import CalibrateHeadline, CalibrateResult, CalibrationCell, SamplerSetting, SettingCase
from ...results.sampling import RunVerdict
from ...runtime.context import Context, Interrupted
from ...runtime.stream import stream
from ...samplers.chains.executor import Executor
from ...samplers.chains.run import ChainsSnapshot, Command, run_chains
from ...samplers.chains.store import digests, open_samples
from ...samplers.settings import SamplerConfig
from .._sampling import config_of
from .._sampling import run as sampling_run
from .._sampling.per_restriction import Clock
from .params import Params, cell_manifest, cells

READY = "calibrated.toml"


def run(context: Context) -> Generator[Event, None, Result]:
    """Load once, sample each setting, judge it as it ends, and at the end write the manifest to go on with."""
    started, manifest = time.monotonic(), context.manifest
    params: Params = manifest.params
    settings = cells(params)
    requests = [cell_manifest(manifest, setting) for setting in settings]
    model, rows = yield from sampling_run.load(requests[0])
    first = sampling_run.problem_of(requests[0], model, rows, params.restriction)
    executor = sampling_run.executor_of(context, first, config_of(requests[0]))
    provenance = sampling_run.provenance_of(model, rows, executor, manifest)
    yield RunStarted(manifest.kind, manifest.name, device=str(model.device), resumed=context.resumed, provenance=provenance)
    context.checkpoint_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = Clock(len(settings), config_of(requests[0]).num_sgld_steps * params.num_chains)
    results: list[Shown] = []
    for index, request in enumerate(requests):
        ended = context.checkpoint_path / f"{index:03d}.json"
        stored = atomic.read_json(ended)
        if isinstance(stored, dict):
            shown = Shown(**{**stored, "setting": Setting(**stored["setting"])})
        else:
            yield Phase("sampling", f"{described(Setting(**settings[index]))}: {index + 1} of {len(settings)}")
            work = _Cell(context, request, model, rows, executor, index, clock)
            shown = yield from stream(work.sample)
            atomic.write_json(ended, asdict(shown))
        results.append(shown)
        for at in _changed_by_last(results):
            yield Metrics("case", at, _sweep_row(results[at], results).as_json())
    choice, judged = verdict(results)
    yield Metrics("headline", len(results), _headline(choice, judged).as_json())
    yield Metrics("verdict", 0, RunVerdict(text=choice.text, usable=choice.usable, reasons=tuple(choice.reasons)).as_json())
    if choice.chosen is None or all(shown.rise is None for shown in results):
        raise RunFailed("every setting failed", choice.reasons[-1] if choice.reasons else "try smaller lr")
    ready = cell_manifest(manifest, asdict(choice.chosen.shown.setting), draws=False)
    atomic.write_text(
        context.folder.path / READY, f"# {choice.text}\n{''.join(f'# {why}{chr(10)}' for why in choice.reasons)}{ready.to_toml()}"
    )
    yield Artifact(READY, "manifest")
    values = CalibrateResult(
        verdict=choice.text,
        usable=choice.usable,
        reasons=tuple(choice.reasons),
        setting=_stated(choice.chosen.shown.setting),
        cells=tuple(_row(shown, results) for shown in results),
        manifest=READY,
        seconds=time.monotonic() - started,
    )
    headline, report = _headline(choice, judged), _report(manifest, choice, results)
    return Result(values.as_json(), headline.as_json(), report, _digests(context, results))


def _stated(setting: Setting) -> SamplerSetting:
    return SamplerSetting(lr=setting.lr, n_beta=setting.n_beta, localization=setting.localization)


class _Cell:
    """The sampling of one setting."""

    def __init__(
        self,
        context: Context,
        request: Manifest,
        model: LoadedModel,
        rows: Mapping[str, TokenRows],
        executor: Executor,
        index: int,
        clock: Clock,
    ) -> None:
        self.context, self.request, self.model, self.rows = context, request, model, rows
        self.executor, self.index, self.clock = executor, index, clock

    def sample(self, emit: Callable[[Event], None]) -> Shown:
        """Run the chains from where they are; raises Interrupted when told to stop before their end."""
        config = config_of(self.request)
        problem = sampling_run.problem_of(self.request, self.model, self.rows, self.request.params.restriction)
        path = store_path(self.context, self.index)
        path.parent.mkdir(mode=0o700, exist_ok=True)

        def report(snapshot: ChainsSnapshot) -> None:
            emit(self.clock.at(self.index, snapshot.steps_done))

        done = run_chains(
            problem,
            config,
            chains=range(config.num_chains),
            store=sampling_run.create_store(path, self.request, config, problem),
            executor=self.executor,
            checkpoint_dir=self.context.checkpoint_path / f"{self.index:03d}",
            checkpoint_every=sampling_run.checkpoint_seconds(self.context.manifest, problem, config),
            poll=lambda: Command(self.context.poll()),
            report=report,
            report_every=sampling_run.REPORT_EVERY,
            warn=lambda message: emit(Warned(message)),
        )
        if done.interrupted:
            raise Interrupted
        failed = sum(not chain.healthy for chain in done.snapshot.chains)
        setting = Setting(config.lr, config.n_beta, config.localization)
        if failed == config.num_chains:
            return Shown(setting, failed=failed, chains=config.num_chains)
        return _shown(path, config, setting, failed, config.num_chains, math.log(self.model.vocab_size))


def store_path(context: Context, index: int) -> Path:
    """Where the samples of a setting lie."""
    return context.folder.path / "cells" / f"{index:03d}.zarr"


def _shown(path: Path, config: SamplerConfig, setting: Setting, failed: int, chains: int, uniform: float) -> Shown:
    samples = open_samples(path)
    estimate = compute_llc(samples)
    healthy = [int(chain) for chain in estimate.attrs["healthy_chains"]]
    after = slice(config.num_burnin_steps, None, config.num_steps_bw_draws)
    trace = estimate["rise_trace"].values[healthy, after]
    drift, drift_error = drift_of(trace)
    acceptance, acceptance_error = acceptance_of(samples.dataset, healthy)
    rise, loss = float(trace.mean()), as_finite(float(estimate["loss_trace"].values[healthy, after].mean()))
    llc, error = (
        (None, None) if setting.n_beta == 0 else (as_finite(float(estimate["llc_mean"])), as_finite(float(estimate["llc_std_error"])))
    )
    rhat, ess = as_finite(float(estimate["rhat"])), as_finite(float(estimate["ess"]))
    return Shown(
        setting, as_finite(rise), llc, error, rhat, ess, acceptance, drift, drift_error, failed, chains, acceptance_error, loss, uniform
    )


def _changed_by_last(results: list[Shown]) -> list[int]:
    """Which rows change when the last setting has ended: its own, and, if it is a control, those of the settings it is a control of."""
    last = results[-1]
    changed = [
        shown is last or finer_of(shown, results) is last or (last.setting.n_beta == 0 and control_of(shown, results) is last)
        for shown in results
    ]
    return [at for at, has_changed in enumerate(changed) if has_changed]


def _row(shown: Shown, results: list[Shown]) -> CalibrationCell:
    is_control = shown.setting.n_beta == 0
    judged = Judged(shown, ()) if is_control else judge(shown, control_of(shown, results), finer_of(shown, results))
    return CalibrationCell(
        setting=_stated(shown.setting),
        rise=shown.rise,
        llc=shown.llc,
        llc_error=shown.llc_error,
        rhat=shown.rhat,
        ess=shown.ess,
        acceptance=shown.acceptance,
        drift=shown.drift,
        drift_error=shown.drift_error,
        failed=shown.failed,
        chains=shown.chains,
        acceptance_error=shown.acceptance_error,
        loss=shown.loss,
        uniform=shown.uniform,
        control=is_control,
        usable=None if is_control else judged.usable,
        against=tuple(judged.against),
    )


def _sweep_row(shown: Shown, results: list[Shown]) -> SettingCase:
    """A setting as a point of a sweep is shown: the same view shows both."""
    row = _row(shown, results)
    numbers = {"llc_mean": row.llc, "llc_std_error": row.llc_error, "rise": row.rise, "rhat": row.rhat, "ess": row.ess}
    numbers["acceptance"] = row.acceptance
    setting = shown.setting
    return SettingCase(
        values={"params.lr": setting.lr, "params.n_beta": setting.n_beta, "params.localization": setting.localization},
        state="control" if row.control else "usable" if row.usable else "rejected",
        headline={name: number for name, number in numbers.items() if number is not None},
        reason="; ".join(row.against),
    )


def _headline(choice: Verdict, judged: list[Judged]) -> CalibrateHeadline:
    setting = None if choice.chosen is None else choice.chosen.shown.setting
    return CalibrateHeadline(
        usable=sum(j.usable for j in judged),
        settings=len(judged),
        lr=LEFT_OUT if setting is None else setting.lr,
        n_beta=LEFT_OUT if setting is None else setting.n_beta,
        localization=LEFT_OUT if setting is None else setting.localization,
    )


def _digests(context: Context, results: list[Shown]) -> dict[str, str]:
    """One a setting, over the arrays of its store; that of what was concluded from them all."""
    stores = {f"cells/{i:03d}": digests(store_path(context, i)) for i in range(len(results))}
    joined = {name: of_json(arrays) for name, arrays in stores.items()}
    return joined | {"cells": of_json([asdict(shown) for shown in results])}


def _report(manifest: Manifest, choice: Verdict, results: list[Shown]) -> str:
    lines = [f"# calibrate · {manifest.name}", "", f"**{choice.text[0].upper()}{choice.text[1:]}**", ""]
    lines += [f"- {why}" for why in choice.reasons]
    lines += ["", f"`{READY}` beside this report is a manifest with this setting: `interp-tui --batch {READY}`.", ""]
    head = ("lr", "n_beta", "localization", "λ̂", "± s.e.", "loss rise", "R̂", "ESS", "acceptance", "± s.e.", "failed", "")
    lines += [f"| {' | '.join(head)} |", f"|{'---:|' * (len(head) - 1)}---|"]
    for shown in results:
        row = _row(shown, results)
        numbers = (shown.llc, shown.llc_error, shown.rise, shown.rhat, shown.ess, shown.acceptance, shown.acceptance_error)
        state = "control" if row.control else "; ".join(row.against) or "usable"
        setting = shown.setting
        cells_ = [
            f"{setting.lr:g}",
            f"{setting.n_beta:g}",
            f"{setting.localization:g}",
            *("–" if n is None else short(n) for n in numbers),
        ]
        lines.append(f"| {' | '.join([*cells_, f'{shown.failed}/{shown.chains}', state])} |")
    return "\n".join(lines) + "\n"
