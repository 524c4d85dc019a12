"""Stop an action at every step that it takes on the file system: by SIGKILL in a forked process, or by an error in this one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGES = frozenset({"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"})
"""Audit events of steps that change, or may change, what is on the disk."""

_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []
_installed = False


def _dispatch(event: str, arguments: tuple[Any, ...]) -> None:
    if _hooks and event in CHANGES:
        _hooks[-1](event, arguments)


def _install() -> None:
    global _installed  # an audit hook cannot be taken out again
    if not _installed:
        sys.addaudithook(_dispatch)
        _installed = True


def killed_at(step: int, action: Callable[[], object]) -> bool:
    """Run the action in a forked process that is killed before its step-th change. False where it ended before that.

    AssertionError where the action failed by itself.
    """
    _install()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            count = 0

            def count_down(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal count
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

            _hooks.append(count_down)
            action()
            status = 0
        finally:
            os._exit(status)
    _, code = os.waitpid(child, 0)
    if os.WIFSIGNALED(code):
        return True
    assert os.WEXITSTATUS(code) == 0, "the action failed by itself"
    return False


def writes_below(root: str, event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is one that needs space below the folder: opening a file to write, making a folder."""
    path = arguments[0] if arguments else None
    if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsdecode(path).startswith(root):
        return False
    if event == "open":
        mode, flags = arguments[1], arguments[2]
        return bool(isinstance(mode, str) and set(mode) & set("wax+")) or bool(isinstance(flags, int) and flags & os.O_CREAT)
    return event in ("os.mkdir", "os.link", "os.symlink")


@contextmanager
def failing_at(step: int, root: str, error: Callable[[], OSError], *, stays: bool = True) -> Iterator[list[str]]:
    """Inside, the step-th write below the folder fails, and with `stays` all later ones too. Yields the list of those that failed."""
    _install()
    failed: list[str] = []
    count = 0

    def fail(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if not writes_below(root, event, arguments):
            return
        count += 1
        if count == step + 1 or (stays and count > step):
            failed.append(os.fsdecode(arguments[0]))
            raise error()

    _hooks.append(fail)
    try:
        yield failed
    finally:
        _hooks.remove(fail)


@contextmanager
def noticing(note: Callable[[str, tuple[Any, ...]], None]) -> Iterator[None]:
    """Inside, every change on the file system is told to `note`."""
    _install()
    _hooks.append(note)
    try:
        yield
    finally:
        _hooks.remove(note)
