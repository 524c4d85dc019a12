"""What screens ask of the app, as a type: the app imports its screens, so they cannot import it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from interp_tui_engine.errors import UserError
    from interp_tui_engine.runfolder import RunFolder

    from ..runs.notifications import Endings
    from ..runs.queue_look import QueueLook
    from ..runs.run_index import RunIndex
    from ..runs.session import Run
    from ..terminal.pictures import Pictures


class Workbench(Protocol):
    """The app, as its screens know it."""

    runs_root: Path
    index: RunIndex
    endings: Endings
    queue: QueueLook
    listed: Sequence[Run]
    filters: Sequence[str]
    named_filters: Mapping[str, str]
    pictures: Pictures

    @property
    def ascii_mode(self) -> bool: ...
    def glyph(self, state: str) -> str: ...
    def survive(self, fault: Exception) -> bool: ...
    def complain(self, error: UserError) -> None: ...
    def refresh_header(self) -> None: ...
    def runs_are_listed(self) -> None: ...
    def open_run(self, folder: RunFolder, *, over: bool = False) -> None: ...
    def new_run(
        self, kind: str | None = None, template: RunFolder | None = None, values: Mapping[tuple[str, ...], str] | None = None
    ) -> None: ...
