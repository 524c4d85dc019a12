"""Run the hard tests, or those named; print what did not hold, and a table of how much was tried. Exits 1 if anything did not hold."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for what the tests share

from . import forked, parts
from .parts import Part

GROUPS = ("fuzz", "kill", "stop", "spare", "disk", "models", "text", "app")


def main() -> int:
    """Print each Check that failed as its part ends, then a Markdown table, a row a group."""
    arguments = _arguments()
    record = parts.Record(arguments.record, arguments.seed)
    print(f"seed {arguments.seed}", flush=True)
    asked = [(group, name) for group in arguments.groups or GROUPS for name in parts.names_of(group, arguments.quick)]
    if arguments.only:
        asked = [(group, name) for group, name in asked if name in arguments.only]
    todo = [part for part in asked if part not in record.parts]
    forked.warm_up()
    until = time.monotonic() + 60 * arguments.minutes
    for part in parts.run(todo, arguments.quick, arguments.seed, at_once=arguments.at_once, until=until):
        record.keep(part)
        _say(part, verbose=arguments.verbose)
    if missing := [f"{group} {name}" for group, name in asked if (group, name) not in record.parts]:
        print(f"not reached in {arguments.minutes:.0f} minutes (--minutes gives more): {', '.join(missing)}")
    tried = [record.parts[part] for part in asked if part in record.parts]
    print("\n" + table(tried))
    return 0 if all(check.passed for part in tried for check in part.checks) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when left out")
    parser.add_argument("--only", action="append", metavar="PART", help="this part of each group, most often a kind; may be given again")
    parser.add_argument("--quick", action="store_true", help="a few of each, in a minute or two")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of all that is drawn; another each time")
    parser.add_argument("--minutes", type=float, default=90, help="after which no further part is begun [90]")
    parser.add_argument("--at-once", type=int, default=2, help="parts that go on at a time, a process each [2]")
    parser.add_argument("--record", type=Path, help="a file that keeps what has been tried; parts that it holds are not tried again")
    parser.add_argument("--verbose", action="store_true", help="print what held, too")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return arguments


def table(tried: Iterable[Part]) -> str:
    """How much was tried, how much held and what it took, a row a group and one for all."""
    by_group: dict[str, list[Part]] = {}
    for part in tried:
        by_group.setdefault(part.group, []).append(part)
    rows = [_row(group, each) for group, each in by_group.items()]
    rows.append(_row("all", [part for each in by_group.values() for part in each]))
    return "\n".join(["| group | parts | tried | held | did not hold | seconds of CPU |", "|---|---:|---:|---:|---:|---:|", *rows])


def _row(group: str, each: Sequence[Part]) -> str:
    passed = [check.passed for part in each for check in part.checks]
    return f"| {group} | {len(each)} | {len(passed)} | {sum(passed)} | {len(passed) - sum(passed)} | {sum(part.cpu for part in each):.0f} |"


def _say(part: Part, *, verbose: bool) -> None:
    for check in part.checks:
        if verbose or not check.passed:
            text = f"{'held' if check.passed else 'DID NOT HOLD'}: {part.group}: {check.what}: {check.note}"
            print(text.encode("ascii", "backslashreplace").decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
