"""A run as a page: what it holds, and that nothing in it is run or fetched."""

from __future__ import annotations

import base64
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from cli_tools import Cli, cli

from interp_tui.export.html import page
from interp_tui_engine.runfolder import RunFolder

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
REPORT = """# Report <script>alert(2)</script>

![loss by layer](figures/loss.svg) ![elsewhere](../secret.svg) ![far](https://example.org/x.png)

| layer | `<b>` |
|---|---:|
| L0 | 0.25 |

[click](javascript:alert(3)) \x1b[2J
"""


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def reported(make_run: MakeRun) -> RunFolder:
    folder = make_run("<i>tiny</i>", folder_name="odd", result={"llc_mean": 3.25, "cases": [{"name": "<u>", "value": 1}]})
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "loss.svg").write_text(SVG)
    (folder.path.parent / "secret.svg").write_text(SVG)
    folder.report_path.write_text(REPORT)
    return folder


def test_a_figure_has_its_own_size_and_the_report_no_second_title(make_run: MakeRun) -> None:
    folder = reported(make_run)
    (folder.path / "figures" / "loss.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 342 180"></svg>')
    folder.report_path.write_text("# llc · <i>tiny</i>\n\n![loss](figures/loss.svg)\n\n# Kept\n")
    found = Page(page(folder))
    assert [attrs.get("width") for tag, attrs in found.tags if tag == "img"] == ["445"]
    assert "llc · <i>" not in found.text and "Kept" in found.text


def test_a_page_holds_the_report_its_figures_the_numbers_and_the_manifest(make_run: MakeRun) -> None:
    found = Page(page(reported(make_run)))
    (image,) = [attrs for tag, attrs in found.tags if tag == "img"]
    assert image["alt"] == "loss by layer"
    assert str(image["src"]) == "data:image/svg+xml;base64," + base64.b64encode(SVG.encode()).decode()
    assert "table" in dict(found.tags) and "0.25" in found.text and "cases.0.value" in found.text and "3.25" in found.text
    assert 'source = "builtin:tiny"' in found.text


def test_nothing_in_a_page_is_run_or_fetched(make_run: MakeRun) -> None:
    text = page(reported(make_run))
    found = Page(text)
    assert not {"i", "u", "iframe", "link", "object"} & {tag for tag, _ in found.tags}
    assert [tag for tag, _ in found.tags].count("script") == 1, "the page's own, which its policy names by its hash"
    links = [str(attrs.get(name)) for _, attrs in found.tags for name in ("src", "href") if attrs.get(name)]
    assert all(link.startswith("data:image/") for link in links)
    assert "<script>alert(2)</script>" in found.text and "elsewhere" in found.text and "\x1b" not in text


def test_export_to_a_page(cli: Cli, make_run: MakeRun, tmp_path: Path) -> None:
    reported(make_run)
    answer = cli("export", "odd", "--to", "html", "-o", tmp_path / "run.html")
    assert answer.code == 0 and answer.last == str(tmp_path / "run.html")
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")


def test_a_run_without_result_or_report(make_run: MakeRun) -> None:
    assert "has written no report" in Page(page(make_run("bare", state="crashed"))).text
