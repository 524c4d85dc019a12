"""Textual's driver for terminals, made to notice that its terminal has gone, and to find its way back after a stop.

Imported only where there is a terminal: Textual's own module needs termios.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import IO, Any

from textual import constants, events
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size

RESTORE = (
    "\x1b[?2004l"  # bracketed paste
    "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse
    "\x1b[?2048l\x1b[?1004l"  # reports of size and focus
    "\x1b[<u"  # kitty's keyboard protocol; before the alternate screen is left
    "\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m"  # line wrap, alternate screen, cursor, colours
)
"""What undoes every mode that the app sets."""


class Outlet:
    """The terminal as a file that takes everything: once it cannot be written any more, what is written is dropped.

    Textual's writing thread would end on the error, and the app would then wait for ever to hand it the next screen.
    """

    def __init__(self, file: IO[str], lost: Callable[[], None]) -> None:
        self._file = file
        self._lost = lost
        self.gone = False

    def write(self, text: str) -> int:
        if not self.gone:
            try:
                return self._file.write(text)
            except (OSError, ValueError):
                self._lose()
        return len(text)

    def flush(self) -> None:
        if not self.gone:
            try:
                self._file.flush()
            except (OSError, ValueError):
                self._lose()

    def fileno(self) -> int:
        return self._file.fileno()

    def isatty(self) -> bool:
        return True

    def _lose(self) -> None:
        self.gone = True
        with suppress(RuntimeError):  # the loop has ended before its terminal
            self._lost()


class TerminalDriver(LinuxDriver):
    """`app.terminal_lost()` is called, on the event loop, when the terminal cannot be written any more."""

    def __init__(self, app: Any, *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        file = sys.__stdout__ if sys.__stdout__ is not None and not self._file.isatty() else self._file
        self._file: Any = Outlet(file, self._lost)

    def _lost(self) -> None:
        self._loop.call_soon_threadsafe(self._app.terminal_lost)  # type: ignore[attr-defined]

    def _run_input_thread(self) -> None:
        try:
            self.run_input_thread()
        except BaseException as fault:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._app.keys_lost, fault)  # type: ignore[attr-defined]

    def _sigcont_application(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """After ctrl+z Textual left the terminal and starts again; after a plain SIGSTOP it never left, and starting again would give
        it two threads that read the same keys."""
        writer = self._writer_thread
        if writer is None:
            return
        if writer.is_alive():
            self._enter_again()
        else:
            super()._sigcont_application()

    @property
    def terminal_alive(self) -> bool:
        """Whether there is still a terminal to read from."""
        return alive(self.fileno)

    def give_back(self) -> None:
        """Undo every mode from outside the event loop, which does not answer. Writes nothing to a terminal that takes nothing."""
        with suppress(OSError, ValueError):
            descriptor = self._file.fileno()
            if select.select([], [descriptor], [], 0.2)[1]:
                os.write(descriptor, RESTORE.encode())
        if self.attrs_before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)

    def _enter_again(self) -> None:
        """Set the modes that the shell has reset meanwhile, and draw everything."""
        with suppress(termios.error):
            modes = termios.tcgetattr(self.fileno)
            modes[tty.LFLAG] = self._patch_lflag(modes[tty.LFLAG])
            modes[tty.IFLAG] = self._patch_iflag(modes[tty.IFLAG])
            modes[tty.CC][termios.VMIN] = 1
            termios.tcsetattr(self.fileno, termios.TCSANOW, modes)
        self.write("\x1b[?1049h\x1b[?25l\x1b[?1004h")
        if not constants.DISABLE_KITTY_KEY:
            self.write("\x1b[<u\x1b[>25u")  # as Textual asks for it, and only once on the terminal's stack
        self._enable_mouse_support()
        self._enable_bracketed_paste()
        self._disable_line_wrap()
        size = Size(*self._get_terminal_size())
        self._loop.call_soon_threadsafe(self._app.post_message, events.Resize(size, size))
        self._loop.call_soon_threadsafe(self._app.redraw)  # type: ignore[attr-defined]


def alive(descriptor: int) -> bool:
    """Whether there is still a terminal behind a file descriptor; one that hung up can only be read to its end."""
    try:
        termios.tcgetattr(descriptor)
    except termios.error:
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return not any(event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0))
