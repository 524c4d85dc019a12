"""JSON over HTTP from a service that may be busy: bounded in size and time, tried again where that can help, its refusals told in words."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..errors import RunFailed, UserError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
ANSWER_BYTES = 16 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """A service by its base URL. `key_name` is the environment variable that its key is read from: named in advice, never shown."""

    name: str
    base: str
    headers: Mapping[str, str]
    key_name: str
    tries: int = 5
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s]+", self.base):
            raise UserError(f"not a URL: {self.base!r:.80}", "such as http://localhost:8000/v1")

    def ask(self, path: str, body: Any = None, read: Callable[[Any], Any] = lambda answer: answer) -> Any:
        """What `read` makes of the answer to GET, or with a body to POST. A ValueError of `read` counts as an answer that is no use.

        Raises RunFailed with what the service last said.
        """
        return self.with_retries(path, lambda url: read(self._once(url, body)))

    def with_retries(self, path: str, once: Callable[[str], T]) -> T:
        """What `once` makes of the URL of `path`, tried again where that can help. Raises RunFailed with what the service last said."""
        url, said = self.base.rstrip("/") + path, ""
        for attempt in range(self.tries):
            if attempt:
                self.sleep(min(60.0, 2.0**attempt))
            try:
                return once(url)
            except urllib.error.HTTPError as error:
                said = f"HTTP {error.code}: {shown(error.read(2000))}"
                if error.code not in RETRIED:
                    hint = f"is {self.key_name} set, and right?" if error.code in (401, 403) else "check its URL and the names given"
                    raise RunFailed(f"{self.name} at {url} refused: {said}", hint) from None
            except ValueError as error:
                said = f"an answer that is no use: {shown(str(error).encode())}"
            except (urllib.error.URLError, TimeoutError, OSError) as error:
                said = str(getattr(error, "reason", error)) or type(error).__name__
        raise RunFailed(f"{self.name} at {url} could not be used after {self.tries} tries: {said}", "resume goes on where it stopped")

    def _once(self, url: str, body: Any) -> Any:
        headers = dict(self.headers) | ({"Content-Type": "application/json"} if body is not None else {})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=self.timeout) as answer:
            return json.loads(answer.read(ANSWER_BYTES))


def shown(data: bytes) -> str:
    """The beginning of what a server said, on one line and safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in data.decode("utf-8", errors="replace"))[:200]
