"""The pages of examples/guides/ as something to run: their commands in order, and the files that they have the reader write.

A block of shell commands is run line by line. A block of another language that follows a line such as "Save this as `sae.toml`:" is
written to that file; a block of Python that follows any other line is run. There is no other kind of block, so that nothing in a page can
be wrong without a test that fails. A page whose runs are long says by which `--set` options the quick test cuts them:

    Quick tests run this page with `--set params.num_draws=4 --set params.num_chains=2`.

or, where that would not be enough, that they leave it out.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from interp_tui import cli

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ROOT / "examples" / "guides"
SOURCES = ("engine", "tui")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SAVED = re.compile(r"`([\w./-]+\.\w+)`:$")
_LONG = "Only `make test-real` runs this page"
_CUT = re.compile(r"^Quick tests run this page with `(.+)`\.$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: what is in it, and the file that it is to be saved as."""

    language: str
    text: str
    file: str | None

    @property
    def commands(self) -> list[str]:
        """Shell commands, a continued line as one, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if shlex.split(line, comments=True)]


@dataclass(frozen=True)
class Page:
    """A guide: its blocks in order, the options that cut its runs short, and whether it is too long for the quick tests even so."""

    name: str
    blocks: tuple[Block, ...]
    cut: tuple[str, ...]
    long: bool


def read(name: str) -> Page:
    """The page called `name`, such as "first-llc". Raises ValueError for a block that nothing would run or save."""
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    blocks = []
    for match in _BLOCK.finditer(text):
        language, body = match.groups()
        before = text[: match.start()].rstrip().rpartition("\n")[2]
        saved = _SAVED.search(before)
        if language not in ("sh", "python") and not saved:
            raise ValueError(f"{name}.md: the block of {language} after {before!r} is neither run nor saved under a name")
        blocks.append(Block(language, body, saved[1] if saved and language != "sh" else None))
    cut = _CUT.search(text)
    return Page(name, tuple(blocks), tuple(shlex.split(cut[1])) if cut else (), _LONG in text)


class Desk:
    """A reader's folder: it writes the files of a page, and runs its commands with the programs that the page takes for installed."""

    def __init__(self, folder: Path, sources: Path = ROOT, cut: tuple[str, ...] = ()) -> None:
        """`sources`: the checkout whose engine/ and tui/ the commands use. `cut`: options added to every `interp-tui --batch`."""
        self.folder, self.cut = folder, cut
        programs = folder / ".programs"
        programs.mkdir(parents=True)
        for program, words in (("python", ()), ("interp-tui", ("-m", "interp_tui"))):
            script = programs / program
            script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n')
            script.chmod(0o700)
        self.environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": ":".join(str(sources / part) for part in SOURCES),
            "INTERP_TUI_CONFIG": str(programs / "config"),
            "OMP_NUM_THREADS": "1",
        }
        for name in ("INTERP_TUI_RUNS", "NO_COLOR"):
            self.environment.pop(name, None)

    def follow(self, page: Page) -> str:
        """Do what the page says; returns all that its commands printed. Raises AssertionError at the first that fails."""
        printed = []
        for block in page.blocks:
            if block.file is not None:
                path = self.folder / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                printed.append(self.run(["python", "-c", block.text]))
            else:
                printed += [self._type(command) for command in block.commands]
        return "\n".join(printed)

    def _type(self, command: str) -> str:
        words = shlex.split(command, comments=True)
        if words[0] == "interp-tui" and cli.route(words[1:])[:1] in ([], ["open"]):
            return self.look_in_the_app(words)
        if words[:2] == ["interp-tui", "--batch"]:
            command = shlex.join([*words, *self.cut])
        return self.run(["bash", "-ec", command])

    def run(self, command: list[str]) -> str:
        """Run a command in the folder; returns what it printed, errors too."""
        program = subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert program.returncode == 0, f"{shlex.join(command)} ended with {program.returncode}\n{program.stdout}"
        return program.stdout

    def look_in_the_app(self, words: list[str]) -> str:
        """Open the app on runs that are done, in a pseudo-terminal, until it shows that they are; returns what it drew."""
        from bench.terminal import Terminal

        with Terminal(words, self.environment, str(self.folder)) as terminal:
            terminal.wait_for("done", 120)
            terminal.press("q")
            return terminal.text()
