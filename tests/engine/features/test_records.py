"""Evidence files: read as interp-lab writes them, written back alike, in blocks; and every way they can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp_tui_engine.errors import UserError
from interp_tui_engine.features import evidence, ids, interventions, jsonl, plain_records, prompts, records
from interp_tui_engine.features.column_store import ColumnStore
from interp_tui_engine.features.record_block import RowBlock
from interp_tui_engine.features.records import RecordReader

ROW: dict[str, Any] = {"model": "m", "prompt_id": "a", "text": "some text", "criterion_score": 1.0, "features": {"L6:D5": 0.5}}
LISTED: dict[str, Any] = {
    "model": "m",
    "id": "b",
    "text": "other",
    "criterion_score": 0,
    "features": [{"feature_id": "L18:F1", "activation": 0.9, "label": "tests", "layer": 3}, {"feature_id": "L6:D5", "value": 2}],
}


def lines(path: Path, *rows: Any) -> Path:
    path.write_bytes(
        b"\n".join(row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows)
    )
    return path


def read(path: Path, **options: Any) -> tuple[RecordReader, list[RowBlock]]:
    reader = RecordReader([path], **options)
    return reader, list(reader.blocks())


def test_both_forms_of_features_are_read(tmp_path: Path) -> None:
    reader, (block,) = read(lines(tmp_path / "r.jsonl", ROW, "", LISTED))
    assert reader.names == ["L6:D5", "L18:F1"] and reader.model == "m" and reader.rows == 2
    assert block.lines.tolist() == [1, 3] and block.scores.tolist() == [1.0, 0.0]
    assert block.features.tolist() == [0, 1, 0] and block.values.tolist() == [0.5, 0.9, 2.0] and block.starts.tolist() == [0, 1, 3]
    assert block.prompt_ids == ["a", "b"] and reader.about["L18:F1"] == {"label": "tests", "layer": 3}
    assert reader.layer("L18:F1") == 3, "what the record says comes before what the id says"
    assert reader.layer("L6:D5") == 6


def test_gzip_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\n"))
    assert read(path)[0].names == ["L6:D5"]


def test_writing_gives_equal_bytes_for_equal_rows_and_no_file_when_it_fails(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        jsonl.write(tmp_path / name, [ROW, LISTED])
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert [row for _, row in jsonl.rows(tmp_path / "a.jsonl.gz")] == [ROW, LISTED]
    with pytest.raises(UserError, match=r"row 2 .*not finite: criterion_score"):
        jsonl.write(tmp_path / "c.jsonl", [ROW, ROW | {"criterion_score": float("nan")}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl.gz", "b.jsonl.gz"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"model": "m", ', "line 2: not JSON"),
        ("[1, 2]", "line 2: a list, not an object"),
        (ROW | {"criterion_score": "high"}, "line 2: criterion_score is text 'high', not a number"),
        (ROW | {"criterion_score": True}, "line 2: criterion_score is a truth value"),
        ({k: v for k, v in ROW.items() if k != "criterion_score"}, "line 2: criterion_score is missing"),
        ({k: v for k, v in ROW.items() if k != "model"}, "line 2: model is missing"),
        ({k: v for k, v in ROW.items() if k != "features"}, "line 2: features is missing"),
        (ROW | {"features": "x"}, "line 2: features is str, neither"),
        ('{"model": "m", "criterion_score": NaN, "features": {}}', "line 2: criterion_score is nan, not a finite"),
        ('{"model": "m", "criterion_score": 1.0, "features": {"L6:D5": NaN}}', r"line 2: features\['L6:D5'\] is nan"),
        ('{"model": "m", "criterion_score": 1.0, "features": {"L6:D5": 0.5, "L6:D6": -Infinity}}', r"line 2: features\['L6:D6'\] is -inf"),
        (ROW | {"features": {"L6:D5": None}}, r"line 2: features\['L6:D5'\] is null None"),
        (ROW | {"features": [{"activation": 1.0}]}, r"line 2: features\[0\].feature_id is missing"),
        (ROW | {"features": [{"feature_id": "a"}]}, r"line 2: features\[0\].activation is missing"),
        (ROW | {"features": [{"feature_id": "a", "value": 1}, {"feature_id": "a", "value": 2}]}, "line 2: features names 'a' twice"),
        (ROW | {"features": [3]}, r"line 2: features\[0\] is 3, not an object"),
        (ROW | {"model": "gpt2"}, "line 2: model is 'gpt2', but rows before are of 'm'"),
        (ROW | {"feature_metadata": {"a": 3}}, "line 2: feature_metadata must be"),
        (ROW | {"text": ["x"]}, "line 2: text is a list"),
        (ROW | {"features": {"a": 10**400}}, r"line 2: features\['a'\] is 1000000"),
        (ROW | {"features": {"a": 1e300}}, r"line 2: features\['a'\] is 1e\+300: larger than 1e\+30"),
        (ROW | {"criterion_score": -1e40}, r"line 2: criterion_score is -1e\+40: larger than 1e\+30"),
        (ROW | {"criterion_score": 10**400}, "line 2: criterion_score is 1000000"),
        (ROW | {"features": [{"feature_id": ["x"], "activation": 1}]}, "line 2: feature_id is a list"),
        (
            ROW | {"features": [{"feature_id": 3, "activation": 1}, {"feature_id": "3", "activation": 1}]},
            "line 2: features names '3' twice",
        ),
        (ROW | {"feature_metadata": {"a": {"decoder_signature": "no"}}}, "line 2: decoder_signature is text, not a list"),
        (ROW | {"feature_metadata": {"a": {"layer": "x"}}}, "line 2: layer is text 'x'"),
        (b"\xff\xfe" + json.dumps(ROW).encode("utf-16-le"), "line 2: not JSON"),
        ("[" * 5000, "line 2: not JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) and "line" in value else "",
)
def test_a_bad_row_is_named_with_file_line_and_field(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read(lines(tmp_path / "bad.jsonl", ROW, row))
    assert "bad.jsonl" in caught.value.what


_FIELDS = {
    "model": st.sampled_from(["m", "m", "m", "n", 3]),
    "text": st.sampled_from(["a", "b", "ünï", "", None, 4]),
    "criterion_score": st.sampled_from([0, 1.0, 0.25]),
    "prompt_id": st.sampled_from(["p", "q", None, 7]),
    "id": st.sampled_from(["i", None]),
    "features": st.one_of(
        st.dictionaries(st.sampled_from("abcd"), st.one_of(st.integers(-3, 3), st.floats(-9, 9)), max_size=4),
        st.just([{"feature_id": "a", "activation": 1.5, "layer": 3}]),
    ),
    "feature_metadata": st.sampled_from([None, {}, {"a": {"layer": 2}}, {"b": {"label": "x"}}]),
    "metadata": st.sampled_from([None, {}, {"position": 1}, {"token_index": [2]}, "x"]),
}
_USUAL = st.fixed_dictionaries({key: _FIELDS[key] for key in ("text", "criterion_score", "features")} | {"model": st.just("m")})
_ODD = st.fixed_dictionaries({}, optional=_FIELDS)


@given(st.lists(st.one_of(_USUAL, _USUAL, _ODD), min_size=1, max_size=8), st.sampled_from([None, "m"]), st.booleans())
def test_plain_rows_read_by_column_are_what_the_careful_way_makes_of_them(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, model: str | None, ruled: bool
) -> None:
    path = lines(tmp_path_factory.mktemp("plain") / "r.jsonl", *rows)
    found: list[Any] = []
    for careful in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if careful:
                patch.setattr(plain_records, "plain", lambda *_, **__: None)
            reader = RecordReader([path], model=model, scorer=len if ruled else None)
            try:
                blocks = list(reader.blocks(3))
            except UserError as error:
                found.append((error.what, error.hint))
                continue
        told = [[part.tolist() if isinstance(part, np.ndarray) else part for part in block] for block in blocks]
        found.append((told, reader.names, reader.about, reader.rows, reader.model, reader.other_models))
    assert found[0] == found[1]


def test_a_file_that_is_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="no records"):
        read(lines(tmp_path / "empty.jsonl", ""))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(ROW).encode() * 100)[:40])
    with pytest.raises(UserError, match="damaged gzip"):
        read(tmp_path / "cut.jsonl.gz")


def test_one_model_of_several_is_picked_by_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", ROW, ROW | {"model": "gpt2", "features": {"x": 1.0}})
    reader, (block,) = read(path, model="gpt2")
    assert reader.names == ["x"] and len(block.scores) == 1 and reader.other_models == {"m": 1}
    with pytest.raises(UserError, match="did you mean 'gpt2'"):
        read(path, model="gtp2")


def test_repeated_rows_are_refused_and_tokens_of_one_prompt_are_not(tmp_path: Path) -> None:
    def check(*rows: Any) -> None:
        _, (block,) = read(lines(tmp_path / "r.jsonl", *rows))
        records.check_repeats([tmp_path / "r.jsonl"], block.keys, block.lines)

    check(ROW, LISTED, ROW | {"prompt_id": None}, ROW | {"prompt_id": None})
    check(ROW | {"metadata": {"position": 1}}, ROW | {"metadata": {"position": 2}})
    with pytest.raises(UserError, match=r"line 3 repeats line 1: .*\(1 such rows\)"):
        check(ROW, LISTED, ROW)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["L0:D0", "L0:D1", "SAE:L2:F9", "x"]), st.floats(-1e6, 1e6, allow_nan=False, width=32), max_size=4),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 5),
    st.booleans(),
)
def test_columns_are_the_matrix_that_was_written(tmp_path_factory: pytest.TempPathFactory, rows: Any, size: int, spilled: bool) -> None:
    folder = tmp_path_factory.mktemp("spool")
    jsonl.write(folder / "r.jsonl", (records.record("m", f"p{i}", "t", 0.0, features) for i, features in enumerate(rows)))
    reader = RecordReader([folder / "r.jsonl"])
    spool = ColumnStore(folder / "scratch", 0 if spilled else 1 << 20)
    for block in reader.blocks(size):
        spool.add(block)
    for index, name in enumerate(reader.names):
        column = spool.column(index)
        dense = np.full(len(rows), column.implicit + column.offset)
        dense[column.rows] = column.values.astype(np.float64) + column.offset
        expected = [row.get(name, 0.0) for row in rows]
        assert dense == pytest.approx(expected, rel=2e-7, abs=1e-6 * max(map(abs, expected)))
    spool.close()
    assert not (folder / "scratch").exists()


def test_a_large_offset_costs_no_precision(tmp_path: Path) -> None:
    small = np.random.default_rng(0).normal(size=50)
    jsonl.write(tmp_path / "r.jsonl", (records.record("m", f"p{i}", "t", 0.0, {"a": 1e7 + x}) for i, x in enumerate(small.tolist())))
    reader = RecordReader([tmp_path / "r.jsonl"])
    spool = ColumnStore(tmp_path / "scratch", 1 << 20)
    for block in reader.blocks():
        spool.add(block)
    column = spool.column(0)
    assert np.argsort(column.values).tolist() == np.argsort(small).tolist(), "as float32, 1e7 + x would all be equal"


def test_prompts_come_back_as_they_were(tmp_path: Path) -> None:
    path = lines(tmp_path / "p.jsonl", {"text": "a b", "criterion_score": 1, "answer": " x"}, {"text": "c", "criterion_score": 0, "id": 7})
    found = prompts.read(path)
    assert [(p.id, p.score, p.extra) for p in found] == [("line-1", 1.0, {"answer": " x"}), ("7", 0.0, {})]
    prompts.write(tmp_path / "q.jsonl", found)
    assert prompts.read(tmp_path / "q.jsonl") == found
    with pytest.raises(UserError, match="line 2: prompt_id 'a' stands on line 1 too"):
        prompts.read(lines(path, {"text": "a", "criterion_score": 1, "id": "a"}, {"text": "b", "criterion_score": 1, "id": "a"}))
    with pytest.raises(UserError, match="line 1: text is empty"):
        prompts.read(lines(path, {"text": " ", "criterion_score": 1}))


def test_features_of_a_dump(tmp_path: Path) -> None:
    row = {"feature_id": "L18:F104921", "model": "m", "label": "x", "examples": ["a"], "activation_signature": [0.9, 1]}
    path = lines(tmp_path / "f.jsonl", row, row | {"model": "n"})
    (found,) = evidence.read(path, "m")
    assert found.layer == 18 and found.activation_signature == (0.9, 1.0)
    evidence.write(tmp_path / "g.jsonl", [found])
    assert evidence.read(tmp_path / "g.jsonl") == [found]
    for rows, said in (
        ([row, row], "line 2: feature_id 'L18:F104921' stands on line 1 too"),
        ([row | {"decoder_signature": [1, "x"]}], r"decoder_signature\[1\] is text"),
        ([row | {"layer": 1.5}], "layer is a number 1.5, not a whole"),
    ):
        with pytest.raises(UserError, match=said):
            evidence.read(lines(tmp_path / "bad.jsonl", *rows))
    with pytest.raises(UserError, match="features of 2 models: m, n"):
        evidence.read(path)


def test_interventions_have_a_direction_and_a_criterion(tmp_path: Path) -> None:
    row = {"model": "m", "feature_id": "f", "intervention": "Ablate", "baseline_score": 0.9, "intervention_score": 0.3, "criterion": "A  b"}
    path = lines(tmp_path / "i.jsonl", row, row | {"intervention": "steer", "criterion": None})
    one, two = interventions.read(path)
    assert one.effect == pytest.approx(0.6) and two.effect == pytest.approx(-0.6)
    assert interventions.of_criterion([one], "a B", "i.jsonl") == [one]
    assert interventions.of_criterion([one, two], "else", "i.jsonl") == [two], "a row without a criterion serves any"
    with pytest.raises(UserError, match="are for another criterion: 'A  b'"):
        interventions.of_criterion([one], "else", "i.jsonl")
    interventions.write(tmp_path / "j.jsonl", [one, two])
    assert interventions.read(tmp_path / "j.jsonl") == [one, two]
    with pytest.raises(UserError, match=r"line 1: intervention 'ablte' has no known direction(.|\n)*did you mean 'ablate'"):
        interventions.read(lines(path, row | {"intervention": "ablte"}))


@pytest.mark.parametrize(
    ("name", "layer"),
    [("L6:D512", 6), ("SAE:L12:F3", 12), ("direction:contrast:L6:x", 6), ("blocks.L3.x", 3), ("FL7", None), ("gpt2@6-res:650", None)],
)
def test_layers_in_ids(name: str, layer: int | None) -> None:
    assert ids.layer_of(name) == layer
    known = ids.parse(name)
    assert known is None or known.layer == layer
