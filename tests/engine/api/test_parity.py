"""The rows of the migration page: ours beside what each peer gave when it was run (`make parity` runs both)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest

from in_process import run_manifest
from interp_tui_engine import atomic, manifest, supervisor
from interp_tui_engine.models.builtin_index import builtin_models
from interp_tui_engine.runfolder import RunFolder
from parity import page, sides
from parity.rows import Numbers, Row, near, verdict

ROWS = {f"{name}: {row.key}": (name, row) for name, peer in sides.PEERS.items() for row in peer.rows}


@pytest.fixture(scope="module", autouse=True)
def _runs_in_this_process() -> Iterator[None]:
    """Runs of the Python interface without the seconds that a process takes to start."""

    def supervise(folder: RunFolder, on_event: Any) -> SimpleNamespace:
        ended = run_manifest(manifest.load(folder.manifest_path), folder.path)
        assert ended is not None
        atomic.write_json(folder.path / "result.json", ended.result.values)
        return SimpleNamespace(state="done")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(supervisor, "supervise", supervise)
        yield


@cache
def ours(name: str) -> dict[str, Numbers | None]:
    return {row.key: numbers for row, numbers in sides.ours_of(sides.PEERS[name])}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ROWS)
def test_a_row_is_what_it_says(case: str) -> None:
    name, row = ROWS[case]
    theirs = sides.recorded(name).get(row.key)
    assert theirs is not None, "the peer gave nothing"
    assert verdict(row, ours(name).get(row.key), theirs) == ("passed" if row.outcome == "same" else "differs")


def test_the_pages_tables_are_the_rows() -> None:
    """`python -m tests.parity --page` writes them."""
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_tables(text) == text
    assert all(page.table(peer) in text for peer in sides.PEERS.values())
    assert builtin_models(), "the rows of interp and interpretability-toolkit are of the embedded model"


def test_keys_are_unique_and_recorded() -> None:
    for name, peer in sides.PEERS.items():
        keys = [row.key for row in peer.rows]
        assert len(keys) == len(set(keys)) and set(keys) <= set(sides.recorded(name))


def rows() -> Iterator[tuple[Row, str]]:
    same = Row("k", "", "", "same", "")
    yield same, "passed"
    yield Row("k", "", "", "differs", ""), "failed"


@pytest.mark.parametrize(("row", "state"), rows())
def test_a_row_that_differs_must_differ(row: Row, state: str) -> None:
    assert verdict(row, [1.0, 2.0], [1.0, 2.0]) == state
    assert verdict(row, None, [1.0]) == verdict(row, [1.0], None) == "failed"
    assert not near([1.0], [1.0, 2.0], row) and not near([float("nan")], [1.0], row)
