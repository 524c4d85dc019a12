"""`python -m tests.gpu`: on a machine with an NVIDIA GPU, the tests, runs and benches that need one, within ten minutes.

Each part runs in processes of its own, with a limit of its own, and its result is kept in .gpu/report.json as soon as it is there: begun
again, parts that held with this code are passed over, those that never ran come first and those that did not hold last. A table is written
to .gpu/report.md, and what failed is said when it fails. Exits 1 where something did not hold or was not run, or where there is no GPU.

`--prepare`, before there is one, makes the environments of the benches' peers (.bench/; wheels in .bench/wheels are looked at first).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from interp_tui_engine.provenance import code_digest

from .parts import PARTS, Outcome, prepare
from .report import markdown

SECONDS = 600.0


def main(arguments: list[str] | None = None) -> int:
    """Run what is left, write the report, and say how many parts held."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu")
    parser.add_argument("names", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all when left out")
    parser.add_argument("--out", type=Path, default=Path(".gpu"), help="where report.json and report.md go")
    parser.add_argument("--again", action="store_true", help="run parts again that are done")
    parser.add_argument("--prepare", action="store_true", help="make what benches need; takes no GPU and more than ten minutes")
    options = parser.parse_args(arguments)
    if options.prepare:
        faults = prepare()
        print("\n".join(faults) or "ready", file=sys.stderr)
        return int(bool(faults))
    if unknown := set(options.names) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not (about := machine()):
        print("make gpu needs an NVIDIA GPU and a build of torch for CUDA; this machine lacks them, and nothing was run", file=sys.stderr)
        return 1
    kept = Kept(options.out / "report.json", about)
    deadline = time.monotonic() + SECONDS
    asked = options.names or list(PARTS)
    for name in sorted(asked, key=kept.turn):  # a stable sort: those of a kind in the order of PARTS
        if kept.held(name) and not options.again:
            print(f"{name}: held before", file=sys.stderr)
            continue
        limit, run = PARTS[name]
        left = min(limit, deadline - time.monotonic())
        if left < 10.0:
            print(f"{name}: no time left; run this again to go on here", file=sys.stderr)
            break
        print(f"{name}: running, {left:.0f} s at most", file=sys.stderr)
        outcome = run(options.out / name, left)
        kept.add(name, outcome)
        said = "held" if outcome.held else "cut short" if outcome.cut_short else f"FAILED, see {options.out / name}"
        print(f"{name}: {said} after {outcome.seconds:.0f} s{': ' if outcome.note else ''}{outcome.note}", file=sys.stderr)
        (options.out / "report.md").write_text(markdown(about, kept.parts), encoding="utf-8")
    print(markdown(about, kept.parts))
    return 0 if all(map(kept.held, asked)) else 1


def machine() -> dict[str, Any]:
    """The GPU and the versions; empty where torch finds no CUDA device."""
    import torch

    if not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {
        "gpu": torch.cuda.get_device_name(),
        "count": torch.cuda.device_count(),
        "memory_gib": total / 2**30,
        "free_gib": free / 2**30,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "code_sha256": code_digest(),
    }


class Kept:
    """The parts' results on disk; those of other code or of another GPU do not count."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path, self._about = path, about
        self.parts: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            try:
                before = json.loads(path.read_text(encoding="utf-8"))
                same = all(before["machine"].get(key) == about.get(key) for key in ("gpu", "code_sha256"))
                self.parts = before["parts"] if same else {}
            except (ValueError, KeyError):
                print(f"{path} cannot be read: all parts are run", file=sys.stderr)

    def held(self, name: str) -> bool:
        """Whether a part ran to its end and showed what it should."""
        return name in self.parts and bool(self.parts[name]["held"])

    def turn(self, name: str) -> int:
        """Which parts come first: those that never ran, then those that were cut short, then those that failed."""
        return 0 if name not in self.parts else 1 if self.parts[name]["cut_short"] else 2

    def add(self, name: str, outcome: Outcome) -> None:
        """Keep a part's result."""
        self.parts[name] = outcome._asdict()
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps({"machine": self._about, "parts": self.parts}, indent=1), encoding="utf-8")
        beside.replace(self._path)


if __name__ == "__main__":
    sys.exit(main())
