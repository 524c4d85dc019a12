"""Run the simulations: every module here with `outcomes(quick)`, or those named; print their table. Exits 1 if a rate is not as claimed."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import record
from .outcome import Outcome


def outcomes(names: list[str], quick: bool) -> Iterator[tuple[str, Outcome]]:
    """What each simulation found, as it finds it."""
    for name in names:
        for outcome in importlib.import_module(f"tests.truth.{name}").outcomes(quick):
            yield name, outcome


def main() -> int:
    """Print a Markdown table, a row as soon as it is known; 1 if any rate is not as claimed, else 0."""
    here = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    known = sorted(name for name in here if not name.startswith("_") and name not in ("outcome", "record"))
    parser = argparse.ArgumentParser(prog="python -m tests.truth")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="fewer seeds: for CI")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what each seed gave, and go on from there when run again")
    arguments = parser.parse_args()
    record.use(arguments.record)
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no simulation is called {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    print("| kind | what | case | rate | nominal | seeds | note |\n|---|---|---|---:|---:|---:|---|")
    started, off = time.process_time(), []
    for _, found in outcomes(arguments.names or known, arguments.quick):
        nominal = "" if found.nominal is None else f"{found.nominal:.2f}"
        cells = (found.kind, found.what, found.case, f"{found.rate:.3f}", nominal, str(found.trials), found.note)
        print(f"| {' | '.join(cells)} |", flush=True)
        off += [] if found.holds else [found]
    print(f"\n{time.process_time() - started:.0f} processor seconds")
    for found in off:
        print(f"not as claimed: {found.kind}, {found.what}, {found.case}: {found.rate:.3f}, nominal {found.nominal}")
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
