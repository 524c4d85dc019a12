"""SAE training: how the error falls, what fires and what is dead, for each dictionary of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Static

from interp_tui.runs.runstate import RunState
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui.widgets.facts import Fact, Facts, column, rich_style
from interp_tui.widgets.histogram import HistogramPlot
from interp_tui.widgets.list_table import ListTable
from interp_tui.widgets.trace import Plot, PlotLine, Point, TracePlot
from interp_tui_engine.payload import read
from interp_tui_engine.results.train_sae import TrainSAEHeadline, TrainSAEResult

from . import train_sae_facts as sae_facts
from .base import WIDE, QuietTable, RunView
from .sampling import axis_stop, waiting_text

METRICS = (
    ("sae", "fvu", "FVU in training: unexplained share of the variance"),
    ("sae", "l0", "active latents a token (L0)"),
    ("sae", "dead_fraction", "dead share of the latents"),
    ("loss", "ce_loss_recovered", "loss recovered on held-out text"),
    ("sae", "loss", "training loss"),
)
"""What can be plotted: the series' stem, the number's name, what it is called."""


@dataclass(frozen=True)
class TrainingFrame:
    """A copy of what the view shows."""

    waiting: str = ""
    saes: tuple[sae_facts.Sae, ...] = ()
    curves: Mapping[str, Mapping[int, list[Point]]] = field(default_factory=dict)
    """By metric, by dictionary."""
    facts: tuple[tuple[Fact, ...], ...] = ()
    """For each dictionary."""
    last: int = 0
    stop: int = 1


UNKNOWN = read(TrainSAEHeadline, {})


class TrainSaeView(RunView):
    """Curves above a table of dictionaries; the one under the cursor has its numbers at the side and its firing rates below."""

    KINDS: ClassVar[tuple[str, ...]] = ("train_sae",)
    DEFAULT_CSS = """
    TrainSaeView #top { height: 1fr; min-height: 6; layout: vertical; }
    TrainSaeView #plot { height: 1fr; width: 1fr; }
    TrainSaeView #title { height: 1; }
    TrainSaeView #side { height: auto; width: 100%; }
    TrainSaeView #saes { height: auto; max-height: 9; }
    TrainSaeView #firing-title { height: 1; color: $muted; }
    TrainSaeView #firing { height: 4; }
    TrainSaeView.-wide #top { layout: horizontal; }
    TrainSaeView.-wide #side { width: 36; height: 100%; border-left: solid $rule; padding: 0 0 0 2; }
    TrainSaeView.-wide #saes { margin-top: 1; }
    TrainSaeView.-wide #firing-title { margin-top: 1; }
    TrainSaeView.-wide #firing { height: 7; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "Metric", id="train_sae.metric", tooltip="plot the next number"),
        Binding("M", "metric(-1)", "Metric before", show=False, id="train_sae.metric.before"),
        Binding("l", "log", "Log", id="train_sae.log", tooltip="logarithmic axis"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.frame = TrainingFrame()
        self.metric = 0
        self.log_y = False

    def compose(self) -> ComposeResult:
        with Container(id="top"):
            with Container(id="plot"):
                yield Static(id="title")
                yield TracePlot(id="trace")
            yield Facts(id="side")
        yield QuietTable(sae_facts.COLUMNS, id="saes")
        yield Static(id="firing-title")
        yield HistogramPlot(id="firing")

    def on_focus(self) -> None:
        self.query_one(ListTable).focus()

    @on(ListTable.Highlighted)
    @on(HistogramPlot.Resized)
    def _look_again(self) -> None:
        self.post_message(self.LookChanged())

    def take(self, state: RunState, waiting: str) -> None:
        saes = sae_facts.saes(state)
        last = max((trace.last for (series, _), trace in state.series.items() if series.startswith("sae")), default=0)
        stop = axis_stop(last, int(state.total))
        columns = max(12, min(self.query_one(TracePlot).columns, 600 // max(1, len(saes))))
        curves: dict[str, dict[int, list[Point]]] = {name: {} for _, name, _ in METRICS}
        for stem, name, _ in METRICS:
            for sae in saes:
                if (trace := state.series.get((f"{stem}{sae.index}", name))) is not None:
                    curves[name][sae.index] = [*trace.means(0, stop + 1, columns)]
        done = state.ending is not None and state.ending.state == "done"
        ended = state.newest("headline", TrainSAEHeadline) if done else UNKNOWN
        self.frame = TrainingFrame(
            waiting=waiting if not saes else "",
            saes=tuple(saes),
            curves=curves,
            facts=tuple(tuple(sae_facts.facts(state, sae, ended)) for sae in saes),
            last=last,
            stop=stop,
        )

    async def draw_plots(self) -> None:
        frame, colours = self.frame, self.app.theme_variables
        plot, title = self.query_one(TracePlot), self.query_one("#title", Static)
        muted, accent = colours.get("muted", ""), colours.get("accent", "")
        chosen = self._chosen
        self.query_one(HistogramPlot).draw(sae_facts.histogram(chosen), accent=accent, muted=muted, ascii=self._ascii)
        if not frame.saes or not frame.last:
            title.update("")
            plot.update(waiting_text(frame.waiting, plot.size.height, plot.size.width, muted))
            return
        _, name, meaning = METRICS[self.metric]
        points = frame.curves.get(name, {})
        title.update(self._title(meaning, points))
        if not any(points.values()):
            plot.update(waiting_text("not measured yet", plot.size.height, plot.size.width, muted))
            return
        own = chosen.index if chosen is not None else 0
        lines = [
            PlotLine(f"{index}", curve, colours.get(f"chain-{index % 8}", ""))
            for index, curve in sorted(points.items(), key=lambda item: item[0] == own)
        ]
        await plot.draw(Plot(lines=lines, stop=frame.stop, x_label="steps", log=self.log_y, muted=muted, accent=accent, ascii=self._ascii))

    def draw_tables(self) -> None:
        frame, wide = self.frame, self.has_class("-wide")
        chosen = self._chosen
        facts = next((facts for sae, facts in zip(frame.saes, frame.facts, strict=True) if sae == chosen), ())
        self.query_one(Facts).show(facts, flat=not wide)
        table = self.query_one(ListTable)
        table.display = bool(frame.saes)
        table.styles.height = min(9 if wide else 5, 1 + len(frame.saes))  # in a small terminal it scrolls: the curves need room
        several = len(frame.saes) > 1
        table.set_rows([sae_facts.row(sae, ascii=self._ascii, coloured=several) for sae in frame.saes])
        firing = self.query_one("#firing-title", Static)
        title = sae_facts.histogram_title(chosen)
        firing.display = self.query_one(HistogramPlot).display = bool(title)
        firing.update(Text(title, end="", no_wrap=True, overflow="ellipsis"))

    @property
    def _ascii(self) -> bool:
        return self.app.has_class("-ascii")

    @property
    def _chosen(self) -> sae_facts.Sae | None:
        """The dictionary under the table's cursor."""
        key = self.query_one(ListTable).key
        return next((sae for sae in self.frame.saes if str(sae.index) == key), self.frame.saes[0] if self.frame.saes else None)

    def _title(self, meaning: str, points: Mapping[int, list[Point]]) -> Text:
        colours = self.app.theme_variables
        text = Text(end="", no_wrap=True, overflow="ellipsis")
        several = len(points) > 1
        short = meaning.split(":")[0] if several else meaning
        text.append(short + ("  log-y" if self.log_y else ""), rich_style(colours.get("muted", "")))
        if several:
            for sae in self.frame.saes:
                text.append(f"   {sae.name}", rich_style(colours.get(f"chain-{sae.index % 8}", "")))
        return text

    def action_metric(self, by: int) -> None:
        self.metric = (self.metric + by) % len(METRICS)
        self.post_message(self.LookChanged())

    def action_log(self) -> None:
        self.log_y = not self.log_y
        self.post_message(self.LookChanged())

    def on_resize(self) -> None:
        self.set_class(self.app.size.width >= WIDE, "-wide")
        super().on_resize()

    @classmethod
    def result_text(cls, result: Mapping[str, Any], colours: Mapping[str, str], *, ascii: bool) -> Text:
        return column(result_facts(result), colours)


def result_facts(result: Mapping[str, Any]) -> list[Fact]:
    """result.json's numbers in the order in which they are asked about; a line for each dictionary where there are several."""
    sae = read(TrainSAEResult, result)
    facts = [Fact("FVU", f"{number(sae.fvu, 3)} {sae_facts.HELD_OUT}", loud=True), Fact("L0", number(sae.l0, 3), loud=True)]
    facts.append(Fact("dead", f"{sae_facts.percent(sae.dead_fraction)} of {number(sae.latents)} latents"))
    if sae.ce_loss_recovered is not None:
        facts.append(Fact("loss recovered", sae_facts.percent(sae.ce_loss_recovered)))
        facts.append(Fact("… from the mean", sae_facts.percent(sae.ce_loss_recovered_from_mean)))
        facts.append(Fact("CE clean → SAE", f"{number(sae.ce_clean)} → {number(sae.ce_sae)} nats, KL {number(sae.kl)}"))
    facts.append(Fact("trained on", f"{number(sae.tokens)} activations, {number(sae.distinct_tokens)} different"))
    facts.append(Fact("speed", f"{number(sae.tokens_per_second)} tokens/s"))
    facts.append(Fact("saved as", clean(sae.sae or "—", limit=120)))
    for entry in sae.saes[: sae_facts.MOST]:
        line = f"FVU {number(entry.fvu, 3)}  L0 {number(entry.l0, 3)}  dead {sae_facts.percent(entry.dead_fraction)}"
        line += f"  recovered {sae_facts.percent(entry.ce_loss_recovered)}"
        facts.append(Fact(clean(entry.name or "—", limit=40), line))
    return facts
