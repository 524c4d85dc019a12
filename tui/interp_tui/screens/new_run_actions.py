"""What can be done with the manifest that stands in New run: start it, save it, see what it would cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from interp_tui.runs import session
from interp_tui.runs.draft import Draft
from interp_tui.screens.base import WorkScreen
from interp_tui.terminal import host
from interp_tui.text.manifest_text import dry_run
from interp_tui.widgets.form import Form
from interp_tui_engine import atomic
from interp_tui_engine.catalog import Estimate
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.manifest import Manifest


class NewRunActions(WorkScreen):
    """A screen with a draft of a manifest, and what the last check said of it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+r,enter", "run", "Run", id="new.run", key_display="⏎"),
        Binding("ctrl+s", "save", "Save manifest", id="new.save", key_display="^s"),
        Binding("f5,d", "dry_run", "Dry run", id="new.dry_run", key_display="F5"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.draft: Draft | None = None
        self.checked: Manifest | None = None
        """The manifest as it stands, once the check has found nothing wrong with it."""
        self._text = ""
        self._problems: ManifestError | None = None
        self._estimate: Estimate | None = None
        self._waiting: Callable[[Manifest], None] | None = None
        self._busy = False

    def check(self) -> None:
        """Have the manifest read as a run would read it."""
        raise NotImplementedError

    def _draw_verdict(self) -> None:
        raise NotImplementedError

    def copied(self) -> str:
        return self._text

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_run()

    def when_checked(self, action: Callable[[Manifest], None]) -> None:
        """Do something with the manifest as it stands: once it is checked, and only if nothing is wrong with it."""
        if self.draft is None or self._busy:
            return
        if self.checked is not None and self.draft.toml() == self._text:
            action(self.checked)
        elif self._problems is not None and self.draft.toml() == self._text:
            self.query_one(Form).focus_first_error()
        else:
            self._waiting = action
            self.check()

    def action_run(self) -> None:
        self.when_checked(self._run)

    def _run(self, request: Manifest) -> None:
        self._busy = True
        self._draw_verdict()
        self._start(request)

    @work(thread=True, group="start")
    def _start(self, request: Manifest) -> None:
        try:
            begin = session.enqueue if self.draft is not None and self.draft.in_queue else session.start
            folder = begin(request, self.workbench.runs_root)
        except UserError as error:
            self.tell(self._start_failed, error)
        else:
            self.tell(self.workbench.open_run, folder)

    def _start_failed(self, error: UserError) -> None:
        self._busy = False
        self._draw_verdict()
        self.workbench.complain(error)

    def action_save(self) -> None:
        if self.draft is None:
            return
        from interp_tui.screens.save_as import SaveScreen

        name = self.draft.texts.get(("name",), "") or self.draft.kind.name
        proposal = Path.cwd() / f"{name.replace('/', '-')}.toml"
        self.app.push_screen(SaveScreen(proposal), partial(self._save_chosen, self.draft.toml()))

    def _save_chosen(self, text: str, path: Path | None) -> None:
        if path is not None:
            self._save(text, path)

    @work(thread=True, group="save")
    def _save(self, text: str, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(path, text)
        except OSError as error:
            self.tell(self.workbench.complain, UserError(f"cannot write {path}: {error.strerror}"))
            return
        command = f"interp-tui --batch {host.short_path(path)}"
        self.tell(partial(self.notify, command, title=f"Saved {host.short_path(path)}", markup=False))

    def action_dry_run(self) -> None:
        """What a run would be and cost, with nothing started."""
        from interp_tui.screens.info import InfoScreen

        def show(request: Manifest) -> None:
            cost = self._estimate or Estimate(None, None, None)
            self.app.push_screen(InfoScreen("Dry run: nothing is started", dry_run(request, cost, self.workbench.runs_root)))

        self.when_checked(show)
