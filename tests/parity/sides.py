"""Both sides of each peer: our numbers, the peer's where it can be installed, and those that were recorded."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import devinterp_rows, interp_lab_rows, interp_rows, toolkit_rows
from .environments import ROOT, SCRATCH, python_of
from .rows import Numbers, Peer, Row, near

RECORDED = Path(__file__).with_name("recorded")
PEERS: dict[str, Peer] = {rows.PEER.name: rows.PEER for rows in (devinterp_rows, interp_lab_rows, interp_rows, toolkit_rows)}
MODULES = {"devinterp": "devinterp", "interp-lab": "interp_lab", "interp": "interp", "interpretability-toolkit": "toolkit"}


def ours_of(peer: Peer) -> Iterator[tuple[Row, Numbers | None]]:
    """Each row with our numbers."""
    numbers = importlib.import_module(f".{MODULES[peer.name]}_ours", __package__).numbers()
    yield from ((row, numbers.get(row.key)) for row in peer.rows)


def recorded(name: str) -> dict[str, Numbers | None]:
    """What the peer gave when it was run last; for a peer there is no copy of, what its documentation and arithmetic say."""
    table: dict[str, Numbers | None] = json.loads((RECORDED / f"{MODULES[name]}.json").read_text())
    return table


def keep(name: str, numbers: Mapping[str, Numbers | None]) -> None:
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(numbers[key])}" for key in sorted(numbers))
    (RECORDED / f"{MODULES[name]}.json").write_text("{\n" + lines + "\n}\n")


def theirs(peer: Peer) -> dict[str, Numbers | None] | None:
    """The peer's numbers from an environment of its own; None where nothing can be installed."""
    python = _python_of(peer)
    if python is None:
        return None
    command = [python, "-m", f"tests.parity.{MODULES[peer.name]}_work"]
    ours = importlib.import_module(f".{MODULES[peer.name]}_ours", __package__)
    if hasattr(ours, "exchange"):  # a file of ours that the peer is to read
        given = SCRATCH / f"{MODULES[peer.name]}.exchange"
        ours.exchange(given)
        command.append(given)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    table: dict[str, Numbers | None] = json.loads(done.stdout.splitlines()[-1])
    return table


def still(row: Row, theirs: Mapping[str, Numbers | None], recorded: Mapping[str, Numbers | None]) -> bool:
    """Whether the peer gives what it gave when it was recorded; what rests on its random numbers need not."""
    a, b = theirs.get(row.key), recorded.get(row.key)
    return row.outcome == "differs" or a == b or (a is not None and b is not None and near(a, b, row))


def _python_of(peer: Peer) -> Path | None:
    source = os.environ.get("INTERP_SOURCE") if peer.name == "interp" else None
    if peer.install is None and source is None:
        return None
    return python_of(MODULES[peer.name], *((package,) for package in (peer.install or (source,)) if package))
