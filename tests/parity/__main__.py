"""`python -m tests.parity`: run the rows on both sides, count, keep, and write the page."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from . import page, sides
from .rows import Numbers, Peer, verdict

RESULTS = Path(__file__).resolve().parents[1] / "bench" / "RESULTS.md"
STATES = ("passed", "differs", "failed")


def main() -> int:
    """Returns 1 when a row failed on either side."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="Ours beside the tools it takes the place of, row by row.")
    parser.add_argument("names", nargs="*", metavar="PEER", help=f"which: {', '.join(sides.PEERS)}; all when left out")
    parser.add_argument("--keep", action="store_true", help="write down what the peers gave, in tests/parity/recorded")
    parser.add_argument("--record", action="store_true", help="append the counts to RESULTS.md")
    parser.add_argument("--page", action="store_true", help="write the tables of the migration page, and nothing else")
    options = parser.parse_args()
    if options.page:
        page.write()
        return 0
    unknown = [name for name in options.names if name not in sides.PEERS]
    if unknown:
        parser.error(f"no peer named {', '.join(unknown)}; there are {', '.join(sides.PEERS)}")
    lines, failed = [], 0
    for name in options.names or sides.PEERS:
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
    if options.record:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(_section(lines))
    return int(failed > 0)


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


def _section(lines: list[str]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    head = (
        "| peer | how | rows passed | differ as stated | failed | its tests, restated: passed | differ as stated | failed | not restated |"
    )
    rule = "|---|---|---:|---:|---:|---:|---:|---:|---:|"
    when = datetime.now(UTC).date().isoformat()
    about = f"`python -m tests.parity`, {when}, commit {commit or 'unknown'}, {os.cpu_count()} cores."
    return "\n".join(["", "## Beside the peers' own behaviour", "", about, "", head, rule, *lines, ""])


if __name__ == "__main__":
    sys.exit(main())


__all__ = ["Numbers", "main"]
