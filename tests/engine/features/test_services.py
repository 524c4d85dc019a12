"""Services behind HTTP, a judge and Neuronpedia: one that answers, one that is busy, one that talks nonsense, one that is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.features import jsonl, neuronpedia, records
from interp_tui_engine.features.chat import KEY
from interp_tui_engine.features.judge import Judge
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted
from references.local_server import Raw, Server, said, serving


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
    assert "secret" not in first.chat.cache.read_text()


def test_a_busy_server_is_asked_again(server: Server, judge: Callable[..., Judge]) -> None:
    server.answers = [(429, "slow down"), (500, "oops"), (200, "not JSON"), said("I cannot say"), said('{"score": 1}')]
    assert judge()("x") == 1.0 and len(server.asked) == 5


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((503, "down\x1b[31m"), r"after 5 tries: HTTP 503: down \[31m"),
        ((200, "<html>"), "after 5 tries: an answer that is no use"),
        (said('{"score": 7}'), "after 5 tries: an answer that is no use"),
        (said('{"score": NaN}'), "after 5 tries: an answer that is no use"),
        ((401, "who are you"), f"refused: HTTP 401(.|\n)*{KEY}"),
    ],
)
def test_a_server_that_is_no_use_fails_the_run_in_words(
    server: Server, judge: Callable[..., Judge], answer: tuple[int, str], reason: str
) -> None:
    server.answers = [answer]
    with pytest.raises(RunFailed, match=reason):
        judge()("x")


ANSWER = b'{"choices": [{"message": {"content": "{\\"score\\": 1}"}}]}'
HEAD = b"HTTP/1.1 %s\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([b"\x00\x01 this is no HTTP\r\n\r\n"], "\\.\\.\\.|HTTP|no"),
        ([], "closed connection"),
        ([HEAD % b"200 OK", b"Content-Length: 5000\r\n\r\n", b'{"choices": [{"mess'], "no use"),
        ([HEAD % b"200 OK", b"Transfer-Encoding: chunked\r\n\r\n", b"fff\r\n{"], "IncompleteRead"),
        ([HEAD % b"200 OK", b"\r\n", b"[" * 100_000], "no use"),
        ([HEAD % b"503 Busy", b"Content-Length: 99\r\n\r\n", b"down"], "HTTP 503"),
    ],
)
def test_answers_that_are_none_are_told_in_words(judge: Callable[..., Judge], parts: list[bytes], why: str) -> None:
    with serving(Raw(parts)) as server:
        with pytest.raises(RunFailed, match=f"could not be used after 2 tries: .*({why})"):
            judge(server.url, tries=2)("x")
        assert len(server.asked) == 2


def test_a_server_that_says_when_to_come_back_is_heeded(judge: Callable[..., Judge]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=9), usegmt=True).encode()
    busy = [HEAD % b"429 Slow down" + b"Retry-After: " + said + b"\r\n\r\n" for said in (b"7", later, b"soon", b"-3")]
    waited: list[float] = []
    with serving(Raw(*([one] for one in busy), [HEAD % b"200 OK", b"\r\n", ANSWER])) as server:
        assert judge(server.url, sleep=waited.append)("x") == 1.0
    assert waited == [7.0, 300.0, 8.0, 16.0], "no longer than five minutes, no sooner than its own patience"


def test_a_server_that_never_comes_to_an_end_is_left(judge: Callable[..., Judge]) -> None:
    endless = Raw([HEAD % b"200 OK", b"\r\n", *([b" "] * 400)], pause=0.01)
    with serving(endless) as server, pytest.raises(RunFailed, match=r"no whole answer in 0\.2 s"):
        judge(server.url, tries=1, timeout=0.05)("x")


def test_a_key_stays_with_the_host_it_is_for(server: Server, judge: Callable[..., Judge], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    server.answers = [(200, "{}")]
    away = HEAD % b"302 Found" + f"Location: {server.url}/elsewhere\r\n\r\n".encode()
    with serving(Raw([away])) as sending, pytest.raises(RunFailed):
        judge(sending.url, tries=1)("x")
    assert b"secret" in sending.asked[0] and server.paths == ["/v1/elsewhere"] and server.keys == [None]


def test_useless_answers_are_paid_for_and_a_cut_cache_is_read(server: Server, judge: Callable[..., Judge]) -> None:
    server.answers = [said("hm"), said('{"score": 1}'), said("hm")]
    capped = judge(most=4)
    assert capped("a") == 1.0 and capped.chat.calls == 2
    with pytest.raises(RunFailed, match="given all 4 answers that it may"):
        capped("b")
    assert len(server.asked) == 4
    cache = capped.chat.cache
    cache.write_bytes(cache.read_bytes() + b'{"prompt": "m\\nYou sc')
    again = judge(most=1)
    assert again("a") == 1.0 and len(server.asked) == 4
    with pytest.raises(UserError, match="asked 1 times"):
        again("b")


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


FEATURE = {
    "modelId": "gpt2-small",
    "layer": "6-res_scefr-ajt",
    "index": "650",
    "explanations": [{"description": " measurements in feet "}],
    "activations": [{"tokens": ["ten", " feet"], "values": [0.0, 7.25]}, {"tokens": None}],
    "pos_str": [" feet", " metres"],
    "neg_str": [" the"],
    "frac_nonzero": 0.004,
    "vector": [0.5, -0.25],
}


@pytest.mark.parametrize(
    "text",
    [
        "gpt2-small@6-res_scefr-ajt:650",
        "https://www.neuronpedia.org/gpt2-small/6-res_scefr-ajt/650",
        "https://www.neuronpedia.org/api/feature/gpt2-small/6-res_scefr-ajt/650",
    ],
)
def test_references_to_neuronpedia(text: str) -> None:
    assert neuronpedia.parse(text) == ("gpt2-small", "6-res_scefr-ajt", 650)


def test_features_from_neuronpedia(server: Server, run_kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURONPEDIA_BASE_URL", server.url.removesuffix("/v1"))
    monkeypatch.setenv("NEURONPEDIA_API_KEY", "secret")
    server.answers = [(200, json.dumps(FEATURE)), (200, json.dumps(FEATURE | {"index": 7, "explanations": [{"description": "rivers"}]}))]
    refs = ["gpt2-small@6-res_scefr-ajt:650", "gpt2-small@6-res_scefr-ajt:7"]
    result, _, folder = run_kind("inspect", criterion="measurements in feet", backend="neuronpedia", neuronpedia=refs)
    assert [card["feature_id"] for card in result.values["cards"]] == refs
    assert server.paths == ["/api/feature/gpt2-small/6-res_scefr-ajt/650", "/api/feature/gpt2-small/6-res_scefr-ajt/7"]
    card = json.loads((folder.path / "report.json").read_text())["cards"][0]
    assert card["label"] == "measurements in feet" and card["examples"] == ["activation=7.250 | ten feet"] and card["layer"] == 6
    assert card["fingerprint"]["decoder_signature"] == [0.5, -0.25] and "secret" not in json.dumps(card)
    server.answers = [(404, '{"error": "no such feature"}')]
    with pytest.raises(RunFailed, match="HTTP 404"):
        run_kind("inspect", criterion="c", backend="neuronpedia", neuronpedia=refs)
    with pytest.raises(UserError, match="names no Neuronpedia feature"):
        neuronpedia.parse("gpt2-small 650")
    with pytest.raises(UserError, match="of 2 models: gpt2-small, gemma-2b"):
        list(neuronpedia.fetch([*refs, "gemma-2b@3-res:1"], neuronpedia.service()))
    quick = neuronpedia.service(sleep=lambda seconds: None)
    for answer in ((200, "[]"), (200, json.dumps(FEATURE | {"index": 9})), (429, "slow down")):
        server.answers = [answer]
        with pytest.raises(RunFailed, match="could not be used after 5 tries"):
            list(neuronpedia.fetch(refs, quick))
