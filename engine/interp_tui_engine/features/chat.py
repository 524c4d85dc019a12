"""Questions to a model behind an OpenAI-compatible endpoint: each asked once, its answer kept in a file, all of them bounded in number.

The key comes from the environment, is sent to the URL that the user named and nowhere else, and is never written down.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import RunFailed
from ..untrusted import parse_json
from .fetch import Service

KEY = "INTERP_TUI_API_KEY"
TRIES, TIMEOUT = 5, 30.0


class Chat:
    """Asks `model` at `url`; `name` is what its validation errors call it.

    `cache` is a JSON Lines file of what was answered: a run that goes on asks nothing twice and pays nothing twice, and what was asked
    before counts towards `most`. `sleep` waits between tries. Raises RunFailed, as Service does, for an endpoint that cannot be used, and
    UserError for a URL that is none.
    """

    def __init__(
        self,
        name: str,
        url: str,
        model: str,
        cache: Path,
        *,
        most: int,
        tries: int = TRIES,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.service = Service(name, url, headers, KEY, tries, timeout, sleep)
        self.model, self.cache, self.most = model, cache, most
        self._known = dict(_kept(cache))
        self.calls = len(self._known)
        """Answers so far, useless ones too: those are paid for as well."""

    def known(self, prompt: str) -> bool:
        """Whether the question was answered before."""
        return self._key(prompt) in self._known

    @property
    def left(self) -> int:
        """How many questions may still be asked."""
        return max(0, self.most - self.calls)

    def ask(self, prompt: str, read: Callable[[str], Any]) -> Any:
        """What `read` makes of the answer, None where no more may be asked; a ValueError of `read` says that an answer is of no use.

        What `read` gives is kept as JSON, and given again without being asked.
        """
        if self.known(prompt):
            return self._known[self._key(prompt)]
        if not self.left:
            return None

        def counted(answer: Any) -> Any:
            self.calls += 1
            try:
                return read(content_of(answer))
            except ValueError as error:
                if self.left:
                    raise
                reason = f"{self.service.name} has given all {self.most} answers that it may; the last is no use: {str(error)[:200]!r}"
                raise RunFailed(reason, "raise the number of calls, or look at what it answers") from None

        body = {"model": self.model, "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
        answer = self.service.ask("/chat/completions", body, counted)
        self._known[self._key(prompt)] = answer
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        with self.cache.open("a", encoding="utf-8", errors="surrogatepass") as file:  # a kill loses at most the one under way
            file.write(json.dumps({"prompt": self._key(prompt), "answer": answer}) + "\n")
        return answer

    def _key(self, prompt: str) -> str:
        return f"{self.model}\n{prompt}"


def _kept(cache: Path) -> list[tuple[str, Any]]:
    answers = []
    for line in cache.read_text(encoding="utf-8", errors="replace").split("\n") if cache.exists() else ():
        try:
            row = parse_json(line)
            answers.append((str(row["prompt"]), row["answer"]))
        except (ValueError, KeyError, TypeError):
            continue  # the line that was being written when the run was killed
    return answers


def content_of(answer: Any) -> str:
    """The text of a chat completion. Raises ValueError, with its beginning, for any other answer."""
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError(json.dumps(answer)[:200]) from None
    if not isinstance(content, str):
        raise ValueError(json.dumps(answer)[:200])
    return content


def object_in(content: str) -> dict[str, Any]:
    """The first flat JSON object in a text, as models wrap theirs in words. Raises ValueError where there is none."""
    match = re.search(r"\{[^{}]*\}", content)
    value = parse_json(match[0]) if match else None
    if not isinstance(value, dict):
        raise ValueError(content[:200])
    return value
