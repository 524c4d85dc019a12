"""Files of pairs and of labelled texts as people write them: every end of line, a byte-order mark, and what is wrong said by its line."""

from __future__ import annotations

import json

import pytest

from interp_tui_engine.data.prompts import answer_ids, encode, read_pairs_file
from interp_tui_engine.errors import UserError
from interp_tui_engine.experiments.probe.params import read_rows
from interp_tui_engine.models.load import load_model

PAIR = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}
LINE = json.dumps(PAIR)


@pytest.mark.parametrize(
    "content",
    [f"{LINE}\n{LINE}", f"{LINE}\r\n{LINE}\r\n", f"\ufeff{LINE}\n\n{LINE}\n"],
    ids=["no last line end", "Windows", "byte-order mark and empty line"],
)
def test_line_ends_and_byte_order_marks(tmp_path, content):
    (tmp_path / "pairs.jsonl").write_text(content, encoding="utf-8", newline="")
    assert read_pairs_file(tmp_path / "pairs.jsonl") == [PAIR, PAIR]


def test_line_separators_of_unicode_may_stand_in_a_text(tmp_path):
    pair = {**PAIR, "clean": "one\u2028two\x0bthree\x85"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair, ensure_ascii=False), encoding="utf-8")
    assert read_pairs_file(tmp_path / "pairs.jsonl") == [pair]


@pytest.mark.parametrize(
    "content, said",
    [
        (f"{LINE}\n{{broken\n", "line 2: not JSON"),
        ("", "holds no pairs"),
        ("[1]", "line 1: '\\[1\\]' is no object"),
        (json.dumps({**PAIR, "corrupt": ""}), "line 1: corrupt is missing"),
        (json.dumps({**PAIR, "clean": 3}), "line 1: clean is 3"),
        (json.dumps({**PAIR, "answer": 5}), "line 1: answer is 5"),
        (json.dumps({**PAIR, "counterfactual": [1]}), "line 1: counterfactual is \\[1\\]"),
        (LINE.replace("Japan", "Japán").encode("latin-1"), "not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_by_its_line(tmp_path, content, said):
    (tmp_path / "pairs.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=said):
        read_pairs_file(tmp_path / "pairs.jsonl")


def test_labelled_texts_are_read_the_same_way(tmp_path):
    (tmp_path / "rows.jsonl").write_text('\ufeff{"text": "a\u2028b", "label": 1}\r\n', encoding="utf-8", newline="")
    assert read_rows(tmp_path / "rows.jsonl") == [{"text": "a\u2028b", "label": 1}]
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": 1}\n{"text": "a"}\n')
    with pytest.raises(UserError, match="line 2: has no label"):
        read_rows(tmp_path / "rows.jsonl")


def test_half_a_character_is_an_error_and_not_a_crash():
    tokenizer = load_model("builtin:tiny", device="cpu").tokenizer
    for read in (
        lambda text: encode(tokenizer, text, context=None, name="clean"),
        lambda text: answer_ids(tokenizer, "The", text, name="answer"),
    ):
        with pytest.raises(UserError, match="half a character at place 1"):
            read("a\ud83d")


def test_only_what_can_be_done_is_offered_for_long_answers():
    tokenizer = load_model("builtin:tiny", device="cpu").tokenizer
    for as_whole in (True, False):
        with pytest.raises(UserError) as caught:
            answer_ids(tokenizer, "The", " Paris and Rome", name="answer", as_whole=as_whole)
        assert ("'sequence'" in caught.value.hint) == as_whole and "'first'" in caught.value.hint
