"""The token drawer: over any view, all that the runs there are know of the token under the cursor, and how to come to know the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from interp_tui.runs import token_facts
from interp_tui.runs.model_look import ModelLook
from interp_tui.runs.token_at import TokenAt
from interp_tui.runs.token_facts import PROMPTED, TokenPart
from interp_tui.terminal.guard import Guarded
from interp_tui.text.sanitise import clean
from interp_tui.widgets.list_table import Cell, Column, ListTable, Row
from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.runfolder import RunFolder

MODEL = "model#"
"""The row of the model's own answer."""
KEYS = "⏎ open the run   n start one of this kind   l ask the model now   esc close"
COLUMNS = (Column("", 2), Column("", 30, grow=1, most=200))


class TokenScreen(Guarded, ModalScreen[tuple[str, RunFolder | None] | None]):
    """Answers with the kind to start anew (and no run), or with the run to open, or with nothing."""

    TITLE = "Token"
    CSS = """
    TokenScreen { align: center bottom; }
    TokenScreen #token { width: 100%; height: 70%; padding: 0 1; background: $surface; }
    TokenScreen #token { border-top: heavy $accent; border-title-color: $accent; }
    TokenScreen #token-text { height: auto; max-height: 3; }
    TokenScreen ListTable { background: $surface; }
    TokenScreen #token-keys { height: 1; color: $muted; }
    .-ascii TokenScreen #token { border-top: ascii $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,u,q", "close", "Close", id="token.close", key_display="esc"),
        Binding("n", "new", "Start the run that would say it", id="token.new"),
        Binding("l", "look_at_model", "Look at the model: lens and heads, nothing is kept", id="token.look"),
    ]

    def __init__(self, token: TokenAt, runs: Sequence[RunFolder]) -> None:
        super().__init__()
        self.token, self.runs = token, runs
        self.parts: list[TokenPart] | None = None
        self._look: ModelLook | None = None
        self._said: tuple[str, ...] = ()
        """What the model itself said, or that it is being asked."""

    def compose(self) -> ComposeResult:
        with Vertical(id="token"):
            yield Static(id="token-text")
            yield ListTable(COLUMNS, id="token-parts")
            yield Static(id="token-keys")

    def on_mount(self) -> None:
        box = self.query_one("#token")
        box.border_title = f"‘{clean(self.token.word, limit=40)}’"
        before = clean("".join(self.token.tokens[:-1])[-300:], limit=300)
        last = clean(self.token.tokens[-1], limit=40)
        self.query_one("#token-text", Static).update(Content.assemble((before, "$muted"), (last, "bold $accent")))
        self.query_one("#token-keys", Static).update("looking through the runs of this model …")
        self.query_one(ListTable).focus()
        self.look()

    @work(thread=True, exclusive=True)
    def look(self) -> None:
        """Reads results and logs, so in a thread."""
        parts = token_facts.facts(self.token, self.runs)
        if self.is_attached and self.app.is_running:
            self.app.call_from_thread(self.show, parts)

    def show(self, parts: list[TokenPart]) -> None:
        """Draw what is known, the rest as what is missing."""
        self.parts = parts
        rows: list[Row] = []
        if self._said:
            rows.append(Row(MODEL, (Cell("●", "accent"), Cell("The model itself, now", "accent"))))
            rows += [Row(f"{MODEL}{at}", (Cell(""), Cell(line))) for at, line in enumerate(self._said)]
        for part in parts:
            known = part.known
            source = f"   {clean(known.folder.path.name, limit=60)}" if known is not None else ""
            rows.append(
                Row(
                    f"{part.kind}#",
                    (Cell("✓" if known else "·", "good" if known else "muted"), Cell(part.title + source, "accent" if known else "muted")),
                )
            )
            lines = known.lines if known is not None else (f"no {part.kind} run of this model knows this token; n starts one",)
            rows += [Row(f"{part.kind}#{at}", (Cell(""), Cell(line, "foreground" if known else "muted"))) for at, line in enumerate(lines)]
        self.query_one(ListTable).set_rows(rows)
        self.query_one("#token-keys", Static).update(KEYS)

    @property
    def part(self) -> TokenPart | None:
        """The part under the cursor."""
        kind = (self.query_one(ListTable).key or "").partition("#")[0]
        return next((part for part in self.parts or () if part.kind == kind), None)

    @on(ListTable.Selected)
    def _selected(self) -> None:
        part = self.part
        if part is not None:
            self.dismiss((part.kind, part.known.folder if part.known is not None else None))

    def action_new(self) -> None:
        if (part := self.part) is not None:
            self.dismiss((part.kind, None))

    def action_look_at_model(self) -> None:
        """Ask the model in a process of its own, which ends with the answer."""
        if self._look is not None or not self.token.model or self.parts is None:
            return
        self._look = ModelLook(self.token.model, self.token.revision, self.token.text)
        self._say((f"asking {clean(self.token.model, limit=60)} …",))
        self.ask_model(self._look)

    @work(thread=True, group="model")
    def ask_model(self, look: ModelLook) -> None:
        """In a thread: loading a model takes seconds."""
        try:
            said = look.look()
        except (UserError, RunFailed) as error:
            said = tuple(clean(line, limit=200) for line in str(error).splitlines())
        except OSError as error:
            said = (clean(f"the model cannot be asked: {error}", limit=200),)
        if not look.stopped and self.is_attached and self.app.is_running:
            self.app.call_from_thread(self._say, said)

    def _say(self, lines: tuple[str, ...]) -> None:
        self._said = lines
        self.show(self.parts or [])
        self.query_one(ListTable).move_to(MODEL)

    def on_unmount(self) -> None:
        if self._look is not None:
            self._look.stop()

    def action_close(self) -> None:
        self.dismiss(None)


def values_for(kind: str, token: TokenAt) -> dict[tuple[str, ...], str]:
    """What a new run's form is filled with, so that it reads this token."""
    changes: dict[tuple[str, ...], str] = {("model", "source"): token.model, ("model", "revision"): token.revision}
    if kind in PROMPTED:
        changes["params", "prompt"] = token.text
    return {path: text for path, text in changes.items() if text}
