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
from interp_tui_engine.results.contrast import StrengthPoint
from interp_tui_engine.results.interventions import EffectLine

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
        self.lines: list[EffectLine] = []
        self.curve: list[StrengthPoint] = []
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
        self.lines = [*state.cases_of(EffectLine).values()]
        self.curve = [point for point in state.cells_of(StrengthPoint).values() if point.strength is not None]
        clear = sum(line.clear is True for line in self.lines)
        self.facts = [Fact("effects", str(len(self.lines))), Fact("clear", str(clear), "good" if clear else ""), Fact("", CLEAR, "muted")]
        self.facts = self.facts if self.lines else []
        doing = f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase or waiting
        self.waiting = "" if self.lines or self.curve else "no effect was measured" if state.ending is not None else clean(doing, limit=100)

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
            chosen = line.strength if line is not None else None
            text = (
                curve_text(self.curve, chosen, self.app.theme_variables, ascii=self.app.has_class("-ascii"))
                + Text("\n\n" if line is not None else "", end="")
                + text
            )
        self.query_one("#detail", Static).update(text)

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return scalars(result, colours, ascii=ascii, skip=frozenset({"effects"}))


def axis_limit(lines: Sequence[EffectLine]) -> float:
    """Half the width of the axis that all rows share: as far as the farthest end of an interval, and a little."""
    ends = [abs(value) for line in lines for value in (line.effect, line.low, line.high) if value is not None]
    return max([*ends, 1e-9]) * 1.05


def effect_row(index: int, line: EffectLine, limit: float) -> Row:
    """One effect as a line of the table."""
    effect, clear = line.effect, line.clear is True
    colour = "good" if clear else "foreground"
    return Row(
        str(index),
        (
            Cell(clean(line.feature_id or "—", limit=60)),
            Cell(clean(line.verb or "—", limit=20), "muted"),
            Cell(number(line.strength, 3), "muted"),
            Cell("—" if effect is None else f"{short(effect)}{_ends(line.low, line.high)}", colour),
            Cell(on_axis(effect, AXIS, limit=limit, mark=0.0, error=_half(line.low, line.high)), colour),
            Cell(short(line.side_effect), "muted"),
            Cell(loss_text(line), "bad" if _costs(line) else "muted"),
            Cell(short(line.control), "muted"),
            Cell("◆" if clear else "", "good"),
        ),
    )


def detail_text(line: EffectLine, lines: Sequence[EffectLine], colours: Mapping[str, str]) -> Text:
    """What the controls did (95 % of them, beside the effect's own interval), and, where there are several strengths, the curve."""
    muted = rich_style(colours.get("muted", ""))
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    text.append(clean(line.feature_id, limit=60), rich_style(colours.get("accent", ""), bold=True))
    text.append(f"  {number(line.rows)} prompts" if line.rows is not None else "", muted)
    text.append(f"  q {number(line.q, 2)}" if line.q is not None else f"  p {number(line.p, 2)}" if line.p is not None else "", muted)
    if line.units is not None:
        text.append(f"  {line.units:+.1f} × the spread of {number(line.control_count)} controls", muted)
    text.append(f"  strong score {number(line.strong, 3)}" if line.strong is not None else "", muted)
    limit = axis_limit(lines)
    accent = rich_style(colours.get("accent", ""))
    rows = [("itself", line.effect, line.low, line.high, accent)]
    rows += [(kind.replace("_", " "), control.mean, control.low, control.high, "") for kind, control in line.controls.items()]
    for name, mean, low, high, style in rows:
        text.append(f"\n{clean(name, limit=18):<19}", muted)
        text.append(on_axis(mean, AXIS, limit=limit, mark=0.0, error=_half(low, high)), style)
        text.append(f"  {short(mean)}{_ends(low, high)}")
    loss, low, high = line.loss_change, line.loss_low, line.loss_high
    if loss is not None:
        text.append(f"\n{'loss, plain text':<19}", muted)
        text.append(f"{loss:+.4f}" + (f" [{low:+.4f}, {high:+.4f}]" if low is not None and high is not None else ""))
        text.append(f"   controls {line.loss_control:+.4f}" if line.loss_control is not None else "", muted)
    same = [other for other in lines if other.feature_id == line.feature_id]
    if len(same) > 1:
        text.append("\nstrength", muted)
        for other in same:
            text.append(f"   {number(other.strength, 3)}: {short(other.effect)}")
            text.append(f" side {short(other.side_effect)}", muted)
    return text


def curve_text(points: Sequence[StrengthPoint], chosen: float | None, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """What each strength does, one a line: the effect where it is wanted and the side effect elsewhere, in bars of one scale; the gain."""
    muted, accent = (rich_style(colours.get(name, "")) for name in ("muted", "accent"))
    values = [value for point in points for value in (point.effect, point.side_effect)]
    limit = max([abs(value) for value in values if value] or [1.0])
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    text.append(f"{'strength':>9}  {'mean Δ where wanted'.center(BAR + 7)}  {'mean |Δ| elsewhere'.center(BAR + 7)}    gain", muted)
    for point in points:
        effect, side, gain, strength = point.effect, point.side_effect, point.gain, point.strength
        best = chosen is not None and strength == chosen
        text.append(f"\n{number(strength, 3):>9}", accent if best else "")
        for value, colour in ((effect, "good" if (effect or 0.0) > 0 else "bad"), (side, "muted")):
            bar = ("=" if ascii else "█") * round(BAR * (abs(value or 0.0) / limit))
            text.append(f"  {bar:<{BAR}} ", rich_style(colours.get(colour, "")))
            text.append(f"{short(value):>6}")
        text.append(f"  {short(gain):>6}", accent if best else "")
        text.append(("  < chosen" if ascii else "  ◀ chosen") if best else "", accent)
    return text


def loss_text(line: EffectLine) -> str:
    """The change of the loss on plain text, in nats a token."""
    return "—" if line.loss_change is None else f"{line.loss_change:+.3f}"


def _costs(line: EffectLine) -> bool:
    return line.loss_low is not None and line.loss_low > 0.01


def _half(low: float | None, high: float | None) -> float:
    """Half the width of an interval; 0 where there is none."""
    return (high - low) / 2 if low is not None and high is not None else 0.0


def _ends(low: float | None, high: float | None) -> str:
    return f" [{short(low)}, {short(high)}]" if low is not None and high is not None else ""


def short(value: float | None) -> str:
    """A number in at most five characters."""
    if value is None:
        return "—"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}"
