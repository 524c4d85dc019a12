"""The footer: the keys that do something here, as many as there is room for, and always those that lead out, help, and steer a run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

from interp_tui.terminal.guard import Guarded

ALWAYS = ("back", "help", "pause", "stop", "resume")
"""Actions whose keys stay however narrow the terminal; `?` lists what is left out."""
FIRST_TO_GO = ("Move",)
"""What everybody knows the arrows do."""
PALETTE_EDGE = 2
"""Cells of the rule before the palette's key, and of the gap before the rule."""


class KeyLine(Guarded, Footer):
    """Textual's footer scrolls sideways where its keys do not fit, and hides `? Help` behind the palette's key."""

    def compose(self) -> ComposeResult:
        # of two keys that read alike, the one of what has the focus is the one that works
        keys = [*{child.key_display: child for child in reversed([*super().compose()]) if isinstance(child, FooterKey)}.values()][::-1]
        if self.app.has_class("-ascii"):
            for key in keys:
                key.key_display = key.key_display.replace("⏎", "enter")
        palette = [key for key in keys if key.has_class("-command-palette")]
        for key in palette:
            key.description = key.description.capitalize()
        others = [key for key in keys if key not in palette]
        room = self.app.size.width - sum(_width(key) - 1 + PALETTE_EDGE for key in palette)
        dropped = _dropped([(key.action, key.description, _width(key)) for key in others], room)
        yield from (key for index, key in enumerate(others) if index not in dropped)
        yield from palette

    def on_resize(self) -> None:
        if self._bindings_ready:
            self.call_after_refresh(self.recompose)


def _width(key: FooterKey) -> int:
    """Cells of `key description` and the gap after it."""
    return cell_len(key.key_display) + cell_len(key.description) + 2


def _dropped(keys: Sequence[tuple[str, str, int]], room: int) -> set[int]:
    """Which of the (action, description, width) have to go for the rest to fit into `room`: from the right, the least telling first."""
    may_go = [index for index, (action, _, _) in enumerate(keys) if action not in ALWAYS]
    order = [index for index in may_go if keys[index][1] in FIRST_TO_GO]
    order += [index for index in reversed(may_go) if index not in order]
    gone: set[int] = set()
    for index in order:
        if sum(width for at, (_, _, width) in enumerate(keys) if at not in gone) <= room:
            break
        gone.add(index)
    return gone
