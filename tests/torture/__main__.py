"""Run the hard tests, or those named; print what did not hold, and a table of how much was tried. Exits 1 if anything did not hold."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time

from .check import Check

GROUPS = ("kill", "stop", "fuzz", "disk", "models", "text")
"""Kills and stops first: they fork this process, which must not have computed anything yet."""


def main() -> int:
    """Print each Check that failed as it comes, then a Markdown table, a row a group."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all when left out")
    parser.add_argument("--quick", action="store_true", help="a few of each, in a minute or two")
    parser.add_argument("--seed", type=int, default=None, help="of all that is drawn; another one each time when left out")
    parser.add_argument("--minutes", type=float, default=60, help="for all groups together; what is not reached by then is said [60]")
    parser.add_argument("--verbose", action="store_true", help="print what held, too")
    arguments = parser.parse_args()
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    groups, rows, failed = tuple(arguments.groups or GROUPS), [], 0
    end = time.monotonic() + 60 * arguments.minutes
    for index, group in enumerate(groups):
        started, tried, wrong = time.monotonic(), 0, 0
        due = started + (end - started) / (len(groups) - index)  # what one leaves over goes to those after it
        for check in importlib.import_module(f".{group}", __package__).checks(arguments.quick, seed):
            tried, wrong = tried + 1, wrong + (not check.passed)
            _say(group, check, verbose=arguments.verbose)
            if time.monotonic() > due:
                print(f"{group}: its share of the time is up; --minutes gives more", flush=True)
                break
        rows.append(f"| {group} | {tried} | {tried - wrong} | {wrong} | {time.monotonic() - started:.0f} |")
        failed += wrong
    print("\n| group | tried | held | did not hold | seconds |\n|---|---:|---:|---:|---:|")
    print("\n".join(rows))
    return 1 if failed else 0


def _say(group: str, check: Check, *, verbose: bool) -> None:
    if verbose or not check.passed:
        text = f"{'held' if check.passed else 'DID NOT HOLD'}: {group}: {check.what}: {check.note}"
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
