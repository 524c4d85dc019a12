"""What ctrl+p finds beside the app's own commands: every run, and every kind of run there is to start."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import CommandPalette, DiscoveryHit, Hit, Hits, Provider

from ..terminal.guard import Guarded
from ..text.sanitise import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .workbench import Workbench

DISCOVER_RUNS = 5
AT_MOST = 30
"""Runs that one search offers."""


class RunProvider(Provider):
    """Open any run by typing part of its name."""

    @property
    def workbench(self) -> Workbench:
        return cast("Workbench", self.app)

    def _commands(self) -> Iterator[tuple[str, str, Callable[[], None]]]:
        for run in self.workbench.listed:
            status = run.status
            name = clean(f"Open run {status.kind} {status.name}", limit=60)
            yield name, clean(f"{status.state} - {run.key}", limit=76), partial(self.workbench.open_run, run.folder)

    async def discover(self) -> Hits:
        for count, (name, help_text, command) in enumerate(self._commands()):
            if count == DISCOVER_RUNS:
                break
            yield DiscoveryHit(_escaped(name), command, text=name, help=_escaped(help_text))

    async def search(self, query: str) -> Hits:
        """Runs that hold every word that was typed, newest first; if there are none, those that hold its letters in order."""
        words, letters = query.lower().split(), query.lower().replace(" ", "")
        commands = list(self._commands())
        matching = [at for at in commands if all(word in f"{at[0]} {at[1]}".lower() for word in words)]
        if not matching:
            matching = [at for at in commands if _in_order(letters, f"{at[0]} {at[1]}".lower())]
        matcher = self.matcher(query)
        for count, (name, help_text, command) in enumerate(matching[:AT_MOST], 1):
            score = matcher.match(f"{name} {help_text}")
            if count % 10 == 0:
                await asyncio.sleep(0)  # ten fuzzy matches take a millisecond; a key may be waiting
            yield Hit(score or 0.1, _escaped(name), command, text=name, help=_escaped(help_text))


def _in_order(letters: str, text: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)


class PaletteScreen(Guarded, CommandPalette):
    """Textual's palette, in which a page key that comes before the list has been drawn does nothing; there it ends the app."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):
            super()._action_command_list(action)


def _escaped(text: str) -> str:
    """The palette reads markup in what it shows."""
    return text.replace("\\", "\\\\").replace("[", r"\[")
