"""`python -m tests.bench`: run benches, show tables, keep results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import agreement, evidence, figures, light, machine, modes, passes, posterior, sae, sampling, scale, start, update

BENCHES: dict[str, Callable[[bool], dict[str, Any]]] = {
    "tiny": partial(sampling.run, "tiny"),
    "gelu": partial(sampling.run, "gelu"),
    "smollm2": partial(sampling.run, "smollm2"),
    "modes": modes.run,
    "update": update.run,
    "light": light.run,
    "scale": scale.run,
    "start": start.run,
    "agreement": agreement.run,
    "influence": posterior.influence,
    "susceptibilities": posterior.susceptibilities,
    "sae": sae.run,
    "patching": passes.patching,
    "caching": passes.caching,
    "backends": passes.backends,
    "records": evidence.records,
    "ranking": evidence.ranking,
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    """Returns 1 when a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Timings beside devinterp 2.0.1 and beside our own targets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHES)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="two short rounds each: does it run, not how fast is it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--record", action="store_true", help="append the table to RESULTS.md")
    options = parser.parse_args()
    names = options.names or list(BENCHES)
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        parser.error(f"no bench named {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    about, results = machine.describe(), {}
    print(f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}, commit {about['commit']}", file=sys.stderr)
    for name in names:
        results[name] = BENCHES[name](options.quick)
        figures.show(name, results[name]["figures"])
        if options.json:  # after each: a long run that is cut short leaves what it has
            figures.write_json(options.json, about, results)
    if options.record:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write("\n" + figures.markdown("python -m tests.bench " + " ".join(names), about, results))
    return int(any(figure.met is False for result in results.values() for figure in result["figures"]))


if __name__ == "__main__":
    sys.exit(main())
