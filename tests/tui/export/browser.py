"""A headless Chromium, spoken to over a pipe: no port is opened, and nothing but the page given is loaded."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run", "--disable-background-networking")
AS_3_AND_4 = """
import fcntl, os, sys
moved = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1:3]]
for number, place in zip(moved, (3, 4)):
    os.dup2(number, place)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Begins a program with two descriptors where Chromium looks for its pipe."""
PATIENCE = 120.0


def installed() -> str | None:
    """The browser's command, where there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page in one browser. Use it in a `with` block."""

    def __init__(self, profile: Path) -> None:
        self._ids = itertools.count(1)
        self._pending = b""
        self.events: list[dict[str, Any]] = []
        """What the page told without being asked: errors, its console, what its policy refused."""
        here, there = os.pipe(), os.pipe()
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--disable-background-networking",
        ]
        command = [installed() or "", *flags, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, str(here[0]), str(there[1]), *command],
            pass_fds=(here[0], there[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(here[0])
        os.close(there[1])
        self._out, self._in = here[1], there[0]
        self._session = ""

    def __enter__(self) -> Browser:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, and wait for the answer. AssertionError where the browser refuses or is silent."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params, **({"sessionId": self._session} if self._session else {})}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == number:
                assert "error" not in told, told
                return dict(told["result"])
            self.events.append(told)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._pending:
            assert select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0], "the browser does not answer"
            self._pending += os.read(self._in, 1 << 16)
        line, _, self._pending = self._pending.partition(b"\0")
        return dict(json.loads(line))

    def show(self, page: Path, width: int, height: int = 900) -> None:
        """Load a page at a size."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.send("Page.navigate", url=page.as_uri())
        while self.value("document.readyState + location.protocol") != "completefile:":
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """What an expression is worth on the page."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def point_at(self, selector: str, across: float = 0.5) -> None:
        """Move the pointer onto the first element of this selector, so far across it."""
        found = f"const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
        box = self.value(f"(() => {{ {found} const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }})()")
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + across * box[2], y=box[1] + box[3] / 2)

    def refused(self) -> list[str]:
        """What went wrong on the page so far."""
        wrong = [event for event in self.events if event.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded")]
        return [json.dumps(event["params"])[:400] for event in wrong]
