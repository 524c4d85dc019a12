"""The contract of every kind, held by a real run: what it declares it writes, and its view draws what it wrote, at both sizes.

A small run of each kind is made in this process, as a worker makes it, and shown on a screen. A key that was renamed on one side only
leaves its mark here: as a name in result.json that the kind does not declare, as a number that the result tab does not show, or as a view
that fails or has nothing to draw.
"""

from __future__ import annotations

import csv
import html
import io
import json
from dataclasses import replace

import pytest
from tests.stated_types import misfits

from interp_tui.commands import text_render
from interp_tui.commands.compare import compare
from interp_tui.commands.export import as_csv, as_json
from interp_tui.commands.runs import list_, show
from interp_tui.export.html import page
from interp_tui.export.tables import tables_of
from interp_tui.runs.headlines import answer
from interp_tui.screens.run import RunScreen
from interp_tui.text.numbers import headline, number
from interp_tui_engine import catalog, uncertainty
from interp_tui_engine.events import Warned, from_line
from interp_tui_engine.runfolder import RunFolder
from torture.real_runs import finished

KINDS = [kind.name for kind in catalog.kinds() if kind.name != "pipeline"]  # whose steps are runs of their own
UNMEASURED = {"lr", "n_beta", "localization", "strength", "rhat", "ess", "majority"}
"""Settings that a run ends in, diagnostics of other numbers, and shares that are counted."""
SIZES = ((80, 24), (140, 40))


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of the kind, made in this process."""
    return finished(request.param, tmp_path_factory.mktemp("runs") / request.param)


def test_a_kind_writes_what_it_declares(run: RunFolder) -> None:
    result = json.loads(run.result_path.read_text())
    assert {"kind", "name", "schema_version", "seconds"} <= set(result)
    events = [from_line(line).event for line in run.events_path.read_text().splitlines()]
    found = misfits(result["kind"], result, run.status().headline, events)
    assert not found, "\n".join(found)
    assert not [event for event in events if isinstance(event, Warned) and "does not fit its type" in event.message]
    named = {name.partition(".")[0] for name in result.get("uncertainty", {})}
    assert named <= set(result) | set(run.status().headline), "an error bar of a number that is not there"
    assert (run.path / "report.md").read_text().startswith("# ")


def test_its_headline_answers_in_words(run: RunFolder) -> None:
    status = run.status()
    words, numbers = answer(status.kind, status.headline), headline({**status.headline, "answer": ""}, most=99)
    assert words and words != numbers, "no words of its own"
    names = [key for key in status.headline if "_" in key]
    assert not [name for name in names if name in words], words
    assert answer(status.kind, status.headline, ascii=True).isascii()


def test_every_measured_number_of_the_headline_says_how_sure_it_is(run: RunFolder) -> None:
    stated = run.status().headline
    bars = uncertainty.read(stated)
    for name, value in stated.items():
        if not isinstance(value, float) or name in UNMEASURED or name.endswith("_std_error"):
            continue
        assert name in bars, f"{name} = {value} has neither an error bar nor a word on why there is none"
        assert not bars[name].note.startswith("no error bar"), "the words before it say so"
        assert bars[name].over if bars[name].has_bar else bars[name].note, f"{name}: over what, or why not, is not said"


def test_every_part_words_a_number_alike(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    bars, result = uncertainty.read(run.status().headline), run.result() or {}
    stated = uncertainty.read(result)
    words = answer(run.status().kind, run.status().headline)
    shown = {"report": run.report_path.read_text(), "page": html.unescape(page(run))}
    for name, command in (("show", lambda: show(str(run.path))), ("compare", lambda: compare(str(run.path), str(run.path)))):
        assert command() == 0
        shown[name] = capsys.readouterr().out
    assert list_(run.path.parent) == 0
    assert words[:100] in capsys.readouterr().out, "in the list the answer is cut"
    for key, bar in bars.items():
        if not bar.has_bar or key not in stated or (value := uncertainty.value_at(result, key)) is None:
            continue
        text = uncertainty.describe(value, replace(bar, clear=None))
        assert text in words or number(value, 3) not in words, f"{key} = {text} stands without its error in the list: {words}"
        missing = [part for part, lines in shown.items() if text not in lines]
        assert not missing, f"{key} = {text} is worded otherwise in {', '.join(missing)}"


def test_exports_hold_every_error_bar(run: RunFolder) -> None:
    bars = {name: bar for name, bar in uncertainty.read(run.result() or {}).items() if bar.has_bar}
    assert uncertainty.read(json.loads(as_json(run))["result"]).keys() >= bars.keys()
    written = {row["key"]: row["value"] for row in csv.DictReader(io.StringIO(as_csv(run))) if row["series"] == "result"}
    for name, bar in bars.items():
        for part in ("std_error", "low", "high"):
            if (value := getattr(bar, part)) is not None:
                assert float(written[f"uncertainty.{name}.{part}"]) == value
    for table in tables_of(run):
        columns = next(table.blocks())
        assert any(name.endswith("std_error") for name in columns), f"the table {table.name}, as Parquet has it: {list(columns)}"


def test_its_view_draws_it(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunScreen, "forgiving", False)
    shown = []
    for size in SIZES:
        for tab in ("live", "result"):
            shown.append("\n".join(text_render.lines(run.path, tab, size, ascii=False)))
            assert len(shown[-1].split()) > 10, shown[-1]
    stated = run.status().headline
    values = [value for value in stated.values() if not isinstance(value, dict | list)]
    assert any(shows(value, text) for value in values for text in shown), (stated, *shown)


def shows(value: object, text: str) -> bool:
    """Whether a value of the headline stands in the text, in whatever number of digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) in text
    return any(form in text for form in (f"{value:,}", number(value), number(value, 3), number(value, 2), f"{value:.2f}", f"{value:.3f}"))
