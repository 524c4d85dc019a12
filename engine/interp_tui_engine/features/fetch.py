"""JSON over HTTP from a service that may be busy: bounded in size and time, tried again where that can help, its refusals told in words."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import RunFailed, UserError
from ..untrusted import parse_json

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
ANSWER_BYTES = 16 << 20
LONGEST_WAIT = 300.0
"""Seconds waited at most when a server says for how long."""
PATIENCE = 4
"""Timeouts that a whole answer may take: one that comes a byte at a time is none."""
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
        url, reason, asked_to_wait = self.base.rstrip("/") + path, "", 0.0
        for attempt in range(self.tries):
            if attempt:
                self.sleep(max(asked_to_wait, min(60.0, 2.0**attempt)))
                asked_to_wait = 0.0
            try:
                return once(url)
            except urllib.error.HTTPError as error:
                reason, asked_to_wait = f"HTTP {error.code}: {shown(_beginning(error))}", _retry_after(error.headers.get("Retry-After"))
                if error.code not in RETRIED:
                    hint = f"is {self.key_name} set, and right?" if error.code in (401, 403) else "check its URL and the names given"
                    raise RunFailed(f"{self.name} at {url} refused: {reason}", hint) from None
            except (ValueError, RecursionError) as error:
                reason = f"an answer that is no use: {shown(str(error).encode())}"
            except (http.client.HTTPException, OSError) as error:
                reason = shown(str(getattr(error, "reason", error)).encode()).strip() or type(error).__name__
        raise RunFailed(f"{self.name} at {url} could not be used after {self.tries} tries: {reason}", "resume goes on where it stopped")

    def _once(self, url: str, body: Any) -> Any:
        headers = dict(self.headers) | ({"Content-Type": "application/json"} if body is not None else {})
        data = None if body is None else json.dumps(body).encode()
        until = time.monotonic() + PATIENCE * self.timeout
        with OPENER.open(urllib.request.Request(url, data, headers), timeout=self.timeout) as answer:
            parts, size = [], 0
            while size < ANSWER_BYTES and (part := answer.read1(1 << 16)):
                parts.append(part)
                size += len(part)
                if time.monotonic() > until:
                    raise TimeoutError(f"no whole answer in {PATIENCE * self.timeout:g} s")
        return parse_json(b"".join(parts))


class SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a server that sends its readers elsewhere, but keys stay with the host that they are for."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl)[:2] != urlsplit(req.full_url)[:2]:
            for name in ("Authorization", "X-api-key"):  # as urllib spells them
                new.remove_header(name)
        return new


OPENER = urllib.request.build_opener(SameHost)


def _retry_after(header: str | None) -> float:
    """The seconds that a Retry-After header asks for, as a number or as a date, at most LONGEST_WAIT; 0 for none."""
    text = (header or "").strip()
    try:
        seconds = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(LONGEST_WAIT, max(0.0, seconds))


def _beginning(error: urllib.error.HTTPError) -> bytes:
    try:
        return error.read(2000)
    except (http.client.HTTPException, OSError):
        return b""


def shown(data: bytes) -> str:
    """The beginning of what a server said, on one line and safe for a terminal."""
    return "".join(c if c.isprintable() else " " for c in data.decode("utf-8", errors="replace"))[:200]
