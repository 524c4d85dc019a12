"""A page's figures and tables answer the pointer and the keyboard, at two widths and in print, and no text of a model ever runs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, installed
from fake_run import sampling

from interp_tui.export.html import page
from interp_tui.export.live_figures import SCRIPT, curve_figure, figures, grid_figure
from interp_tui.runs.curves import RunCurve
from interp_tui.runs.grids import LabelledGrid
from interp_tui_engine.events import Stamped, to_line
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
HOSTILE = "</script><script>window.pwned=1</script><img src=x onerror='window.pwned=2'>\" onload=\"window.pwned=3"
COUNT = "document.querySelectorAll('%s').length"
GRID = LabelledGrid(("L0", "L1"), ("The", HOSTILE), ((0.0, 0.85), (-0.5, None)))


def run(make_run: MakeRun) -> RunFolder:
    """A run with loss curves, a grid and a report with a table, all with hostile text."""
    result = {
        "layers": [0, 1],
        "tokens": ["The", HOSTILE],
        "recovery": {"resid_post": [[0.0, 0.85], [-0.5, 1.0]]},
        HOSTILE: {"a": {HOSTILE: 1.0}},
    }
    folder = make_run("hostile", result=result)
    lines = [to_line(Stamped(seq, float(seq), event)) for seq, event in enumerate(sampling(60), 1)]
    folder.events_path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    rows = "".join(f"| {name} {HOSTILE.replace('|', '')} | {value} |\n" for name, value in (("b", "9.5 ± 1"), ("a", "10"), ("c", "-3")))
    folder.report_path.write_text(f"# Report\n\n| part | effect |\n|---|---:|\n{rows}")
    return folder


# -- as text


def test_the_only_script_is_the_one_whose_hash_the_policy_names(make_run: MakeRun) -> None:
    text = page(run(make_run))
    scripts = re.findall(r"<script\b[^>]*>(.*?)</script>", text, re.DOTALL)
    assert scripts == [SCRIPT]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in text and "default-src 'none'" in text and "unsafe-eval" not in text
    tags = re.findall(r"<[a-z][^>]*>", text.partition("</script>")[0].rpartition("<script>")[0])
    assert not [tag for tag in tags if re.search(r"\son\w+\s*=", re.sub(r'"[^"]*"', '""', tag))]
    assert not re.search(r"innerHTML|insertAdjacent|eval|document\.write|fetch|XMLHttp|import\(", SCRIPT)


def test_a_chart_carries_its_points(make_run: MakeRun) -> None:
    points = tuple((float(x), x * x / 10) for x in range(5))
    band = (tuple((x, y - 0.5) for x, y in points), tuple((x, y + 0.5) for x, y in points))
    drawn = curve_figure(HOSTILE, RunCurve(points, "draws", *band, "± 1 sd"))
    told = json.loads(unescape(re.search(r'data-points="([^"]*)"', drawn)[1]))  # type: ignore[index]
    assert [row[:3] for row in told][:2] == [["0", "0", "0.50"], ["1.00000", "0.1000", "0.50"]] or told[1][2] == "0.50"
    assert "<script" not in drawn and drawn.count("<polyline") == drawn.count("<polygon") == 1
    assert figures(make_run("bare")) == ""


def test_a_grid_says_its_numbers_without_a_script() -> None:
    drawn = grid_figure("recovery", GRID)
    assert 'data-v="0.850000"' in drawn or 'data-v="0.85' in drawn
    assert '<td class="none"></td>' in drawn and "<script" not in drawn and drawn.count("<td") == 4


# -- in a browser

needs_browser = pytest.mark.skipif(installed() is None, reason="no Chromium on this machine")


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as opened:
        yield opened


@needs_browser
@pytest.mark.timeout(600)
def test_a_page_answers_in_a_browser(browser: Browser, make_run: MakeRun, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(run(make_run)), encoding="utf-8")
    for width in (420, 1280):
        browser.show(file, width)
        assert browser.value("document.documentElement.scrollWidth") <= width, "nothing sticks out at the side"
        assert first_column(browser) == ["b", "a", "c"]
        for wanted in (["c", "b", "a"], ["a", "b", "c"]):
            browser.value("document.querySelectorAll('table:not(.cells) th button')[1].click()")
            assert first_column(browser) == wanted
        browser.point_at("figure.heat tbody tr:nth-child(1) td:nth-of-type(2)")
        assert browser.value("document.querySelector('figure.heat output').textContent").endswith("  0.850000")
        browser.point_at("figure.chart svg", 0.5)
        assert re.match(r"(steps|draws) \d+", browser.value("document.querySelector('figure.chart output').textContent"))
        press(browser, "figure.heat table", "ArrowDown")
        assert browser.value("document.querySelector('figure.heat output').textContent").startswith("L1 · ")
    assert browser.value("typeof window.pwned") == "undefined"
    assert not browser.refused()


@needs_browser
@pytest.mark.timeout(600)
def test_in_print_all_is_open_and_black_on_white(browser: Browser, make_run: MakeRun, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(page(run(make_run)), encoding="utf-8")
    browser.show(file, 1280)
    browser.value(f"window.opened = null; addEventListener('beforeprint', () => {{ opened = {COUNT % 'details[open]'}; }})")
    printed = base64.b64decode(browser.send("Page.printToPDF")["data"])
    assert printed.startswith(b"%PDF") and browser.value("opened") == browser.value(COUNT % "details") > 0
    assert browser.value(COUNT % "details[open]") == 0, "and as before afterwards"
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert browser.value("getComputedStyle(document.querySelector('output')).display") == "none"


def first_column(browser: Browser) -> list[str]:
    """The first letter of each row of the report's table."""
    rows = "[...document.querySelector('table:not(.cells)').rows].slice(1).map(row => row.cells[0].textContent.trim()[0])"
    found: list[str] = browser.value(rows)
    return found


def press(browser: Browser, selector: str, key: str) -> Any:
    """A key on an element."""
    return browser.value(
        f"document.querySelector({selector!r}).dispatchEvent(new KeyboardEvent('keydown', {{key: {key!r}, bubbles: true}}))"
    )
