"""New run: which question, with which settings; the manifest that says so; what it will cost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import DescendantBlur, DescendantFocus
from textual.timer import Timer
from textual.widgets import OptionList, Static

from interp_tui.runs import session
from interp_tui.runs.draft import DATASETS, Draft
from interp_tui.runs.model_source import with_model
from interp_tui.screens.new_run_actions import NewRunActions
from interp_tui.text.manifest_text import by_field, drawn, verdict
from interp_tui.text.sanitise import clean
from interp_tui.widgets.form import Edited, FieldRow, Form, SectionTitle
from interp_tui.widgets.kind_list import KindList
from interp_tui_engine import catalog, expected_time, manifest
from interp_tui_engine.catalog import Estimate, Kind
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.supervision import sweep_supervisor

CHECK_AFTER = 0.12
LOAD_AFTER = 0.08
"""Seconds that the cursor rests on a kind before its form is made, so that going through the kinds is quick."""
PANES = ("kinds", "settings", "manifest")
QUESTION = "What do you want to know?"
USED, MOST_USED = "Used most here", 4


class NewRunScreen(NewRunActions):
    """Three panes side by side, or, where there is no room for three, one at a time."""

    TITLE = "New run"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+o", "pane", "Next pane", id="new.pane", key_display="^o")]

    def __init__(
        self, kind: str | None = None, template: RunFolder | None = None, values: Mapping[tuple[str, ...], str] | None = None
    ) -> None:
        super().__init__()
        self._asked_kind = kind
        self._values = values or {}
        """What the fields of the kind that was asked for begin with."""
        self._template = template
        self._timer: Timer | None = None

    def body(self) -> ComposeResult:
        yield Static("", id="pane-names")
        with Horizontal(id="panes"):
            with Vertical(id="kinds", classes="pane"):
                yield KindList(id="kind-list")
            with Vertical(id="settings", classes="pane"):
                yield Form(id="form")
                yield Static("", id="field-help")
                yield Static("", id="verdict")
            with Vertical(id="manifest", classes="pane"), VerticalScroll(id="toml-scroll"):
                yield Static("", id="toml")

    def on_mount(self) -> None:
        self.workbench.refresh_header()
        self.query_one("#kinds").border_title = QUESTION
        self.query_one("#manifest").border_title = "manifest.toml"
        self._show_pane("settings" if self._asked_kind or self._template else "kinds")
        self.query_one(KindList).focus()
        self._find_kinds()

    @work(thread=True, group="kinds")
    def _find_kinds(self) -> None:
        """In a thread: the first time, every experiment's module is imported."""
        kinds = catalog.kinds()
        self.tell(self._kinds_found, kinds)

    def _kinds_found(self, kinds: list[Kind]) -> None:
        listed = self.query_one(KindList)
        listed.show(grouped(kinds, Counter(run.status.kind for run in self.workbench.listed)))
        if self._template is not None:
            self._load_template(self._template)
        else:
            names = listed.names
            listed.go_to(self._asked_kind if self._asked_kind in names else names[0])

    @on(KindList.Typed)
    def _typed_in_list(self, event: KindList.Typed) -> None:
        sought = (f"  / {event.text}", "$accent") if event.text else ""
        self.query_one("#kinds").border_title = Content.assemble(QUESTION, sought)

    # -- which kind, from which tables

    @work(thread=True, group="template")
    def _load_template(self, folder: RunFolder) -> None:
        try:
            draft = Draft.of_tables(session.request_tables(folder))
        except UserError as error:
            self.tell(self.workbench.complain, error)
            return
        self.tell(self._use_template, draft)

    def _use_template(self, draft: Draft) -> None:
        self.draft = draft
        self.query_one(KindList).go_to(draft.kind.name)
        self._asked_kind = draft.kind.name
        self._load_soon(draft)

    @on(OptionList.OptionHighlighted)
    def _kind_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        name = event.option_id
        if name is not None and (self.draft is None or self.draft.kind.name != name):
            self.draft = Draft.of_kind(name)
            for path, text in self._values.items() if name == self._asked_kind else ():
                self.draft.set(path, text)
            self._load_soon(self.draft, after=LOAD_AFTER if name != self._asked_kind else 0.0)

    @on(OptionList.OptionSelected)
    def _kind_chosen(self) -> None:
        self._show_pane("settings")
        self.query_one(Form).focus_field()

    @work(exclusive=True, group="form")
    async def _load_soon(self, draft: Draft, after: float = 0.0) -> None:
        await asyncio.sleep(after)
        await self._load(draft, focus=self._asked_kind == draft.kind.name)

    async def _load(self, draft: Draft, focus: bool = False) -> None:
        self.query_one("#settings").border_title = Content(f"{draft.kind.name}: {draft.kind.title}")
        form = self.query_one(Form)
        self.check()
        await form.load(draft.sections())
        if focus:
            self._asked_kind = None
            form.focus_field()

    # -- what was typed, and what the check says of it

    @on(Edited)
    def _edited(self, event: Edited) -> None:
        if self.draft is None:
            return
        self.draft.set(event.path, event.text)
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(CHECK_AFTER, self.check)

    @on(DescendantBlur)
    def _left(self, event: DescendantBlur) -> None:
        """The sections of the data tables follow their names, once the names are typed."""
        row = event.widget.parent
        if self.draft is not None and isinstance(row, FieldRow) and row.field.path == DATASETS:
            shown = [section.title for section in self.draft.sections()]
            if [title.section.title for title in self.query(SectionTitle)] != shown:
                self._reload(self.draft)

    @work(exclusive=True, group="form")
    async def _reload(self, draft: Draft) -> None:
        current = self.query_one(Form).current
        await self._load(draft)
        if current is not None:
            self.query_one(Form).focus_field(current.path)

    @on(DescendantFocus)
    def _entered(self) -> None:
        self._draw_help()

    def check(self) -> None:
        """Write the TOML anew, show it, and have it read as a run would read it, in a thread: an estimate may look at files."""
        if self.draft is None:
            return
        self._text = self.draft.toml()
        self.checked, self._problems = None, None
        self._draw_toml()
        if self._estimate is None:
            self.query_one("#verdict", Static).update(Content.styled("checking …", "$muted"))
        self._check(self._text)

    @work(thread=True, exclusive=True, group="check")
    def _check(self, text: str) -> None:
        checked: Manifest | None = None
        problems: ManifestError | None = None
        estimate: Estimate | None = None
        try:
            checked = manifest.parse(text, source="manifest.toml", base=Path.cwd())
            estimate = with_model(expected_time.expected(checked, self.workbench.runs_root, sweep_supervisor.estimate), checked)
        except ManifestError as error:
            problems = error
            checked = None
        except Exception as error:  # an estimate that fails must not keep the run from starting
            estimate = Estimate(None, None, None, (f"no estimate: {error}",))
        self.tell(self._verdict, text, checked, problems, estimate)

    def _verdict(self, text: str, checked: Manifest | None, problems: ManifestError | None, estimate: Estimate | None) -> None:
        if text != self._text or not self.is_attached:
            return
        self.checked, self._problems, self._estimate = checked, problems, estimate
        self.query_one(Form).show_errors(by_field(problems))
        self._draw_toml()
        self._draw_help()
        self._draw_verdict()
        if checked is not None and self.pane != "kinds":
            self._get_ready(checked)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self.when_checked(waiting)

    @work(thread=True, exclusive=True, group="ready")
    def _get_ready(self, request: Manifest) -> None:
        session.get_ready(request)

    def _draw_toml(self) -> None:
        self.query_one("#toml", Static).update(drawn(self._text, self._problems))

    def _draw_help(self) -> None:
        """Of the field in focus, all that its line has no room for."""
        form = self.query_one(Form)
        field = form.current
        text = Content("")
        if field is not None:
            error = form.errors.get(field.path)
            where = Content.styled(".".join(field.path) + "  ", "$accent")
            text = Content.assemble(where, (clean(error, limit=400), "$bad") if error else (field.help, "$muted"))
        self.query_one("#field-help", Static).update(text)

    def _draw_verdict(self) -> None:
        text = verdict(self._problems, self._estimate, self.workbench.glyph, starting=self._busy)
        if text is not None:
            self.query_one("#verdict", Static).update(text)

    # -- panes

    def _show_pane(self, name: str) -> None:
        for pane in PANES:
            self.query_one(f"#{pane}").set_class(pane == name, "-shown")
        labels = {"kinds": "Question", "settings": "Settings", "manifest": "manifest.toml"}
        parts: list[Any] = []
        for pane in PANES:
            parts += [(f" {labels[pane]} ", "reverse $accent" if pane == name else "$muted"), " "]
        self.query_one("#pane-names", Static).update(Content.assemble(*parts, ("  ^o next", "$muted")))

    @property
    def pane(self) -> str:
        return next((pane for pane in PANES if self.query_one(f"#{pane}").has_class("-shown")), PANES[0])

    def action_pane(self) -> None:
        name = PANES[(PANES.index(self.pane) + 1) % len(PANES)]
        self._show_pane(name)
        if name == "settings":
            self.query_one(Form).focus_field()
        else:
            self.query_one({"kinds": "#kind-list", "manifest": "#toml-scroll"}[name]).focus()

    def action_back(self) -> None:
        """From the settings to the kinds, from there to Runs."""
        if self.pane == "kinds" or self._template is not None:
            super().action_back()
        else:
            self._show_pane("kinds")
            self.query_one(KindList).focus()


def grouped(kinds: Sequence[Kind], used: Mapping[str, int]) -> dict[str, list[tuple[str, str]]]:
    """(name, question) by group; before the groups, those of the kinds that the runs here are mostly of."""
    favoured = sorted((kind for kind in kinds if used.get(kind.name)), key=lambda kind: (-used[kind.name], kind.name))[:MOST_USED]
    others = [kind for kind in kinds if kind not in favoured]
    groups = {USED: favoured} | {group: [kind for kind in others if kind.group == group] for group in catalog.GROUPS}
    return {group: [(kind.name, kind.question) for kind in members] for group, members in groups.items() if members}
