"""`python -m tests.parity`: run the rows on both sides, count, keep, and write the page."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from . import extras, objects, own_tests, page, sides
from .rows import Peer, verdict

RESULTS = Path(__file__).resolve().parents[1] / "bench" / "RESULTS.md"
OBJECTS, OWN_TESTS, EXTRAS = "objects", "own-tests", "extras"
STATES = ("passed", "differs", "failed")


def main() -> int:
    """Returns 1 when a row failed on either side."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="Ours beside the tools it takes the place of, row by row.")
    known = (*sides.PEERS, OBJECTS, OWN_TESTS, EXTRAS)
    parser.add_argument("names", nargs="*", metavar="PEER", help=f"which: {', '.join(known)}; all when left out")
    parser.add_argument("--keep", action="store_true", help="write down what the peers gave, in tests/parity/recorded")
    parser.add_argument("--record", action="store_true", help="append the counts to RESULTS.md")
    parser.add_argument("--page", action="store_true", help="write the tables of the migration page, and nothing else")
    options = parser.parse_args()
    if options.page:
        page.write()
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no peer named {', '.join(unknown)}; there are {', '.join(known)}")
    lines, failed = [], 0
    wanted = options.names or known
    for name in sides.PEERS:
        if name not in wanted:
            continue
        peer = sides.PEERS[name]
        theirs = sides.theirs(peer)
        where = "run beside it" if theirs is not None else "beside what was recorded of it"
        recorded = sides.recorded(name)
        if theirs is not None and options.keep:
            sides.keep(name, theirs)
            recorded = theirs
        states = {row.key: verdict(row, ours, (theirs or recorded).get(row.key)) for row, ours in sides.ours_of(peer)}
        drifted = [] if theirs is None else [row.key for row in peer.rows if not sides.still(row, theirs, recorded)]
        failed += _report(peer, states, drifted, where)
        lines.append(_line(peer, states, drifted, where))
    given = _objects(keep=options.keep) if OBJECTS in wanted else []
    failed += sum(states.count("failed") for _, states in given)
    own = _own_tests() if OWN_TESTS in wanted else []
    failed += sum(count["failed"] for _, count in own)
    resolved = _extras() if EXTRAS in wanted else []
    failed += sum(bool(fault) for fault in resolved)
    if options.record:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(_section(lines, given, own, resolved))
    return int(failed > 0)


def _objects(*, keep: bool) -> list[tuple[str, list[str]]]:
    """Each object of another library with what became of each call on it."""
    outcome: list[tuple[str, list[str]]] = []
    for environment in objects.ENVIRONMENTS:
        found = objects.run(environment)
        if keep:
            objects.keep(found)
        for given in objects.OBJECTS:
            if given.environment != environment:
                continue
            states = [objects.verdict(given, call, found.get(given.name, {}).get(call, {})) for call in objects.CALLS]
            outcome.append((given.name, states))
            for call, state in zip(objects.CALLS, states, strict=True):
                print(f"{given.name:26s} {state:8s} {call}")
    return outcome


def _own_tests() -> list[tuple[str, Counter[str]]]:
    """For each peer whose tests are to be had: how many pass, differ as stated, and fail."""
    counts = []
    for suite in own_tests.SUITES:
        states = own_tests.run(suite)
        if states is None:
            print(f"{suite.peer}: its own tests are not to be had here")
            continue
        for name, state in states.items():
            print(f"{suite.peer:26s} {state:8s} {name}")
        counts.append((f"{suite.peer}: {', '.join(suite.files)}", Counter(states.values())))
    return counts


def _extras() -> list[str]:
    """For each pair of extras what is wrong with pip's solution; empty where nothing is."""
    faults = []
    for left, right, versions, fault in extras.pairs():
        faults.append(fault)
        print(
            f"{left} + {right}: {fault or ', '.join(f'{name} {version}' for name, version in sorted(versions.items())) or 'all here'}",
            flush=True,
        )
    return faults


def _report(peer: Peer, states: dict[str, str], drifted: list[str], where: str) -> int:
    for row in peer.rows:
        print(f"{peer.name:26s} {states[row.key]:8s} {row.key}")
    print(f"{peer.name} {peer.version}, {where}: {_counts(states)}")
    for key in drifted:
        print(f"  {key}: the peer gives other numbers than were recorded; --keep writes them down")
    return list(states.values()).count("failed") + len(drifted)


def _counts(states: dict[str, str]) -> str:
    count = Counter(states.values())
    return ", ".join(f"{count[state]} {state}" for state in STATES)


def _line(peer: Peer, states: dict[str, str], drifted: list[str], where: str) -> str:
    count, tests = Counter(states.values()), page.tests_of(peer, states)
    cells = [
        f"{peer.name} {peer.version}",
        where,
        *(str(count[state]) for state in STATES),
        *(str(tests[state]) for state in (*STATES, "apart")),
    ]
    return "| " + " | ".join(cells) + " |"


def _section(lines: list[str], given: list[tuple[str, list[str]]], own: list[tuple[str, Counter[str]]], resolved: list[str]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    head = (
        "| peer | how | rows passed | differ as stated | failed | its tests, restated: passed | differ as stated | failed | not restated |"
    )
    rule = "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    when = datetime.now(UTC).date().isoformat()
    about = f"`python -m tests.parity`, {when}, commit {commit or 'unknown'}, {os.cpu_count()} cores."
    tables = ["", head, rule, *lines] if lines else []
    if given:
        names = {it.name: it.what for it in objects.OBJECTS}
        tables += [
            "",
            "| object given directly | calls with the library's own numbers | refused in a sentence | failed |",
            "|---|---:|---:|---:|",
        ]
        tables += [f"| {names[n]} | {s.count('same')} | {s.count('refused')} | {s.count('failed')} |" for n, s in given]
    if own:
        tables += ["", "| the peer's own tests, with ours under its names | passed | differ as stated | failed |", "|---|---:|---:|---:|"]
        tables += [f"| {peer} | {' | '.join(str(count[state]) for state in STATES)} |" for peer, count in own]
    if resolved:
        count = sum(not fault for fault in resolved)
        tables += [
            "",
            f"Pairs of extras for which pip finds a solution beside what is installed (`--dry-run`): {count} of {len(resolved)}.",
        ]
    return "\n".join(["", "## Beside the peers' own behaviour", "", about, *tables, ""])


if __name__ == "__main__":
    sys.exit(main())
