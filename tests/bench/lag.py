"""How long the app's event loop is kept from answering: `python -m tests.bench.lag RUN SECONDS OUT`, in a terminal.

Opens the run in the real app, then asks the loop to wake a task every 10 ms and records how late it does: that is what a key press would
have waited. Writes the lateness in milliseconds as a JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from interp_tui.app import InterpApp

EVERY = 0.01
SETTLE = 1.5
"""Seconds after the start that are left out: they are start-up, measured elsewhere."""


class Probe(InterpApp):
    """The app with a clock in its loop."""

    CSS_PATH = InterpApp.CSS_PATH

    def __init__(self, run: Path, seconds: float, out: Path) -> None:
        super().__init__(run.parent, run)
        self._seconds, self._out = seconds, out

    def on_mount(self) -> None:
        self.run_worker(self._watch(), group="probe")

    async def _watch(self) -> None:
        await asyncio.sleep(SETTLE)
        late = []
        end = time.perf_counter() + self._seconds
        while (now := time.perf_counter()) < end:
            await asyncio.sleep(EVERY)
            late.append((time.perf_counter() - now - EVERY) * 1e3)
        self._out.write_text(json.dumps(late))
        self.exit(0)


if __name__ == "__main__":
    Probe(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])).run()
