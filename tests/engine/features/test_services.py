"""Services behind HTTP, a judge and Neuronpedia: one that answers, one that is busy, one that talks nonsense, one that is not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.experiments.context import Interrupted
from interp_tui_engine.features import jsonl, neuronpedia, records
from interp_tui_engine.features.judge import KEY, Judge
from interp_tui_engine.runfolder import RunFolder
from references.local_server import Server, said


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
