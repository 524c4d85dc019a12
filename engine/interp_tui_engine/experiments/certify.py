"""Samples problems whose answers are known exactly, and says how far off the sampler is, and why."""

from __future__ import annotations

import hashlib
import json
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
from ..errors import Problem, UserError
from ..estimators import known_cases
from ..events import Event, Metrics, Phase, Progress, RunStarted
from ..manifest import Manifest
from ..runtime.context import Context, Interrupted
from ..runtime.open_model import use_threads
from ..specs import Table

if TYPE_CHECKING:
    from ..samplers.certification.certify import CaseResult

EXAMPLE: dict[str, Any] = {"name": "exact", "params": {"cases": ["all"]}}
SECONDS_PER_CASE = 6.0


class Params(Table):
    """Which known answers to hold the sampler to."""

    cases: list[Literal["all"] | dict[str, Any]] = Field(
        ["all"], min_length=1, description="'all', or tables such as { family = \"monomial\", powers = [1, 2] }"
    )


def cases_of(params: Params) -> list[dict[str, Any]]:
    """The cases asked for, 'all' spelt out, each once."""
    found: list[dict[str, Any]] = []
    for case in params.cases:
        found += [dict(known) for known in known_cases.ALL] if case == "all" else [dict(case)]
    return [case for index, case in enumerate(found) if case not in found[:index]]


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
    """Seconds by count; memory is that of torch."""
    return Estimate(4.0 + SECONDS_PER_CASE * len(cases_of(manifest.params)), 350 << 20, 64 << 10)


def run(context: Context) -> Generator[Event, None, Result]:
    """Certify case by case; a case that is done is not done again after a kill."""
    yield Phase("starting")
    import torch

    from ..samplers.certification.certify import CaseResult, Target, certify_case

    use_threads(context.manifest)

    yield RunStarted(
        "certify",
        context.manifest.name,
        device="cpu",
        resumed=context.resumed,
        provenance={"compute": {"threads": torch.get_num_threads()}},
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

            def at(n_beta: float, localization: float, case: Mapping[str, Any] = case) -> float | None:
                return known_cases.finite_temperature(case, n_beta, localization)

            target = Target(expected.value, expected.multiplicity, expected.tolerance, at)
            finished.append(_while_polling(context, partial(certify_case, case, name, target, context.manifest.seed)))
            atomic.write_json(done_path, [asdict(result) for result in finished])
        result = finished[index]
        spent = sum(r.seconds for r in finished)
        yield Metrics("case", index, {**asdict(result), "family": case["family"]})
        yield Progress(index + 1, len(cases), "cases", spent / (index + 1) * (len(cases) - index - 1))
        passed = sum(r.passed for r in finished[: index + 1])
        yield Metrics("headline", index, {"passed": passed, "cases": index + 1})
    return _result(cases, finished)


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


def _result(cases: list[dict[str, Any]], finished: list[CaseResult]) -> Result:
    records = [{**asdict(result), "case": case} for case, result in zip(cases, finished, strict=True)]
    passed = all(result.passed for result in finished)
    digests = {result.name: _digest(result) for result in finished}
    headline = {"passed": sum(result.passed for result in finished), "cases": len(finished)}
    seconds = sum(result.seconds for result in finished)
    return Result({"cases": records, "passed": passed, "seconds": seconds}, headline, _report(finished), digests)


def _digest(result: CaseResult) -> str:
    numbers = {key: value for key, value in asdict(result).items() if key != "seconds"}
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()


def _report(finished: list[CaseResult]) -> str:
    rows = "\n".join(
        f"| {r.name} | {r.true:.4g} | {r.estimate:.4g} ± {r.std_error:.2g} | {_relative(r)} | {r.raw:.4g} | {r.step_bias:+.2g} | "
        f"{r.finite_temperature:+.2g} | {'✓' if r.passed else '✗'} |"
        for r in finished
    )
    count = sum(r.passed for r in finished)
    return f"""# certify

**{count} of {len(finished)} cases passed.** The estimate is what the sampler measured, less the step-size bias
and the finite-temperature term; ± is Monte-Carlo error (one standard error over independent chains).

| case | exact | estimate | off by | measured | step-size bias | finite temperature | |
|---|---:|---:|---:|---:|---:|---:|---|
{rows}
"""


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
    run=run,
    check=check,
    estimate=estimate,
)
