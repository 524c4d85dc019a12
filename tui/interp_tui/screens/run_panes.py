"""What the tabs and the strip of the Run screen say, and going from tab to tab."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import TabbedContent

from interp_tui.runs.follow import Documents, Follower
from interp_tui.runs.result_texts import result_texts
from interp_tui.runs.runstate import RunState
from interp_tui.runs.strip_facts import strip_facts
from interp_tui.text.narrate import narrate
from interp_tui.text.sanitise import clean, clean_lines
from interp_tui.views.base import WIDE
from interp_tui.widgets.facts import rich_style
from interp_tui.widgets.heatmap import Heatmap
from interp_tui.widgets.list_table import ListTable
from interp_tui.widgets.panes import LogPane, ResultPane, TomlPane
from interp_tui.widgets.status_strip import StatusStrip, StripFacts
from interp_tui_engine.runfolder import RunFolder, Status

from .run_keys import RunKeys

TABS = ("live", "result", "manifest", "log")


class RunPanes(RunKeys):
    """One run, as far as it has been read."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "tab(1)", "Next tab", id="run.tab.next", key_display="tab", show=False),
        Binding("shift+tab", "tab(-1)", "Tab before", id="run.tab.before", show=False),
    ]

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.follower = Follower(folder)
        self.frozen_at: int | None = None
        """The state's version when the view was frozen."""
        self._documents: Documents | None = None
        self._strip: StripFacts | None = None
        self._caught_up = 1.0
        self._noted = self._logged = 0

    def status_then(self) -> Status:
        """The run's status at the moment that is shown."""
        return self.status

    def strip_then(self, facts: StripFacts) -> StripFacts:
        """What the strip says, marked as of the moment that is shown."""
        return facts

    def _show_strip(self, state: RunState, *, gone: bool, now: float) -> None:
        damage = self._documents.damage if self._documents is not None else ""
        about = {"gone": gone, "caught_up": self._caught_up, "damage": damage}
        facts = self.strip_then(strip_facts(state, self.status_then(), now, ascii=self.workbench.ascii_mode, **about))  # type: ignore[arg-type]
        if self.frozen_at is not None and self._strip is not None:
            behind = state.version - self.frozen_at
            badge = f" frozen · {behind:,} {'event' if behind == 1 else 'events'} behind · {facts.badge} "
            facts = replace(self._strip, badge=badge, badge_colour="accent", badge_loud=True)
        else:
            self._strip = facts
        self.query_one(StatusStrip).show(facts)

    async def _show_texts(self) -> None:
        """The result and manifest tabs: what they show changes only when the run's state does."""
        documents, colours, ascii = self._documents, self.app.theme_variables, self.workbench.ascii_mode
        if documents is None or self._view is None:
            return
        said, wide = self._view.result_text, self.size.width >= WIDE
        texts = result_texts(documents, self.follower.state, self.status, said, colours, ascii=ascii, wide=wide)
        self.query_one(TomlPane).show_toml(clean_lines(documents.manifest))
        await self.query_one(ResultPane).show(*texts, clean_lines(documents.report), wide=wide)

    def _show_log(self) -> None:
        state, log = self.follower.state, self.follower.log
        if self._caught_up < 1:  # only all of the log has its lines in order
            return
        if self.query_one(TabbedContent).active != "log":  # a log that was never shown would keep all that is written to it
            return
        if self.frozen_at is not None or (state.noted == self._noted and log.read_in_all == self._logged):
            return
        notes = list(state.notes)[-(state.noted - self._noted) :] if state.noted > self._noted else []
        lines = list(log.lines)[-(log.read_in_all - self._logged) :] if log.read_in_all > self._logged else []
        self._noted, self._logged = state.noted, log.read_in_all
        colours = self.app.theme_variables
        muted = rich_style(colours.get("muted", ""))
        said = []
        for when, text, colour in map(narrate, notes):
            said.append(Text.assemble((f"{when}  ", muted), (text, rich_style(colours.get(colour, "")))))
        self.query_one(LogPane).add(said, [clean(line.expandtabs(4), limit=2000) for line in lines])

    # -- tabs

    @on(TabbedContent.TabActivated)
    def _tab_opened(self) -> None:
        """Keys go to what the tab holds, and the log is brought up to date."""
        self._touch()
        pane = self.query_one(TabbedContent).active_pane
        target = next((widget for widget in pane.query("*") if widget.focusable), None) if pane is not None else None
        if target is not None:
            target.focus()
        self.refresh_bindings()

    def action_tab(self, by: int) -> None:
        tabs = self.query_one(TabbedContent)
        tabs.active = TABS[(TABS.index(tabs.active) + by) % len(TABS)]

    def copied(self) -> str:
        """The number or row under the cursor, else the tab's text, else the run's folder."""
        focused = self.focused
        if isinstance(focused, (Heatmap, ListTable)):
            return focused.copied()
        documents = self._documents
        texts = {"manifest": documents.manifest, "result": documents.report} if documents is not None else {}
        return texts.get(self.query_one(TabbedContent).active) or str(self.folder.path)
