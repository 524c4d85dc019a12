"""The contract of every kind, held by a real run: what it declares it writes, and its view draws what it wrote, at both sizes.

A small run of each kind is made in this process, as a worker makes it, and shown on a screen. A key that was renamed on one side only
leaves its mark here: as a name in result.json that the kind does not declare, as a number that the result tab does not show, or as a view
that fails or has nothing to draw.
"""

from __future__ import annotations

import json
import shutil

import pytest

from interp_tui.commands import text_render
from interp_tui.screens.run import RunScreen
from interp_tui.text.numbers import number
from interp_tui_engine import catalog, manifest, supervisor, worker
from interp_tui_engine.pipeline import ALWAYS
from interp_tui_engine.runfolder import RunFolder, Status
from torture.requests import small

KINDS = [kind.name for kind in catalog.kinds() if kind.name != "pipeline"]  # whose steps are runs of their own
SIZES = ((80, 24), (140, 40))


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of the kind: a worker's work done here, its events and its end recorded as a supervisor records them."""
    asked = manifest.resolve(small(request.param))
    folder = supervisor.prepare(asked, tmp_path_factory.mktemp("runs") / request.param)
    worker.work(folder, 0)
    ended = json.loads((folder.shard(0) / "exit.json").read_text())
    assert ended["state"] == "done", ended
    shutil.copyfile(folder.shard(0) / "events.jsonl", folder.path / "events.jsonl")
    folder.write_status(Status(state="done", kind=asked.kind, name=asked.name, model="tiny", headline=ended["headline"], updated=0.0))
    return folder


def test_a_kind_writes_what_it_declares(run: RunFolder) -> None:
    result = json.loads(run.result_path.read_text())
    kind = catalog.get(result["kind"])
    assert {"kind", "name", "schema_version", "seconds"} <= set(result)
    if kind.result:
        assert set(result) <= {*ALWAYS, "uncertainty", *kind.result}, "a key that no one declares"
    named = {name.partition(".")[0] for name in result.get("uncertainty", {})}
    assert named <= set(result) | set(run.status().headline), "an error bar of a number that is not there"
    assert (run.path / "report.md").read_text().startswith("# ")


def test_its_view_draws_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunScreen, "forgiving", False)
    shown = []
    for size in SIZES:
        shown.append("\n".join(text_render.lines(run.path, "live", size, ascii=False)))
        assert len(shown[-1].split()) > 10, shown[-1]
    shown.append("\n".join(text_render.lines(run.path, "result", (140, 40), ascii=False)))
    headline = run.status().headline
    values = [value for value in headline.values() if not isinstance(value, dict | list)]
    assert any(shows(value, text) for value in values for text in shown), (headline, *shown)


def shows(value: object, text: str) -> bool:
    """Whether a value of the headline stands in the text, in whatever number of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) in text
    return any(form in text for form in (f"{value:,}", number(value), number(value, 3), number(value, 2), f"{value:.2f}", f"{value:.3f}"))
