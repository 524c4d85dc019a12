"""A judge behind an endpoint: a server that answers, one that is busy, one that talks nonsense, one that is not there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.experiments.context import Interrupted
from interp_tui_engine.features import jsonl, records
from interp_tui_engine.features.judge import KEY, Judge
from interp_tui_engine.runfolder import RunFolder


def said(content: str) -> tuple[int, str]:
    return 200, json.dumps({"choices": [{"message": {"content": content}}]})


class Server:
    """Answers with what `answers` holds, the last for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str]] = []
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append((body, self.headers.get("Authorization")))
                code, text = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def judge(server: Server, tmp_path: Path) -> Callable[..., Judge]:
    waited: list[float] = []

    def make(url: str | None = None, **options: Any) -> Judge:
        given = {"most": 10, "sleep": waited.append, "timeout": 5.0} | options
        return Judge(url or server.url, "m", "is polite", tmp_path / "cache.jsonl", **given)

    return make


def test_it_scores_and_asks_nothing_twice(server: Server, judge: Callable[..., Judge], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    server.answers = [said('Sure: {"score": 0.75}'), said('{"score": 0}')]
    first = judge()
    assert [first("please"), first("please"), first("now")] == [0.75, 0.75, 0.0]
    assert judge()("please") == 0.75 and len(server.asked) == 2
    body, key = server.asked[0]
    assert key == "Bearer secret" and body["model"] == "m" and "please" in body["messages"][0]["content"]
    assert "secret" not in first.cache.read_text()


def test_a_busy_server_is_asked_again(server: Server, judge: Callable[..., Judge]) -> None:
    server.answers = [(429, "slow down"), (500, "oops"), (200, "not JSON"), said("I cannot say"), said('{"score": 1}')]
    assert judge()("x") == 1.0 and len(server.asked) == 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((503, "down\x1b[31m"), r"after 5 tries: HTTP 503: down \[31m"),
        ((200, "<html>"), "after 5 tries: an answer that is no score"),
        (said('{"score": 7}'), "after 5 tries: an answer that is no score"),
        (said('{"score": NaN}'), "after 5 tries: an answer that is no score"),
        ((401, "who are you"), f"refused: HTTP 401(.|\n)*{KEY}"),
    ],
)
def test_a_server_that_is_no_use_fails_the_run_in_words(
    server: Server, judge: Callable[..., Judge], answer: tuple[int, str], reason: str
) -> None:
    server.answers = [answer]
    with pytest.raises(RunFailed, match=reason):
        judge()("x")


def test_no_server_at_all(judge: Callable[..., Judge], server: Server) -> None:
    closed = Server()
    closed.http.server_close()
    with pytest.raises(RunFailed, match="could not be used after 2 tries"):
        judge(closed.url, tries=2)("x")
    for url in ("file:///etc/passwd", "localhost:8000", ""):
        with pytest.raises(UserError, match="not a URL"):
            Judge(url, "m", "c", Path("x"), most=1)


def test_calls_are_capped(server: Server, judge: Callable[..., Judge]) -> None:
    server.answers = [said('{"score": 0.5}')]
    capped = judge(most=2)
    assert [capped("a"), capped("b"), capped("a")] == [0.5, 0.5, 0.5]
    with pytest.raises(UserError, match="asked 2 times"):
        capped("c")


def test_inspect_scores_by_a_judge_and_goes_on_where_it_stopped(server: Server, run_kind: Any, tmp_path: Path) -> None:
    rows = [records.record("m", f"p{i}", f"text {i}", 0.0, {"x": float(i % 2), "y": 1.0}) for i in range(24)]
    jsonl.write(tmp_path / "r.jsonl", rows)
    server.answers = [said(json.dumps({"score": i % 2})) for i in range(24)]
    request = {"criterion": "c", "records": ["r.jsonl"], "judge": server.url, "judge_model": "m", "min_rows": 1}
    polls = iter(["go"] * 10)
    with pytest.raises(Interrupted):
        run_kind("inspect", orders=lambda: next(polls, "stop"), **request)
    assert len(server.asked) == 10
    result, _, _ = run_kind("inspect", again=RunFolder(tmp_path / "run-0"), **request)
    assert len(server.asked) == 24 and result.values["cards"][0]["feature_id"] == "x" and result.values["cards"][0]["auroc"] == 1.0
