"""A run as one HTML page that needs no other file: its report, figures to read out, its numbers, and the manifest that reproduces it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from interp_tui_engine.runfolder import RunFolder, Status
from interp_tui_engine.untrusted import text_or_empty

from ..runs.certainty import flat_numbers, worded
from ..runs.session import tables
from ..text.numbers import quantities
from ..text.sanitise import clean, clean_lines
from .live_figures import SCRIPT, SCRIPT_HASH, figures

LARGEST_TEXT = 8 << 20
"""Characters of a report or manifest."""
LARGEST_FIGURE = 8 << 20
"""Bytes of one figure; what is larger is named, not shown."""
VIEW_BOX = re.compile(rb'<svg [^>]{0,200}?viewBox="0 0 (\d{1,5}(?:\.\d{1,4})?) ')
SCALE = 1.3
"""Pixels of the page to one of a figure's own: the widest, of 720, fill it."""

NEVER = ("base-uri 'none'", "form-action 'none'")
"""What the page's policy forbids beside fetching and foreign code."""
STYLE = """
:root { color-scheme: light dark; --ink: #1d232b; --paper: #fdfdfc; --muted: #65707d; --rule: #d9dee4; --accent: #1f6fb8; }
@media (prefers-color-scheme: dark) { :root { --ink: #d8dee6; --paper: #11161c; --muted: #8b96a4; --rule: #2c3643; --accent: #6cb6ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto; }
body { padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-top: 1px solid var(--rule); padding-top: .8rem; }
.said { color: var(--muted); } .said b { color: var(--ink); }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; margin: 1rem 0; }
td[style*=right] { white-space: nowrap; }
th, td { padding: .1rem .7rem .1rem 0; text-align: left; border-bottom: 1px solid var(--rule); }
code, pre { font: 13px/1.45 ui-monospace, monospace; } pre { overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; background: #fff; } summary { cursor: pointer; color: var(--accent); }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\25b4"; } th[aria-sort=descending] button::after { content: " \\25be"; }
figure { margin: 1.2rem 0; } figcaption { color: var(--muted); } output { color: var(--ink); font-weight: 600; float: right; }
.chart svg { width: 100%; height: auto; font: 11px ui-monospace, monospace; fill: var(--muted); }
.axes { fill: none; stroke: var(--rule); } .mean { fill: none; stroke: var(--accent); stroke-width: 1.5; }
.band { fill: var(--accent); opacity: .18; } .cursor { stroke: var(--ink); visibility: hidden; } .cursor.shown { visibility: visible; }
.cells { font: 12px ui-monospace, monospace; } .cells td { padding: .1rem .4rem; text-align: right; border: 1px solid var(--paper); }
.cells .none { background: #d8d8d8; } .cells .here { outline: 2px solid var(--ink); outline-offset: -2px; }
@media print {
  :root { --ink: #000; --paper: #fff; --muted: #444; --rule: #bbb; --accent: #1f6fb8; color-scheme: light; }
  body { max-width: none; margin: 0; font-size: 10pt; } figure, img, tr { break-inside: avoid; } h1, h2, h3 { break-after: avoid; }
  output, .cursor { display: none; } table { display: table; } td, figure { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def page(folder: RunFolder) -> str:
    """The page's text. Text from models and data is text in it, figures of the report are images. Raises UserError where the manifest
    cannot be read."""
    return document(title_of(folder), [f"<h1>{escape(title_of(folder))}</h1>", *sections(folder)])


def title_of(folder: RunFolder) -> str:
    """A run's kind and name."""
    status = folder.status()
    return clean(f"{status.kind} {status.name}", limit=120)


