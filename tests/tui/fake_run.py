"""Runs that never ran: events of sampling and certification as a worker writes them, from a seed. As a script it writes one live:

python tests/tui/fake_run.py RUNS_FOLDER [--chains 4] [--draws 200] [--fail 2] [--rate 10] [--stay-apart]
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from interp_tui_engine import atomic
from interp_tui_engine.events import ArrayWritten, ChainFailed, Checkpoint, Event, Metrics, Phase, Progress, RunFinished, RunStarted, Warned
from interp_tui_engine.runfolder import EventLog, Owner, RunFolder, Status

INIT_LOSS = 3.1904
BETA = 30.0
CAUSE = "loss not finite (nan)"
NAN = float("nan")


class Chains:
    """Loss traces that rise from the initial loss and level off; `apart` keeps chain 0 away from the others, `rising` never levels off."""

    def __init__(self, chains: int, draws: int, *, fail: dict[int, int] | None = None, apart: bool = False, rising: bool = False) -> None:
        rng = random.Random(7)
        self.count, self.draws, self.fail = chains, draws, fail or {}
        self.losses: list[list[float]] = []
        for chain in range(chains):
            level, x, losses = 0.128 + (0.05 if apart and chain == 0 else 0.0), 0.0, []
            for draw in range(draws):
                x += rng.gauss(0, 0.004) - 0.12 * x
                settled = 1 - math.exp(-draw / (draws / 1.2 if rising else 2))
                losses.append(INIT_LOSS + level * settled * (1.9 if rising else 1) + x)
            self.losses.append(losses)

    def events(self, start: int, stop: int) -> Iterator[Event]:
        """What a worker says when its chains have come from draw `start` to `stop`."""
        for chain, step in self.fail.items():
            if start <= step < stop:
                yield ChainFailed(chain, step, CAUSE)
        ends = [min(stop, self.fail.get(chain, stop)) for chain in range(self.count)]
        going = [chain not in self.fail or self.fail[chain] >= stop for chain in range(self.count)]
        means = [sum(row[:end]) / max(1, end) for row, end in zip(self.losses, ends, strict=True)]
        done = sum(ends)
        yield Progress(done, self.count * self.draws, "steps", (self.draws - stop) * 0.5)
        values: dict[str, Any] = {
            "chains": list(range(self.count)),
            "step": ends,
            "steps_total": self.draws,
            "draws": ends,
            "draws_total": self.draws,
            "burnin": 0,
            "loss": [round(row[end - 1], 6) if ok else NAN for row, end, ok in zip(self.losses, ends, going, strict=True)],
            "llc": [BETA * (mean - INIT_LOSS) * 10 if ok else NAN for mean, ok in zip(means, going, strict=True)],
            "grad": [0.8 + 0.01 * chain for chain in range(self.count)],
            "distance": [0.14 * math.sqrt(stop / self.draws) + 0.001 * chain for chain in range(self.count)],
            "trace": [[[draw, round(row[draw], 6)] for draw in range(start, end)] for row, end in zip(self.losses, ends, strict=True)],
        }
        yield Metrics("chains", stop, values)
        healthy = [mean for mean, ok in zip(means, going, strict=True) if ok]
        llc = [BETA * (mean - INIT_LOSS) * 10 for mean in healthy]
        mean = sum(llc) / len(llc) if llc else None
        spread = (sum((x - mean) ** 2 for x in llc) / max(1, len(llc) - 1)) ** 0.5 if mean is not None else 0.0
        error = max(0.4, spread / math.sqrt(max(1, len(llc)))) if stop > 3 else None
        estimate = {
            "llc_mean": mean,
            "llc_std_error": error,
            "rhat": (1.02 if spread < 2 else 1.31) if stop > 3 else None,
            "ess": stop * len(llc) * 0.6 if stop > 3 else None,
            "init_loss": INIT_LOSS,
            "tokens_per_second": 61_234.0,
            "memory_bytes": 612_000_000,
            "device_memory_bytes": None,
        }
        yield Metrics("estimate", stop, estimate)
        yield Metrics("headline", stop, {key: estimate[key] for key in ("llc_mean", "llc_std_error", "rhat")})


def beginning(kind: str = "llc", name: str = "pythia-scan", *, resumed: bool = False) -> list[Event]:
    return [
        RunStarted(kind, name, resumed=resumed),
        Phase("loading model", "builtin:tiny"),
        Phase("reading data", "train: builtin:prose"),
        RunStarted(kind, name, device="cpu", resumed=resumed, provenance={"weights_sha256": "a41f"}),
        ArrayWritten("samples.zarr", ("chain", "step", "batch_sampling", "token_pos"), (4, 200, 16, 64), 0),
        Phase("sampling", "4 chains, threads"),
    ]


def sampling(stop: int, *, chains: int = 4, draws: int = 200, every: int = 10, **kwargs: Any) -> list[Event]:
    """A sampling run's events up to draw `stop`."""
    source = Chains(chains, draws, **kwargs)
    found = beginning()
    for start in range(0, stop, every):
        found += source.events(start, min(stop, start + every))
        if start and start % 50 == 0:
            found.append(Checkpoint("checkpoint", start))
    return found


