"""Cards: on which tokens a feature fires, what it promotes and is near to, and labels with and without an endpoint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp_tui_engine import atomic
from interp_tui_engine.events import Warned
from interp_tui_engine.experiments.inspect.report import _example
from interp_tui_engine.experiments.records.words import nearest, promoted
from interp_tui_engine.features import fingerprint, jsonl, records, text_store
from interp_tui_engine.features.card_example import CardExample
from interp_tui_engine.features.explain import Explainer
from interp_tui_engine.features.labels import own_label, shared_words
from interp_tui_engine.models.load import load_model
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted
from interp_tui_engine.sites.dissect import site_map_of
from references.local_server import Server, said


def by_token(folder: Path) -> Path:
    """Twenty texts, a record a token; `x` fires on “is” of the positives, most on the first of them, and a little on the word before."""
    rows = []
    for i in range(20):
        tokens = ["The", " river" if i % 2 else " city", f" n{i}", " is", " here"]
        for position, token in enumerate(tokens):
            x = {3: 9.0 - i / 10, 2: 1.0}.get(position, 0.0) if i % 2 == 0 else 0.0
            metadata = {"position": position, "token": token}
            features = {"x": x, "y": 0.5} if x else {"y": 0.5 + i}
            rows.append(records.record("m", f"p{i}", "".join(tokens), float(i % 2 == 0), features, metadata=metadata))
    jsonl.write(folder / "r.jsonl", rows)
    return folder / "r.jsonl"


def test_examples_are_texts_with_the_tokens_a_feature_fires_on(run_kind: Any, tmp_path: Path) -> None:
    _, _, folder = run_kind("inspect", criterion="c", records=[str(by_token(tmp_path))], examples=3)
    found = {card["feature_id"]: card for card in atomic.read_json(folder.path / "report.json")["cards"]}
    examples = found["x"]["metadata"]["activating"]
    assert [example["prompt_id"] for example in examples] == ["p0", "p2", "p4"], "one a text, the strongest first"
    assert examples[0]["tokens"] == ["The", " city", " n0", " is", " here"] and examples[0]["values"] == [0.0, 0.0, 1.0, 9.0, 0.0]
    assert found["x"]["label"] == "on “is”"
    assert _example(examples[0]) == "- 9.000 · The city n0 **is** here"


def test_a_text_with_one_row_is_marked_at_its_token() -> None:
    example = CardExample(2.0, 1.0, "p", "a *b* is", ("a *b*", " is"), (0.0, 2.0))
    assert _example(example._asdict()) == "- 2.000 · a \\*b\\* **is**"


def test_labels_without_a_service() -> None:
    def example(text: str, token: str = "", value: float = 1.0) -> CardExample:
        return CardExample(value, 1.0, "", text, (text, token) if token else (), (0.0, value) if token else ())

    on = [example("a", " is"), example("b", " is"), example("c", " in")]
    assert own_label(on, {"promotes": [" Lima", " Rome", " "]}) == "on “is” → Lima, Rome"
    text_store = [example(f"the {word} of Peru rises {word}") for word in ("river", "city", "people")]
    assert own_label(text_store, {}) == "with rises, peru"
    below = [example("a", " is", -1.0), example("b", " is", -2.0)]
    assert own_label(below, {"promotes": ["x"], "suppresses": ["y"]}) == "on “is” → y"
    assert own_label([], {}) == "" and shared_words(["one two", "one two"]) == [], "two texts share too much by chance"


def test_promoted_tokens_are_those_of_the_models_own_logits() -> None:
    model = load_model("builtin:tiny")
    site_map, rows = site_map_of(model), torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    for row, about in zip(rows, promoted(rows, site_map, model.tokenizer), strict=True):
        scaled = row / row.square().mean().add(1e-5).sqrt() * site_map.final_norm.weight  # type: ignore[union-attr, operator]
        order = (scaled @ site_map.head.weight.T).argsort(descending=True).tolist()  # type: ignore[operator]
        assert model.tokenizer is not None
        assert about["promotes"] == [model.tokenizer.decode([i]) for i in order[:8]]
        assert set(about["suppresses"]) == {model.tokenizer.decode([i]) for i in order[-8:]}


def test_nearest_are_by_angle() -> None:
    rows = torch.tensor([[1.0, 0.0], [3.0, 0.3], [0.0, -2.0], [0.0, 0.0]])
    found = nearest(rows, ["a", "b", "c", "zero"])
    assert found[0][0] == "b 1.00" and found[2] == ["b -0.10"] and found[3] == []
    assert nearest(rows[:1], ["a"]) == [[]]


def test_an_endpoint_labels_and_its_labels_are_tested(
    server: Server, run_kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in names the feature, and finds its texts by the word that all of them, and no silent text, have."""
    path = by_token(tmp_path)

    def answer(body: dict[str, Any]) -> tuple[int, str]:
        prompt = body["messages"][0]["content"]
        if "Which of the numbered" not in prompt:
            return said(json.dumps({"label": "cities [/b]\x1b[31m"}))
        return said(json.dumps({"fires": [int(n) for n in re.findall(r"^(\d+)\. The city", prompt, re.MULTILINE)]}))

    server.answers = answer  # type: ignore[assignment]
    request = {"criterion": "c", "records": [str(path)], "labeller": server.url, "labeller_model": "m", "cards": 2}
    polls = iter(["go"] * 3)
    with pytest.raises(Interrupted):
        run_kind("inspect", orders=lambda: next(polls, "stop"), **request)
    asked = len(server.asked)
    _, events, folder = run_kind("inspect", again=RunFolder(tmp_path / "run-0"), **request)
    assert 0 < asked < 4 and len(server.asked) == 4, "nothing is asked twice"
    card = next(card for card in atomic.read_json(folder.path / "report.json")["cards"] if card["feature_id"] == "x")
    assert card["label"] == "cities [/b] [31m" and card["metadata"]["detection"] == 1.0
    assert not [event for event in events if isinstance(event, Warned) and "labeller" in event.message]
    assert "balanced accuracy 1.00" in _report(run_kind, request)
    assert "«" not in server.asked[1][0]["messages"][0]["content"], "marks would give the answer away"