def sections(folder: RunFolder) -> list[str]:
    """What a page says of a run below its title. Raises UserError where the manifest cannot be read."""
    recorded = tables(folder)
    digests = recorded.get("result", {}).get("sha256", {}) if isinstance(recorded.get("result"), dict) else {}
    manifest = text_or_empty(folder.manifest_path, LARGEST_TEXT)
    result = folder.result()
    parts = [
        f'<p class="said">{_said(folder.status(), recorded)}</p>',
        _report(folder) if folder.report_path.exists() else "<p>The run has written no report.</p>",
        figures(folder),
        _folded("All numbers", _table({**flat_numbers(result), **worded(result)})) if isinstance(result, Mapping) else "",
        _folded("manifest.toml: interp-tui --batch with it is the same run", f"<pre>{escape(clean_lines(manifest))}</pre>"),
        _folded("sha256 of the arrays", _table(digests)) if isinstance(digests, Mapping) and digests else "",
    ]
    return [part for part in parts if part]


def document(title: str, parts: Sequence[str]) -> str:
    """A page of these parts, which are HTML already. Nothing in it is fetched, and of what is in it only this program's own script runs."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    allowed = ("default-src 'none'", "img-src data:", "style-src 'unsafe-inline'", f"script-src '{SCRIPT_HASH}'")
    policies = "; ".join([*allowed, *NEVER])
    policy = f'<meta http-equiv="Content-Security-Policy" content="{policies}">'
    body = "\n".join([*parts, f"<script>{SCRIPT}</script>"])
    return f'<!doctype html>\n<html lang="en"><head>{policy}{head}</head><body>\n{body}\n</body></html>\n'


def _said(status: Status, recorded: Mapping[str, Any]) -> str:
    made = recorded.get("provenance")
    when = str(made.get("finished") or made.get("started") or "") if isinstance(made, Mapping) else ""
    facts = [clean(str(fact), limit=80) for fact in (status.state, status.model, status.device, when) if fact]
    shown = quantities(status.headline)[:6]
    items = "  ".join(f"{escape(sign)} {escape(label) if unclear else f'<b>{escape(label)}</b>'}" for sign, label, unclear in shown)
    return escape(" · ".join(facts)) + (f"<br>{items}" if items else "")


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def _table(values: Mapping[str, Any]) -> str:
    rows = (
        f"<tr><td>{escape(clean(str(k)))}</td><td><code>{escape(clean(str(v), limit=2000))}</code></td></tr>" for k, v in values.items()
    )
    return f"<table>{''.join(rows)}</table>"


def _report(folder: RunFolder) -> str:
    """report.md as HTML, in which raw HTML is text."""
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML

    def image(self: RendererHTML, tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
        source, alt = str(tokens[index].attrs.get("src", "")), tokens[index].content
        return _figure(folder.path, source, alt)

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    markdown.add_render_rule("image", image)
    if not folder.report_path.resolve().is_relative_to(folder.path.resolve()):  # a page is sent to others: no file but the run's own
        return "<p>The run's report is a link to another file.</p>"
    status, text = folder.status(), text_or_empty(folder.report_path, LARGEST_TEXT)
    return str(markdown.render(clean_lines(text.removeprefix(f"# {status.kind} · {status.name}\n"))))  # the page has that title


def _figure(root: Path, source: str, alt: str) -> str:
    """A figure of the run's own as an image that lies in the page; of anything else, its name."""
    path = (root / source).resolve()
    if not re.fullmatch(r"[\w.\-/ ]+\.(svg|png)", source) or root.resolve() not in path.parents or not path.is_file():
        return f"<em>{escape(alt or source)}</em>"
    if path.stat().st_size > LARGEST_FIGURE:
        return f"<em>{escape(alt or source)}: in {escape(source)}, too large for this page</em>"
    kind, content = "svg+xml" if path.suffix == ".svg" else "png", path.read_bytes()
    size = VIEW_BOX.match(content) if kind == "svg+xml" else None
    width = f' width="{round(SCALE * float(size[1]))}"' if size else ""  # else a small figure is as wide as the page, and its text huge
    return f'<img alt="{escape(alt)}"{width} src="data:image/{kind};base64,{base64.b64encode(content).decode()}">'
