"""Pictures in the terminal, as kitty's graphics or sixels: for those who ask for them, by textual-image and resvg (the extra `images`).

[pictures]
show = "auto"       asks the terminal when the app starts; "kitty" or "sixel" if it answers wrongly; "off" unless this file says otherwise
over_ssh = true     there, too: a picture is 25 to 250 kB as sixels, where a plot of braille dots is one or two

tmux and screen pass neither on, so that figures stay braille in them.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from interp_tui_engine.errors import UserError

Protocol = Literal["kitty", "sixel"]
CHOICES = ("off", "auto", "kitty", "sixel")
WIDGETS = {"kitty": "TGPImage", "sixel": "SixelImage"}
LARGEST = 4 << 20
"""Bytes of a figure's file that is drawn; a larger one would take seconds."""
SLOW_LINK = "off: this link is too slow for them"
OUTSIDE = re.compile(
    r"<!ENTITY|<image\b|<foreignObject\b|<style\b|<[^>]*\bhref\s*=(?!\s*[\"']#)|<[^>]*\burl\((?!\s*[\"']?#)", re.IGNORECASE
)
"""What would have the drawing look at something else than its own text."""

FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts", "~/.fonts", "~/.local/share/fonts")
SANS = {
    "DejaVuSans.ttf": "DejaVu Sans", "LiberationSans-Regular.ttf": "Liberation Sans", "NotoSans-Regular.ttf": "Noto Sans",
    "Arial.ttf": "Arial", "arial.ttf": "Arial", "Helvetica.ttc": "Helvetica", "Helvetica.dfont": "Helvetica", "FreeSans.ttf": "FreeSans",
    "Ubuntu-R.ttf": "Ubuntu", "Roboto-Regular.ttf": "Roboto", "OpenSans-Regular.ttf": "Open Sans", "Cantarell-VF.otf": "Cantarell",
}  # fmt: skip
"""Families for the labels of a figure, by the file that brings them: figures ask for any sans-serif, and resvg takes that for Arial."""


@dataclass(frozen=True)
class Pictures:
    """How pictures are drawn; `reason` says why they are not."""

    protocol: Protocol | None = None
    family: str = ""
    reason: str = 'off: [pictures] show = "auto" in config.toml draws them'


def prepare(show: str, *, over_ssh: bool, environ: Mapping[str, str]) -> Pictures:
    """What this terminal can draw. To be called before the app starts: textual-image asks the terminal as it is imported, and reads the
    answer from stdin. Never raises."""
    if show == "off":
        return Pictures()
    if not over_ssh and any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY")):
        return Pictures(reason="off over SSH: [pictures] over_ssh = true in config.toml draws them there, too")
    try:
        importlib.import_module("resvg_py")
        renderable = importlib.import_module("textual_image.renderable")
        importlib.import_module("textual_image.widget")
    except ImportError:
        return Pictures(reason="off: pip install 'interp-tui[images]' brings what draws them")
    except Exception as fault:  # a terminal that answers what nobody expects must not keep the app from starting
        return Pictures(reason=f"off: the terminal could not be asked ({type(fault).__name__})")
    family = sans_family()
    if family is None:
        return Pictures(reason="off: no sans-serif font on this machine, so that labels would be missing")
    if show in WIDGETS:
        return Pictures(cast("Protocol", show), family)
    answers: dict[Any, Protocol] = {renderable.SixelImage: "sixel", renderable.TGPImage: "kitty"}
    protocol = answers.get(renderable.Image)
    return Pictures(protocol, family) if protocol else Pictures(reason="off: this terminal knows neither kitty's graphics nor sixels")


def sans_family() -> str | None:
    """A sans-serif font of this machine."""
    for folder in FONT_FOLDERS:
        files = {path.name for path in Path(folder).expanduser().rglob("*")}
        family = next((name for file, name in SANS.items() if file in files), None)
        if family is not None:
            return family
    return None


def widget(protocol: Protocol) -> Any:
    """A widget whose `image` is drawn by the protocol."""
    return getattr(importlib.import_module("textual_image.widget"), WIDGETS[protocol])()


def drawn(file: Path, width: int, family: str) -> Any:
    """The figure of an SVG file as an image `width` pixels wide. Raises UserError for one that cannot be drawn, or holds links."""
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file.name} is too large to draw", "interp-tui export RUN --to svg writes it for a browser")
        svg = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{file.name} cannot be read: {error}") from None
    if OUTSIDE.search(svg):
        raise UserError(f"{file.name} links to other files, which are not opened", "interp-tui export RUN --to svg writes it for a browser")
    resvg, images = importlib.import_module("resvg_py"), importlib.import_module("PIL.Image")
    try:
        png = bytes(resvg.svg_to_bytes(svg_string=svg, width=width, sans_serif_family=family))
        picture = images.open(io.BytesIO(png))
        picture.load()
    except Exception as error:  # damaged, or of no size
        raise UserError(f"{file.name} cannot be drawn: {error}") from None
    return picture


def cell_width() -> int:
    """Pixels across a cell of the terminal."""
    return int(importlib.import_module("textual_image._terminal").get_cell_size().width)
