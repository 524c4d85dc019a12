"""A server on this machine that answers what a test tells it to: it stands in for services behind HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


def said(content: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]})


class Server:
    """Answers with what `answers` holds, the last for ever, or makes of a request; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] | Callable[[dict[str, Any]], tuple[int, str]] = []
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((body, self.headers.get("Authorization")))
                self._answer()

            def _answer(self) -> None:
                if callable(outer.answers):
                    code, text = outer.answers(outer.asked[-1][0])
                else:
                    code, text = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self) -> None:
                outer.paths.append(self.path)
                outer.keys.append(self.headers.get("Authorization"))
                self._answer()

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


class Raw:
    """Takes one connection after another and says on each the next of `parts`, byte for byte, with a pause after every piece of it."""

    def __init__(self, *parts: list[bytes], pause: float = 0.0) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}/v1"
        self.asked: list[bytes] = []
        self.parts, self.pause = list(parts), pause
        self.http = self

    def serve_forever(self, poll_interval: float) -> None:
        """As HTTPServer has it."""
        with suppress(OSError):  # closed
            while True:
                caller, _ = self.listening.accept()
                self.asked.append(_request(caller))
                with suppress(OSError):
                    for piece in self.parts.pop(0) if len(self.parts) > 1 else self.parts[0]:
                        caller.sendall(piece)
                        time.sleep(self.pause)
                caller.close()

    def shutdown(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)

    def server_close(self) -> None:
        self.listening.close()


def _request(caller: socket.socket) -> bytes:
    """All of a request: a connection closed before it is read would be reset, and the answer lost."""
    found = b""
    while b"\r\n\r\n" not in found and (part := caller.recv(1 << 16)):
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    size = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    while len(body) < size and (part := caller.recv(1 << 16)):
        body += part
    return head + b"\r\n\r\n" + body


class Files:
    """Serves files by path, in ranges where asked for (unless `ranges` is off); keeps how many bytes it sent, and the keys it saw."""

    def __init__(self, files: dict[str, bytes], *, ranges: bool = True) -> None:
        self.sent = 0
        self.keys: set[str | None] = set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.keys.add(self.headers.get("Authorization"))
                data, asked = files.get(self.path), self.headers.get("Range")
                if data is None:
                    self.send_error(404)
                    return
                if data.startswith(b"-> "):
                    self.send_response(302)
                    self.send_header("Location", data[3:].decode())
                    self.end_headers()
                    return
                part = data
                if asked and ranges:
                    start, stop = asked.removeprefix("bytes=").split("-")
                    part = data[int(start) : int(stop) + 1]
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}")
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                with suppress(ConnectionError):  # a reader that has what it wants goes away
                    self.wfile.write(part)
                outer.sent += len(part)

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    """The server, answering on a thread of its own."""
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