CASES: list[dict[str, Any]] = [
    {"name": "reduced rank 3x3x3, rank 1", "family": "reduced_rank_regression", "true": 6.5, "estimate": 6.41, "std_error": 0.08,
     "step_bias": 0.03, "finite_temperature": -0.11, "passed": True, "seconds": 4.2},
    {"name": "reduced rank 5x4x5, rank 2", "family": "reduced_rank_regression", "true": 10.5, "estimate": 11.78, "std_error": 0.21,
     "step_bias": 0.05, "finite_temperature": 0.02, "passed": False, "seconds": 6.1},
    {"name": "deep linear 4-3-4", "family": "deep_linear_network", "true": 47.0, "estimate": 47.52, "std_error": 0.61, "step_bias": 0.12,
     "finite_temperature": -0.2, "passed": True, "seconds": 8.0},
    {"name": "w1^2 w2^2", "family": "monomial", "true": 0.361, "estimate": 0.3644, "std_error": 0.0051, "step_bias": 0.0003,
     "finite_temperature": None, "passed": True, "seconds": 0.8},
]  # fmt: skip


def certification(stop: int = len(CASES), total: int = 6) -> list[Event]:
    """A certify run's events over its first cases."""
    found: list[Event] = [RunStarted("certify", "all", device="cpu"), Phase("sampling", "64 chains")]
    for index, case in enumerate(CASES[:stop]):
        found += [Metrics("case", index, case), Progress(index + 1, total, "cases", 12.0)]
    return found


RESULT: dict[str, Any] = {
    "kind": "llc", "name": "pythia-scan", "schema_version": 1, "seconds": 54.2, "llc_mean": 38.21, "llc_std": 0.92, "llc_std_error": 0.46,
    "llc_per_chain": [37.9, 38.6, None, 38.1], "init_loss": INIT_LOSS, "loss_mean": 3.3178, "rhat": 1.02, "ess": 311.0,
    "healthy_chains": [0, 1, 3], "failed_chains": {"2": {"step": 31, "cause": CAUSE}}, "tokens_per_second": 61234.0,
}  # fmt: skip

REPORT = """# Local learning coefficient of builtin:tiny

The estimate is **38.2 ± 0.5** over three healthy chains.

| chain | estimate |
|---|---|
| 0 | 37.9 |
| 1 | 38.6 |

- chain 2 left out: loss not finite at step 31
"""

FINISHED = RunFinished("done", 54.2, {"llc_mean": 38.21, "llc_std_error": 0.46, "rhat": 1.02})
WARNING = Warned("out of memory: micro-batch halved to 8, same numbers")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--fail", type=int, help="a chain that fails at a sixth of its draws")
    parser.add_argument("--rate", type=float, default=10.0, help="draws a second")
    parser.add_argument("--stay-apart", action="store_true")
    args = parser.parse_args()
    fail = {args.fail: args.draws // 6} if args.fail is not None else {}
    source = Chains(args.chains, args.draws, fail=fail, apart=args.stay_apart)
    folder = RunFolder.create(args.runs / f"{time.strftime('%Y%m%d-%H%M%S')}-llc-live")
    tables = {"kind": "llc", "name": "live", "seed": 100, "model": {"source": "builtin:tiny"}, "params": {"num_chains": args.chains}}
    atomic.write_text(folder.manifest_path, tomli_w.dumps(tables))
    status = Status("running", "llc", "live", "builtin:tiny", device="cpu", owner=Owner.me(), started=time.time())
    log = EventLog(folder.events_path)
    engine = folder.shard(0)
    engine.mkdir(parents=True)
    for event in beginning("llc", "live"):
        log.append(event)
        folder.write_status(replace(status, updated=time.time()))
        time.sleep(0.4)
    step = max(1, round(args.rate / 2))
    for start in range(0, args.draws, step):
        for event in source.events(start, min(args.draws, start + step)):
            log.append(event)
        if start % 50 == 0:
            log.append(Checkpoint("checkpoint", start))
            with (engine / "engine.log").open("a") as file:
                file.write(f"checkpoint written at step {start}\n")
        folder.write_status(replace(status, done=start, total=args.draws, unit="draws", updated=time.time()))
        time.sleep(step / args.rate)
    log.append(FINISHED)
    atomic.write_json(folder.result_path, RESULT)
    atomic.write_text(folder.report_path, REPORT)
    folder.write_status(replace(status, state="done", updated=time.time()))


if __name__ == "__main__":
    main()
