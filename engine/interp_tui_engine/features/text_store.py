"""The texts of many rows, kept in a scratch file until a few of them are wanted."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import NamedTuple

SHOWN_NUL = "␀"


class Text(NamedTuple):
    """What a row was about."""

    prompt_id: str
    text: str
    token: str = ""
    """The token that the row is about, where its records say it."""


class TextStore:
    """Appends texts in row order; gives those asked for. Eight bytes a row in memory."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w+b")
        self._starts = array("q", [0])

    def add(self, prompt_ids: list[str], texts: list[str], tokens: list[str]) -> None:
        """Take in rows."""
        for prompt_id, text, token in zip(prompt_ids, texts, tokens, strict=True):
            fields = (prompt_id.replace("\x00", SHOWN_NUL), token.replace("\x00", SHOWN_NUL), text)  # only a text may hold the separator
            data = "\x00".join(fields).encode("utf-8", errors="surrogatepass")
            self._file.write(data)
            self._starts.append(self._starts[-1] + len(data))

    def get(self, row: int) -> Text:
        """One row's."""
        self._file.seek(self._starts[row])
        data = self._file.read(self._starts[row + 1] - self._starts[row]).decode("utf-8", errors="surrogatepass")
        prompt_id, token, text = data.split("\x00", 2)
        return Text(prompt_id, text, token)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def close(self) -> None:
        """Remove the scratch file."""
        self._file.close()
        self.path.unlink(missing_ok=True)
