"""What ctrl+p finds beside the app's own commands: every run, and every kind of run there is to start."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.command import DiscoveryHit, Hit, Hits, Provider

from .sanitise import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .app import InterpApp

DISCOVER_RUNS = 5


class RunProvider(Provider):
    """Open any run by typing part of its name."""

    @property
    def workbench(self) -> InterpApp:
        from .app import InterpApp

        assert isinstance(self.app, InterpApp)
        return self.app

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
        matcher = self.matcher(query)
        for name, help_text, command in self._commands():
            score = matcher.match(f"{name} {help_text}")
            if score > 0:
                yield Hit(score, _escaped(name), command, text=name, help=_escaped(help_text))


def _escaped(text: str) -> str:
    """The palette reads markup in what it shows."""
    return text.replace("\\", "\\\\").replace("[", r"\[")
