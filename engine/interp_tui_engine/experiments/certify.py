"""Samples problems whose answers are known exactly, and says how far off the sampler is, and why."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from .. import atomic
from ..catalog import Estimate, Kind, Result
from ..digests import of_json
from ..errors import Problem, UserError
from ..estimators import known_cases
from ..events import Event, Metrics, Phase, Progress, RunStarted
from ..manifest import Manifest
from ..numbers import short
from ..payload import LEFT_OUT
from ..results.certify import LIVE, CertifyHeadline, CertifyResult, KnownCase
from ..runtime.context import Context, Interrupted
from ..runtime.open_model import use_threads
from ..specs import Table
from ..uncertainty import Uncertainty, none_known, plus_minus

if TYPE_CHECKING:
    from ..samplers.certification.certify import CaseResult
    from ..samplers.noise import NoiseName

EXAMPLE: dict[str, Any] = {"name": "exact", "params": {"cases": ["all"]}}
SECONDS = {"quadratic": 0.5, "monomial": 1.3, "reduced_rank_regression": 5.5, "deep_linear_network": 14.0}
"""A case takes on one core of 2024."""


class Params(Table):
    """Which known answers to hold the sampler to."""

    cases: list[Literal["all"] | dict[str, Any]] = Field(
        ["all"], min_length=1, description="'all', or tables such as { family = \"monomial\", powers = [1, 2] }"
    )


def cases_of(params: Params) -> list[dict[str, Any]]:
    """The cases asked for, 'all' spelt out, each once."""
    cases: list[dict[str, Any]] = []
    for case in params.cases:
        cases += [dict(known) for known in known_cases.ALL] if case == "all" else [dict(case)]
    return [case for index, case in enumerate(cases) if case not in cases[:index]]


def check(manifest: Manifest) -> list[Problem]:
    """Cases that no theorem covers."""
    problems = []
    for index, case in enumerate(manifest.params.cases):
        if case == "all":
            continue
        try:
            known_cases.expected(case)
        except UserError as error:
            problems.append(Problem(f"params.cases.{index}", str(error).replace("\n  ", "; "), value=case))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            problems.append(Problem(f"params.cases.{index}", f"{case}: {error}", value=case))
    return problems


def estimate(manifest: Manifest) -> Estimate:
    """Seconds by family and count; memory is that of torch."""
    spent = sum(SECONDS.get(str(case.get("family")), 5.0) for case in cases_of(manifest.params))
    return Estimate(4.0 + spent, 350 << 20, 64 << 10)


def run(context: Context) -> Generator[Event, None, Result]:
    """Certify case by case; a case that is done is not done again after a kill."""
    yield Phase("starting")
    import torch

    from ..samplers.certification.certify import CaseResult, Target, certify_case

    use_threads(context.manifest)
    # on the CPU, where this runs, torch's is what a run takes unless it is told otherwise
    noise: NoiseName = "philox" if context.manifest.compute.noise == "philox" else "torch"
    yield RunStarted(
        "certify",
        context.manifest.name,
        device="cpu",
        resumed=context.resumed,
        provenance={"compute": {"threads": torch.get_num_threads(), "noise": noise}},
    )
    cases = cases_of(context.manifest.params)
    done_path = context.checkpoint_path / "cases.json"
    done_path.parent.mkdir(parents=True, exist_ok=True)
    finished = [CaseResult(**record) for record in atomic.read_json(done_path) or []]
    for index, case in enumerate(cases):
        if index >= len(finished):
            name = known_cases.case_name(case)
            yield Phase("sampling", name)
            expected = known_cases.expected(case)
            exact = partial(known_cases.posterior_at, case), partial(known_cases.sampler_at, case)
            target = Target(*expected, *exact)
            finished.append(_while_polling(context, partial(certify_case, case, name, target, context.manifest.seed, noise)))
            atomic.write_json(done_path, [asdict(result) for result in finished])
        result = finished[index]
        spent = sum(r.seconds for r in finished)
        yield Metrics("case", index, _known(result, family=case["family"]).as_json())
        yield Progress(index + 1, len(cases), "cases", spent / (index + 1) * (len(cases) - index - 1))
        passed = sum(r.passed for r in finished[: index + 1])
        yield Metrics("headline", index, CertifyHeadline(passed=passed, cases=index + 1).as_json())
    return _result(cases, finished, noise)


def _while_polling(context: Context, work: Callable[[], CaseResult]) -> CaseResult:
    """The result of `work`. A stop abandons it: a case takes seconds to minutes, and is begun anew on resume. A pause waits for its end."""
    future: Future[CaseResult] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    # a daemon, unlike an executor's thread: the process may end while it is still at work
    threading.Thread(target=run, name="case", daemon=True).start()
    while (order := context.poll()) == "pause" or not future.done():
        if order == "stop":
            raise Interrupted
        time.sleep(0.05)
    return future.result()


def _result(cases: list[dict[str, Any]], finished: list[CaseResult], noise: NoiseName) -> Result:
    known = tuple(_known(result, case=case) for case, result in zip(cases, finished, strict=True))
    seconds = sum(result.seconds for result in finished)
    values = CertifyResult(cases=known, passed=all(result.passed for result in finished), noise=noise, seconds=seconds)
    digests = {result.name: _digest(result) for result in finished}
    headline = CertifyHeadline(passed=sum(result.passed for result in finished), cases=len(finished))
    bars = {f"cases.{index}.estimate": _uncertainty(result) for index, result in enumerate(finished)}
    return Result(values.as_json(), headline.as_json(), _report(finished, noise), digests, bars)


def _known(result: CaseResult, *, family: str = LEFT_OUT, case: Mapping[str, Any] = LEFT_OUT) -> KnownCase:
    return KnownCase(
        name=result.name,
        true=result.true,
        estimate=result.estimate,
        std_error=result.std_error,
        raw=result.raw,
        step_bias=result.step_bias,
        finite_temperature=result.finite_temperature,
        passed=result.passed,
        seconds=result.seconds,
        exact=result.exact,
        exact_std_error=result.exact_std_error,
        measurements=result.measurements,
        reason=result.reason,
        family=family,
        case=case,
    )


def _uncertainty(result: CaseResult) -> Uncertainty:
    """Monte-Carlo error over chains; the control is what is known to be true, which a right estimate does not stand clear of."""
    if not math.isfinite(result.estimate):
        return none_known("no finite estimate")
    error = result.std_error
    return Uncertainty("independent chains", error, result.estimate - 1.96 * error, result.estimate + 1.96 * error)


def _digest(result: CaseResult) -> str:
    return of_json({key: value for key, value in asdict(result).items() if key != "seconds"})


def _report(finished: list[CaseResult], noise: NoiseName) -> str:
    rows = "\n".join(
        f"| {r.name} | {short(r.true, 4)} | {plus_minus(r.estimate, r.std_error)} | {_relative(r)} | "
        f"{short(r.raw, 4)} | {r.step_bias:+.2g} | {_exact(r)} | {_off(r)} | {r.finite_temperature:+.2g} | {'✓' if r.passed else '✗'} |"
        for r in finished
    )
    count = sum(r.passed for r in finished)
    failures = "\n".join(f"- **{r.name}** failed: {r.reason}" for r in finished if not r.passed)
    twice = [r.name for r in finished if r.measurements > 1]
    source = "that of Philox 4x32-10" if noise == "philox" else "torch's"
    again = f"\nMeasured twice, the first being further than three errors off: {', '.join(twice)}.\n" if twice else ""
    return f"""# certify

