"""A run as a row of the Runs table and as the text of its preview."""

from __future__ import annotations

from pathlib import Path

from textual.content import Content

from ..terminal import host, themes
from ..text.numbers import bar, number, percent_done, quantities, spark
from ..text.sanitise import clean
from ..widgets.list_table import Cell, Column, Row
from .headlines import answer
from .preview import Preview
from .session import Run

COLUMNS = (
    Column("", 2),
    Column("kind", 12, grow=2, most=18),
    Column("name", 14, grow=4, most=32),
    Column("model", 14, grow=3, most=28, drop=1),
    Column("progress", 14),
    Column("headline", 20, grow=6),
    Column("age", 5, right=True),
)
BAR = 8
MADE_AT_MOST = 1000
AFTER = {
    "crashed": "r resumes from the last checkpoint",
    "interrupted": "r resumes from the last checkpoint",
    "failed": "r tries again from the last checkpoint; t opens it as a template",
    "queued": "r starts it",
    "paused": "p goes on",
}
WHAT_THIS_IS = (
    "interp-tui looks inside language models: it samples around their weights, traces where facts live, and shows each run as it goes. "
    "A run outlives this app and the connection, and its folder reproduces it."
)
SIMPLE_REASON = {"crashed": "owner gone", "interrupted": "stopped", "failed": "failed"}


def row(run: Run, *, ascii: bool, marked: bool = False) -> Row:
    """The run as one line. Everything that came from outside is cleaned."""
    status = run.status
    state = status.state
    colour = themes.colour_name(state)
    text, text_colour = _said(run, ascii)
    return Row(
        run.key,
        (
            Cell(("m" if marked else themes.glyph(state, ascii)), "accent" if marked else colour),
            Cell(clean(status.kind, limit=40)),
            Cell(" ".join((clean(status.name, limit=80), *(f"#{tag}" for tag in run.labels.tags)))),
            Cell(clean(status.model, limit=60), "muted"),
            Cell(*_progress(run, ascii)),
            Cell(text, text_colour),
            Cell(host.age(host.now() - run.started) if run.started else "", "muted"),
        ),
    )


class RowCache:
    """Rows as last made. Of ten thousand runs those on the screen are made; a second's look changes a few of these."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[Run, str, bool, bool, Row]] = {}

    def row(self, run: Run, *, ascii: bool, marked: bool) -> Row:
        """The run's row; the same object as before where nothing in it has changed."""
        age = host.age(host.now() - run.started)
        before = self._made.get(run.key)
        if before is not None and before[0] is run and before[1:4] == (age, ascii, marked):
            return before[4]
        if len(self._made) > MADE_AT_MOST:
            self._made.clear()
        made = row(run, ascii=ascii, marked=marked)
        self._made[run.key] = (run, age, ascii, marked, made)
        return made


def _progress(run: Run, ascii: bool) -> tuple[str, str]:
    status = run.status
    if status.state == "done":
        unit = clean(status.unit, limit=10).removesuffix("s") + ("s" if status.total != 1 else "")
        return (f"{number(int(status.total))} {unit}" if status.total else "", "muted")
    if status.state == "queued":
        return "waiting", "muted"
    if not status.total:
        return ("starting", "muted") if status.state == "running" else ("", "muted")
    colour = "accent" if status.state == "running" else "muted"
    return f"{bar(status.fraction, BAR, ascii=ascii)} {percent_done(status.fraction):>4}", colour


def _said(run: Run, ascii: bool) -> tuple[str, str]:
    status = run.status
    if status.state in SIMPLE_REASON:
        return clean(str(status.exit.get("reason") or SIMPLE_REASON[status.state]), limit=120), themes.colour_name(status.state)
    shown = quantities(status.headline, ascii=ascii)
    return answer(status.kind, status.headline, ascii=ascii), "muted" if shown and shown[0].unclear else "foreground"


def preview(run: Run, seen: Preview | None, width: int, *, ascii: bool) -> Content:
    """What is known of the run in a few lines, the most telling first."""
    status = run.status
    state = status.state
    colour = f"${themes.colour_name(state)}"
    facts = [clean(fact, limit=40) for fact in (status.kind, status.model, status.device) if fact]
    lines = [
        Content.assemble((f"{themes.glyph(state, ascii)} {state}", colour), "  ", " · ".join(facts), ("  " + _when(run, seen), "$muted"))
    ]
    shown = quantities(status.headline, ascii=ascii)
    if shown:
        parts = ((number.sign, (f" {number.text}   ", "$muted" if number.unclear else "")) for number in shown[:6])
        lines.append(Content.assemble(*(part for sign, text in parts for part in ((sign, "$muted"), text))))
    if seen and len(seen.loss) > 1:
        low, high = min(seen.loss), max(seen.loss)
        room = min(60, max(10, width - 40))
        drawn = spark(list(seen.loss), room, ascii=ascii)
        mean = " mean over chains" if seen.over_chains else ""
        lines.append(Content.assemble(("loss ", "$muted"), (drawn, "$chain-0"), f" {number(low)} – {number(high)}", (mean, "$muted")))
    reason = clean(str(status.exit.get("reason") or ""), limit=300)
    if reason and state != "done":
        lines.append(Content.styled(reason, colour))
    advice = "\n".join(clean(line.removeprefix("  "), limit=300) for line in str(status.exit.get("advice") or "").splitlines())
    if advice and state != "done":
        lines.append(Content(advice))
    if state in AFTER and not advice.startswith("resume"):
        lines.append(Content.styled(AFTER[state], "$accent"))
    for failure in (seen.failed_chains if seen else ())[:2]:
        lines.append(Content.styled(clean(failure, limit=200), "$bad"))
    if seen and seen.warning:
        lines.append(Content.styled(clean(seen.warning, limit=200), "$warn"))
    if run.labels.note:
        lines.append(Content.styled(clean(run.labels.note, limit=300), "$accent"))
    lines.append(Content.styled(host.short_path(run.folder.path), "$muted"))
    return Content("\n").join(lines)


def _when(run: Run, seen: Preview | None) -> str:
    status = run.status
    if not run.started:
        return ""
    if run.active:
        left = f", {host.duration(status.eta_seconds)} left" if status.eta_seconds is not None else ""
        return f"started {host.age(host.now() - run.started)} ago{left}"
    took = f", took {host.duration(seen.seconds)}" if seen is not None and seen.seconds is not None else ""
    return f"{host.age(host.now() - run.started)} ago{took}"


def empty(root: Path) -> Content:
    """What to say where there are no runs: what this is, what to do first, and where runs will be."""
    first = (
        ("n", "choose an experiment"),
        ("interp-tui demo", "from a criterion to its cause, in a minute"),
        ("interp-tui new llc > llc.toml", "a manifest to edit, and run with --batch"),
    )
    width = max(len(what) for what, _ in first)
    steps = [Content.assemble((f"{what:<{width}}", "$accent"), f"  {why}") for what, why in first]
    where = Content.assemble(
        "Runs will be kept in ", (host.short_path(root), "bold"), (" (--runs or $INTERP_TUI_RUNS moves them)", "$muted"), "."
    )
    return Content("\n").join(
        [Content.styled("No runs yet.", "bold"), Content(""), Content(WHAT_THIS_IS), Content(""), *steps, Content(""), where]
    )
