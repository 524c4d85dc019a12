"""An interventions run: each feature's effect with its interval on an axis that all share, beside its controls; strengths as a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import Fact, Facts, rich_style
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.numbers import as_finite as finite

from .base import QuietTable, RunView, scalars

AXIS = 21
BAR = 16
COLUMNS = (
    Column("feature", 11, grow=2, most=34),
    Column("verb", 7, drop=4),
    Column("at", 5, right=True),
    Column("effect (95 %)", 21, right=True),
    Column("0".center(AXIS), AXIS),
    Column("side", 6, right=True, drop=1),
    Column("Δ loss", 7, right=True, drop=2),
    Column("controls", 8, right=True, drop=3),
    Column("", 2),
)
CLEAR = "◆ clear of 0 and of every kind of control"


class InterventionsView(RunView):
    """A row a feature and strength, in the order they ran; below, what is known of the one under the cursor."""

    KINDS: ClassVar[tuple[str, ...]] = ("interventions", "contrast", "steer")
    DEFAULT_CSS = """
    InterventionsView #summary { height: auto; }
    InterventionsView #effects { height: 1fr; min-height: 5; }
    InterventionsView #detail.-tall { height: 60%; }
    InterventionsView #detail { height: 10; border-top: solid $rule; text-wrap: nowrap; text-overflow: ellipsis; }
    .-ascii InterventionsView #detail { border-top: ascii $rule; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Mapping[str, Any]] = []
        self.curve: list[Mapping[str, Any]] = []
        self.facts: list[Fact] = []
        self.waiting = ""

    def compose(self) -> ComposeResult:
        yield Facts(id="summary")
        yield QuietTable(COLUMNS, id="effects")
        yield Static(id="detail")
        yield Static(id="waiting")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    def take(self, state: RunState, waiting: str) -> None:
        self.lines = [state.cases[index] for index in sorted(state.cases)]
        self.curve = [point for index in sorted(state.cells) if "strength" in (point := state.cells[index])]
        clear = sum(line.get("clear") is True for line in self.lines)
        self.facts = [Fact("effects", str(len(self.lines))), Fact("clear", str(clear), "good" if clear else ""), Fact("", CLEAR, "muted")]
        self.facts = self.facts if self.lines else []
        said = f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase or waiting
        self.waiting = "" if self.lines or self.curve else "no effect was measured" if state.ending is not None else clean(said, limit=100)

    async def draw_plots(self) -> None:
        """There are none: intervals are drawn with the rows."""

    def draw_tables(self) -> None:
        self.query_one(Facts).show(self.facts, flat=True)
        table, waiting, detail = self.query_one(ListTable), self.query_one("#waiting", Static), self.query_one("#detail", Static)
        table.display, detail.display = bool(self.lines), bool(self.lines or self.curve)
        detail.set_class(bool(self.curve), "-tall")
        waiting.display = bool(self.waiting)
        waiting.update(Text(self.waiting, end=""))
        limit = axis_limit(self.lines)
        table.set_rows([effect_row(index, line, limit) for index, line in enumerate(self.lines)])
        self._show_detail()

    @on(ListTable.Highlighted)
    def _show_detail(self) -> None:
        key = self.query_one(ListTable).key
        line = self.lines[int(key)] if key is not None and int(key) < len(self.lines) else None
        text = detail_text(line, self.lines, self.app.theme_variables) if line is not None else Text("", end="")
        if self.curve:
            chosen = finite(line.get("strength")) if line is not None else None
            text = (
                curve_text(self.curve, chosen, self.app.theme_variables, ascii=self.app.has_class("-ascii"))
                + Text("\n\n" if line is not None else "", end="")
                + text
            )
        self.query_one("#detail", Static).update(text)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return scalars(result, colours, ascii=ascii, skip=frozenset({"effects"}))


def axis_limit(lines: Sequence[Mapping[str, Any]]) -> float:
    """Half the width of the axis that all rows share: as far as the farthest end of an interval, and a little."""
    ends = [abs(value) for line in lines for name in ("effect", "low", "high") if (value := finite(line.get(name))) is not None]
    return max([*ends, 1e-9]) * 1.05


def effect_row(index: int, line: Mapping[str, Any], limit: float) -> Row:
    """One effect as a line of the table."""
    effect, low, high = (finite(line.get(name)) for name in ("effect", "low", "high"))
    half = (high - low) / 2 if low is not None and high is not None else 0.0
    clear = line.get("clear") is True
    colour = "good" if clear else "foreground"
    ends = f" [{short(low)}, {short(high)}]" if low is not None and high is not None else ""
    return Row(
        str(index),
        (
            Cell(clean(str(line.get("feature_id") or "—"), limit=60)),
            Cell(clean(str(line.get("verb") or "—"), limit=20), "muted"),
            Cell(number(finite(line.get("strength")), 3), "muted"),
            Cell("—" if effect is None else f"{short(effect)}{ends}", colour),
            Cell(on_axis(effect, AXIS, limit=limit, mark=0.0, error=half), colour),
            Cell(short(finite(line.get("side_effect"))), "muted"),
            Cell(loss_text(line), "bad" if _costs(line) else "muted"),
            Cell(short(finite(line.get("control"))), "muted"),
            Cell("◆" if clear else "", "good"),
        ),
    )


