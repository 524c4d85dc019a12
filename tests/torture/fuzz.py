"""Fuzzed manifests of every kind: whatever is in one, it is refused in words or valid, and what is valid and runs hears a stop."""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from . import forked
from .check import Check
from .requests import kinds, small
from .stop import spent

MANIFESTS, QUICK_MANIFESTS = 210, 4
RUNS, QUICK_RUNS = 2, 0
"""Of each kind."""
STOP_AFTER, DEAF_AFTER, GIVEN_UP_AFTER = 3.0, 5.0, 120.0
"""Seconds after which a run that was fuzzed is told to stop, after which it is called deaf, and after which it is killed."""
VALUES: tuple[Any, ...] = (
    0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, -1e-308, 0.5, True, False, "", " ", "all", "L0", "\x1b]52;c;aGk=\x07", "[/b]\u202e",
    "x" * 5000, "../../etc/passwd", "/dev/zero", "/dev/null", "~nobody/x", "${nothing}", "builtin:nothing", "http://127.0.0.1:1/", "\ud7ff",
    [], [[]], [0] * 300, ["", ""], {}, {"a": {"b": {"c": []}}}, [{}], "1e400", "nan", "0x10", "l99h99", "L99.nowhere", "key\nline",
)  # fmt: skip
RAW = (
    "[",
    "{",
    '"',
    "'",
    "=",
    "\n",
    "#",
    "\\",
    "\0",
    "\x1b",
    "[[",
    "]",
    "9" * 5000,
    "[" * 2000,
    "a." * 500,
    "é",
    "\u2028",
    "inf",
    "nan",
    "1979-05-27",
)


def parts(quick: bool) -> Sequence[str]:
    """The kinds."""
    del quick
    return kinds()


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for the kind's manifests, one for each run of those that turn out valid."""
    draw = random.Random(f"{seed} {name}")
    valid: list[dict[str, Any]] = []
    yield _validated(name, QUICK_MANIFESTS if quick else MANIFESTS, draw, valid)
    draw.shuffle(valid)
    for tables in valid[: QUICK_RUNS if quick else RUNS]:
        yield _run(name, tables)


def _validated(name: str, count: int, draw: random.Random, valid: list[dict[str, Any]]) -> Check:
    from interp_tui_engine import manifest
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.supervision.sweep_supervisor import estimate

    ends: Counter[str] = Counter()
    wrong = ""
    slowest = 0.0
    for _ in range(count):
        tables = _mutated(small(name), draw)
        started = time.monotonic()
        try:
            if draw.random() < 0.3:
                request = manifest.parse(_spoilt(_text(tables), draw))
            else:
                request = manifest.resolve(tables)
            assert manifest.parse(request.to_toml()) == request, "the resolved manifest is another one when read again"
            estimate(request)
            str(request.digest())
            ends["valid"] += 1
            valid.append(tables)
        except UserError as error:
            ends["refused"] += 1
            if not str(error).strip():
                wrong = wrong or "an error without words"
        except Exception as error:
            ends["raw"] += 1
            wrong = wrong or f"raw {type(error).__name__}: {str(error)[:100]} from {json.dumps(tables, default=str)[:300]}"
        slowest = max(slowest, time.monotonic() - started)
    return Check(f"{count} manifests of {name}", not wrong, wrong or f"{dict(ends)}, slowest {slowest:.1f} s")


def _mutated(tables: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        place: Any = tables
        path = []
        while isinstance(place, dict) and place and (not path or draw.random() < 0.8):
            key = draw.choice(list(place))
            path.append(key)
            if not isinstance(place[key], dict):
                break
            place = place[key]
        if not path or not isinstance(place, dict):
            continue
        action, value = draw.random(), deepcopy(draw.choice(VALUES))
        if action < 0.15:
            place.pop(path[-1], None)
        elif action < 0.3:
            place[str(draw.choice(VALUES))[:80]] = value
        else:
            place[path[-1]] = value
    return tables


def _text(tables: dict[str, Any]) -> str:
    import tomli_w

    try:
        return tomli_w.dumps(tables)
    except (TypeError, ValueError):
        return "kind = 5"


def _spoilt(text: str, draw: random.Random) -> str:
    for _ in range(draw.choice((0, 1, 1, 3))):
        at = draw.randrange(len(text) + 1)
        text = text[:at] + draw.choice(RAW) + text[at + draw.choice((0, 0, 1, 5)) :]
    return text[: draw.randrange(1, len(text) + 1)] if draw.random() < 0.1 else text


def _run(name: str, tables: dict[str, Any]) -> Check:
    """Run a fuzzed manifest for a moment, stop it, and see how it ends."""
    from interp_tui_engine import manifest, supervisor

    with tempfile.TemporaryDirectory() as place:
        folder = supervisor.prepare(manifest.resolve(tables), Path(place) / "run")
        process = forked.supervisor_of(folder)
        seconds = 0.0
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_AFTER)
        if process.poll() is None:
            before, began = spent(process.pid), time.monotonic()
            folder.send("stop")
            with suppress(subprocess.TimeoutExpired):
                process.wait(GIVEN_UP_AFTER)
            process.kill()
            process.wait()
            # beside other work the wall's seconds say little, and of one that sleeps those of CPU
            seconds = min(time.monotonic() - began, process.cpu - before) if process.returncode >= 0 else GIVEN_UP_AFTER
        status, log = folder.status(), folder.shard(0) / "engine.log"
        raw = "Traceback" in log.read_text(errors="replace") if log.exists() else False
        # a fault that is told as one with a traceback in the log is still a fault
        passed = not raw and seconds < DEAF_AFTER and status.state in ("done", "failed", "interrupted")
        return Check(
            f"a run of fuzzed {name}", passed, f"{status.state}, {seconds:.1f} s from the stop: {str(status.exit.get('reason'))[:160]}"
        )
