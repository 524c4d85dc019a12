"""Several runs as one page: answers, differences, what was asked differently, each run's report and manifest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cli_tools import HOSTILE, Cli, cli

from interp_tui.runs import labels
from interp_tui.runs.labels import Labels
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]


def llc(make_run: MakeRun, name: str, mean: float, lr: float, **about: Any) -> RunFolder:
    bar = {"uncertainty": {"llc_mean": {"std_error": 3.0, "over": "4 chains"}}}
    tables = {"seed": 1, "model": {"source": "builtin:tiny"}, "params": {"lr": lr}}
    folder = make_run(name, headline={"llc_mean": mean, **bar}, tables=tables, result={"kind": "llc", "llc_mean": mean, **bar}, **about)
    folder.report_path.write_text(f"# Report of {name}\n\n<script>alert(1)</script> {HOSTILE}\n")
    return folder


def test_a_page_of_two_runs(make_run: MakeRun, cli: Cli, tmp_path: Path) -> None:
    first = llc(make_run, "first", 40.0, 1e-4)
    llc(make_run, "second", 52.0, 1e-5)
    labels.write(first, Labels(("paper",), "the one of figure 2"))
    path = tmp_path / "page.html"
    assert cli("report", "first", "second", "-o", path, "--title", "A <notebook>").last == str(path)
    page = path.read_text(encoding="utf-8")
    assert "A &lt;notebook&gt;" in page and "λ̂ 40.0 ± 3.0" in page and 'href="#run-2"' in page and 'id="run-2"' in page
    assert "2 less 1: llc_mean +12.0 ± 4.2, 2.8 standard errors apart" in page
    assert "params.lr" in page and "<code>0.0001</code>" in page and "λ̂ of runs sampled apart" in page
    assert "#paper the one of figure 2" in page and "Report of second" in page and page.count("interp-tui --batch with it") == 2
    assert page.count("<script") == 1 and "\x1b" not in page and "default-src 'none'" in page


def test_the_name_of_a_number_that_differs_is_text(make_run: MakeRun, cli: Cli) -> None:
    for name, value in (("first", 1.0), ("second", 2.0)):
        make_run(name, headline={HOSTILE: value}, result={"kind": "llc"})
    page = cli("report", "first", "second").out
    assert "2 less 1: " in page and "+1.00" in page and "\x1b" not in page and "\x07" not in page


def test_one_run_and_a_file_that_is_there(make_run: MakeRun, cli: Cli, tmp_path: Path) -> None:
    llc(make_run, "first", 40.0, 1e-4)
    assert "<h2" in cli("report", "first").out
    (tmp_path / "there.html").write_text("x")
    refused = cli("report", "first", "-o", tmp_path / "there.html")
    assert refused.code == 2 and "file exists" in refused.err and (tmp_path / "there.html").read_text() == "x"
    assert cli("report", "nowhere").code == 2
