"""Where to write a file; asks again before it replaces one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from interp_tui.terminal import host
from interp_tui.terminal.guard import Guarded


class SaveScreen(Guarded, ModalScreen[Path | None]):
    """Gives the path chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", id="save.cancel")]

    def __init__(self, proposal: Path) -> None:
        super().__init__()
        self.proposal = proposal
        self._warned: Path | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog save") as box:
            box.border_title = "Save manifest"
            box.border_subtitle = "⏎ saves · esc cancels"
            path = Input(host.short_path(self.proposal), compact=True, select_on_focus=False)
            path.cursor_blink = False
            yield path
            yield Static("", id="save-said")

    @on(Input.Submitted)
    def _chosen(self, event: Input.Submitted) -> None:
        path = Path(event.value.strip()).expanduser().absolute()
        if not event.value.strip() or path.is_dir():
            self._say("Give a file name, such as llc.toml.")
        elif path.exists() and path != self._warned:
            self._warned = path
            self._say("That file exists; ⏎ again replaces it.")
        else:
            self.dismiss(path)

    def _say(self, text: str) -> None:
        self.query_one("#save-said", Static).update(Content.styled(text, "$warn"))