def _report(run_kind: Any, request: dict[str, Any]) -> str:
    result, _, _ = run_kind("inspect", **request)
    return str(result.report)


def test_labels_that_cannot_be_had_cost_no_run(server: Server, run_kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    request = {"criterion": "c", "records": [str(by_token(tmp_path))], "labeller": server.url, "labeller_model": "m", "cards": 2}
    for answers, why in (
        ([(500, "oops")], "could not be used after 5 tries: HTTP 500"),
        ([(429, "slow")], "could not be used after 5 tries: HTTP 429"),
        ([(200, "<html>")], "an answer that is no use"),
        ([said('{"label": 3}')], "an answer that is no use"),
        ([(401, "no")], "refused: HTTP 401"),
    ):
        server.answers = answers
        result, events, folder = run_kind("inspect", **request)
        warned = [event.message for event in events if isinstance(event, Warned)]
        assert any(why in message and "2 features keep the labels" in message for message in warned), warned
        assert result.values["features"] == 2
    server.answers = [said('{"label": "things"}')]
    _, events, folder = run_kind("inspect", **request, labeller_calls=1)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert any("asked 1 times, which is all it may be; 1 features keep theirs" in message for message in warned), warned
    card = atomic.read_json(folder.path / "report.json")["cards"][0]
    assert card["label"] == "things" and card["metadata"]["detection"] is None, "no call was left to test it"


def test_a_torn_cache_is_read_as_far_as_it_goes(server: Server, tmp_path: Path) -> None:
    server.answers = [said('{"label": "a"}')]
    cache = tmp_path / "labels.jsonl"
    assert Explainer(server.url, "m", cache, most=5).label(["t"], [], [], [], 0) is not None
    cache.write_text(cache.read_text() + '{"prompt": "to')
    again = Explainer(server.url, "m", cache, most=5)
    assert again.label(["t"], [], [], [], 0) is not None and again.chat.calls == 1 == len(server.asked)


def test_texts_come_back_as_they_were(tmp_path: Path) -> None:
    kept = text_store.TextStore(tmp_path / "texts")
    kept.add(["a\x00b", ""], ["one\x00two\n", "\ud800"], ["\x00", "t"])
    assert kept.get(0) == ("a␀b", "one\x00two\n", "␀") and kept.get(1) == ("", "\ud800", "t") and len(kept) == 2
    kept.close()


@pytest.mark.parametrize(("positives", "rows"), [(3, 20), (100, 400), (2, 5000), (400, 410), (128, 128)])
def test_signatures_are_of_rows_that_are_the_same_for_all_features(positives: int, rows: int) -> None:
    positive = np.random.default_rng(rows).permutation(rows) < positives
    chosen = fingerprint.signature_rows(positive)
    assert len(chosen) == min(rows, fingerprint.SIGNATURE) and (np.diff(chosen) > 0).all()
    least = min(positives, 64) if positives < rows else len(chosen)
    assert positive[chosen].sum() >= least and (~positive)[chosen].sum() >= min(rows - positives, len(chosen) // 2)
    assert fingerprint.rows_mark(["a", "b"]) != fingerprint.rows_mark(["ab", ""])


def test_reports_do_nothing_to_a_terminal_or_to_markdown(run_kind: Any, tmp_path: Path) -> None:
    evil = "\x1b]52;c;aGk=\x07[/b]\u202e|`<script>\x00\n# top"
    rows = [records.record("m|`x", f"p{i}{evil}", f"{evil} {i}", float(i % 2), {f"f{evil}": i % 2 + 0.01 * i, "y": 1.0}) for i in range(24)]
    jsonl.write(tmp_path / "r.jsonl", rows)
    result, _, folder = run_kind("inspect", criterion=f"c {evil}", records=["r.jsonl"], permutations=0)
    again, _, _ = run_kind("match", left=str(folder.path), right=str(folder.path))
    graph, _, _ = run_kind("attribution_graph", report=str(folder.path))
    for report in (result.report, again.report, graph.report):
        assert report is not None and not [c for c in report if not c.isprintable() and c != "\n"]
        assert "<script>" not in report and "\n# top" not in report and "[/b]" not in report.replace("\\[/b\\]", "")
        cells = [line.replace("\\|", "").count("|") for line in report.splitlines() if line.startswith("|")]
        assert len(set(cells)) <= 1, "no text makes a cell of its own"
