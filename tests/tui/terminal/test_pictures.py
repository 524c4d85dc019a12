"""Pictures in the terminal: off unless asked for, and a reason wherever they stay so; in a terminal that knows sixels, drawn."""

from __future__ import annotations

import fcntl
import importlib
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interp_tui.terminal import pictures
from interp_tui.terminal.pictures import OUTSIDE, Pictures, drawn, prepare
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Metrics, RunFinished, RunStarted
from interp_tui_engine.figures.bars import Bar, bars_svg
from interp_tui_engine.figures.heat import heatmap_svg
from interp_tui_engine.figures.lines import Curve, lines_svg
from interp_tui_engine.runfolder import RunFolder

LOSS = lines_svg("Loss", "draw", "nats", [Curve("chain 0", [0, 1, 2], [1.0, 2.0, 1.5])])


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins for textual-image, as it is when it has found out what the terminal draws: nothing, unless a test says otherwise."""
    renderable = SimpleNamespace(SixelImage=object(), TGPImage=object(), HalfcellImage=object())
    renderable.Image = renderable.HalfcellImage
    named = {"resvg_py": SimpleNamespace(), "textual_image.renderable": renderable, "textual_image.widget": SimpleNamespace()}
    monkeypatch.setattr(pictures, "importlib", SimpleNamespace(import_module=lambda name: named[name]))
    monkeypatch.setattr(pictures, "sans_family", lambda: "DejaVu Sans")
    return renderable


def test_off_unless_asked_for_and_over_ssh_unless_asked_twice(modules: SimpleNamespace) -> None:
    modules.Image = modules.SixelImage
    ssh = {"SSH_CONNECTION": "10.0.0.1 22 10.0.0.2 22"}
    assert prepare("off", over_ssh=True, environ={}).protocol is None
    assert prepare("auto", over_ssh=False, environ={}) == Pictures("sixel", "DejaVu Sans", Pictures().reason)
    assert prepare("auto", over_ssh=False, environ=ssh).reason.startswith("off over SSH")
    assert prepare("auto", over_ssh=True, environ=ssh).protocol == "sixel"


def test_the_terminal_says_which_unless_the_user_does(modules: SimpleNamespace) -> None:
    assert "neither" in prepare("auto", over_ssh=False, environ={}).reason
    assert prepare("kitty", over_ssh=False, environ={}).protocol == "kitty"
    modules.Image = modules.TGPImage
    assert prepare("auto", over_ssh=False, environ={}).protocol == "kitty"


@pytest.mark.parametrize(("fault", "reason"), [(ImportError("no"), "pip install"), (RuntimeError("closed"), "could not be asked")])
def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, fault: Exception, reason: str) -> None:
    def fails(name: str) -> Any:
        raise fault

    monkeypatch.setattr(pictures, "importlib", SimpleNamespace(import_module=fails))
    assert reason in prepare("auto", over_ssh=False, environ={}).reason


def test_without_a_font_there_would_be_no_labels(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(pictures, "FONT_FOLDERS", (str(tmp_path),))
    assert pictures.sans_family() is None
    (tmp_path / "truetype").mkdir()
    (tmp_path / "truetype" / "LiberationSans-Regular.ttf").touch()
    assert pictures.sans_family() == "Liberation Sans"


@pytest.mark.parametrize(
    "inside",
    ['<image href="/etc/passwd"/>', "<image xlink:href='http://x/y.png'/>", '<use href="other.svg#a"/>', '<rect fill="url(other.svg#a)"/>',
     "<style>@import url(x)</style>", "<foreignObject/>"],
)  # fmt: skip
def test_a_figure_that_looks_elsewhere_is_not_drawn(tmp_path: Path, inside: str) -> None:
    file = tmp_path / "f.svg"
    file.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9">{inside}</svg>')
    with pytest.raises(UserError, match="links to other files"):
        drawn(file, 90, "DejaVu Sans")


def test_our_own_figures_look_nowhere_else() -> None:
    figures = [LOSS, heatmap_svg("t", ["a"], ["b"], [[1.0]], "nats"), bars_svg("url(x) and href = x", "nats", [Bar("a", 1.0)])]
    assert not any(map(OUTSIDE.search, figures))


def test_a_file_that_is_no_figure_is_said(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    pytest.importorskip("PIL")
    damaged, whole = tmp_path / "damaged.svg", tmp_path / "whole.svg"
    damaged.write_text("<svg")
    whole.write_text(LOSS)
    with pytest.raises(UserError, match="cannot be drawn"):
        drawn(damaged, 90, "DejaVu Sans")
    with pytest.raises(UserError, match="cannot be read"):
        drawn(tmp_path / "none.svg", 90, "DejaVu Sans")
    assert drawn(whole, 720, "DejaVu Sans").size == (720, 320)


SIXELS_KNOWN, CELL = b"\x1b[?62;4;22c", (10, 20)
"""What a terminal answers that is asked for what it is and knows sixels, and the pixels of its cells."""


def test_a_terminal_that_knows_sixels_gets_one(make_run: Callable[..., RunFolder], tmp_path: Path) -> None:
    for module in ("resvg_py", "textual_image", "PIL"):
        pytest.importorskip(module)
    if pictures.sans_family() is None:
        pytest.skip("no font on this machine")
    events = [RunStarted("llc", "a", device="cpu"), *(Metrics("estimate", at, {"llc_mean": 1.0 * at}) for at in range(5))]
    folder = make_run("a", events=[*events, RunFinished("done", 1.0, {})], result={"llc_mean": 4.0})
    (folder.path / "figures").mkdir()
    (folder.path / "figures" / "loss.svg").write_text(LOSS)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('[pictures]\nshow = "auto"\n')
    root, run = str(folder.path.parent), str(folder.path)
    script = f"from pathlib import Path; from interp_tui.app import run_app; run_app(Path({root!r}), Path({run!r}))"
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 100 * CELL[0], 30 * CELL[1]))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, env=environment
    )
    os.close(slave)
    written, answered, pressed, end = b"", False, 0.0, time.monotonic() + 120
    try:
        while b"\x1bP" not in written and time.monotonic() < end and process.poll() is None:
            if select.select([master], [], [], 0.1)[0]:
                written += os.read(master, 1 << 16)
            if not answered and b"\x1b[c" in written:
                answered = True
                os.write(master, SIXELS_KNOWN)
            if b"Live" in written and time.monotonic() - pressed > 5 and b"Next figure" not in written:
                pressed = time.monotonic()
                os.write(master, b"F")
        assert answered, "the terminal is asked before the app starts"
        assert b"\x1bP" in written, written[-800:]
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_the_extras_modules_are_what_is_imported() -> None:
    pytest.importorskip("textual_image")
    assert {*pictures.WIDGETS.values()} <= set(vars(importlib.import_module("textual_image.widget")))