def detail_text(line: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> Text:
    """What the controls did (95 % of them, beside the effect's own interval), and, where there are several strengths, the curve."""
    muted = rich_style(colours.get("muted", ""))
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    text.append(clean(str(line.get("feature_id", "")), limit=60), rich_style(colours.get("accent", ""), bold=True))
    rows, q, p = line.get("rows"), finite(line.get("q")), finite(line.get("p"))
    text.append(f"  {number(rows)} prompts" if rows is not None else "", muted)
    text.append(f"  q {number(q, 2)}" if q is not None else f"  p {number(p, 2)}" if p is not None else "", muted)
    units, count = finite(line.get("units")), finite(line.get("control_count"))
    if units is not None:
        text.append(f"  {units:+.1f} × the spread of {number(count)} controls", muted)
    strong = finite(line.get("strong"))
    text.append(f"  strong score {number(strong, 3)}" if strong is not None else "", muted)
    limit = axis_limit(lines)
    found = line.get("controls")
    kinds: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    own = {"mean": line.get("effect"), "low": line.get("low"), "high": line.get("high")}
    for name, one in [("itself", own), *((str(kind).replace("_", " "), value) for kind, value in kinds.items())]:
        if not isinstance(one, Mapping):
            continue
        mean, low, high = (finite(one.get(key)) for key in ("mean", "low", "high"))
        half = (high - low) / 2 if low is not None and high is not None else 0.0
        text.append(f"\n{clean(name, limit=18):<19}", muted)
        text.append(
            on_axis(mean, AXIS, limit=limit, mark=0.0, error=half), rich_style(colours.get("accent", "")) if name == "itself" else ""
        )
        ends = f" [{short(low)}, {short(high)}]" if low is not None and high is not None else ""
        text.append(f"  {short(mean)}{ends}")
    loss, low, high = (finite(line.get(key)) for key in ("loss_change", "loss_low", "loss_high"))
    if loss is not None:
        text.append(f"\n{'loss, plain text':<19}", muted)
        text.append(f"{loss:+.4f}" + (f" [{low:+.4f}, {high:+.4f}]" if low is not None and high is not None else ""))
        beside = finite(line.get("loss_control"))
        text.append(f"   controls {beside:+.4f}" if beside is not None else "", muted)
    same = [other for other in lines if other.get("feature_id") == line.get("feature_id")]
    if len(same) > 1:
        text.append("\nstrength", muted)
        for other in same:
            text.append(f"   {number(finite(other.get('strength')), 3)}: {short(finite(other.get('effect')))}")
            text.append(f" side {short(finite(other.get('side_effect')))}", muted)
    return text


def curve_text(points: Sequence[Mapping[str, Any]], chosen: float | None, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """What each strength does, one a line: the effect where it is wanted and the side effect elsewhere, in bars of one scale; the gain."""
    muted, accent = (rich_style(colours.get(name, "")) for name in ("muted", "accent"))
    values = [finite(point.get(name)) for point in points for name in ("effect", "side_effect")]
    limit = max([abs(value) for value in values if value] or [1.0])
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    text.append(f"{'strength':>9}  {'mean Δ where wanted'.center(BAR + 7)}  {'mean |Δ| elsewhere'.center(BAR + 7)}    gain", muted)
    for point in points:
        effect, side, gain, strength = (finite(point.get(name)) for name in ("effect", "side_effect", "gain", "strength"))
        best = chosen is not None and strength == chosen
        text.append(f"\n{number(strength, 3):>9}", accent if best else "")
        for value, colour in ((effect, "good" if (effect or 0.0) > 0 else "bad"), (side, "muted")):
            bar = ("=" if ascii else "█") * round(BAR * abs(value or 0.0) / limit)
            text.append(f"  {bar:<{BAR}} ", rich_style(colours.get(colour, "")))
            text.append(f"{short(value):>6}")
        text.append(f"  {short(gain):>6}", accent if best else "")
        text.append(("  < chosen" if ascii else "  ◀ chosen") if best else "", accent)
    return text


def loss_text(line: Mapping[str, Any]) -> str:
    """The change of the loss on plain text, in nats a token."""
    value = finite(line.get("loss_change"))
    return "—" if value is None else f"{value:+.3f}"


def _costs(line: Mapping[str, Any]) -> bool:
    low = finite(line.get("loss_low"))
    return low is not None and low > 0.01


def short(value: float | None) -> str:
    """A number in at most five characters."""
    if value is None:
        return "—"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