**{count} of {len(finished)} cases passed.** The estimate is what the sampler measured, less the step-size bias
and the finite-temperature term; ± is Monte-Carlo error (one standard error over independent chains). A case passes within three errors
of the exact value at its own temperature (closed form, quadrature, or for linear networks Gibbs sampling with parallel tempering) and
within 10 % of λ. Chains of linear networks start from Gibbs draws,
which tests that the sampler keeps the posterior, not that it finds it. The noise is {source}.

| case | exact | estimate | off by | measured | step-size bias | exact at its temperature | errors off | finite temperature | |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---|
{rows}
{again}{f"{chr(10)}{failures}{chr(10)}" if failures else ""}"""


def _exact(result: CaseResult) -> str:
    if result.exact is None:
        return "–"
    return plus_minus(result.exact, result.exact_std_error) if result.exact_std_error else short(result.exact, 4)


def _off(result: CaseResult) -> str:
    if result.exact is None or not result.std_error or not math.isfinite(result.raw):
        return "–"
    return f"{(result.raw - result.step_bias - result.exact) / result.std_error:+.1f}"


def _relative(result: CaseResult) -> str:
    if not math.isfinite(result.estimate) or result.true == 0:
        return "–"
    return f"{(result.estimate - result.true) / result.true:+.1%}"


KIND = Kind(
    name="certify",
    title="Certify the sampler",
    question="Does the sampler hit the learning coefficients that are known exactly?",
    group="Learning theory",
    needs=frozenset(),
    example=EXAMPLE,
    params=Params,
    result=CertifyResult,
    headline=CertifyHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
)
