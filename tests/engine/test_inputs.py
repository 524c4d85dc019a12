"""Inputs that need no model are checked with the manifest: before one is loaded, and before there is a folder."""

from __future__ import annotations

import json
import sys

import pytest

from interp_tui_engine import manifest
from interp_tui_engine.errors import ManifestError

FACT = {"clean": "The capital of France is", "corrupt": "The capital of Japan is", "answer": " Paris", "counterfactual": " Tokyo"}
PROMPT = {"text": "The capital of France is", "criterion_score": 1.0, "answer": " Paris", "wrong": [" Tokyo"]}
OTHER = {"text": "The unit of force is the", "criterion_score": 0.0, "answer": " newton", "wrong": [" volt"]}
FEATURES = {"criterion": "c", "prompts": "in.jsonl"}
PAIRS = ["causal_trace", "activation_patch", "attribution_patch", "circuit"]


def problems(folder, kind, params, rows=None, **tables):
    """What is wrong with the manifest, given a file of these rows."""
    if rows is not None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / "in.jsonl").write_text("".join(line + "\n" for line in lines))
    try:
        manifest.resolve({"kind": kind, "name": "t", "model": {"source": "builtin:tiny"}, "params": params, **tables}, base=folder)
    except ManifestError as error:
        return "\n".join(map(str, error.problems))
    return ""


def without(row, *keys, **changes):
    return {key: value for key, value in (row | changes).items() if key not in keys}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "rows, said",
    [
        ([FACT, "{not json"], "line 2: not JSON"),
        ([], "holds no pairs"),
        ([FACT, without(FACT, "answer")], "line 2: answer is missing"),
        ([FACT, without(FACT, "counterfactual")], "params.pairs: pair 2: counterfactual is missing"),
        ([without(FACT, corrupt=FACT["clean"])], "pair 1: clean and corrupt are the same text"),
        ([FACT, without(FACT, answer="Tokyo")], "pair 2: answer and counterfactual share 'Tokyo'"),
    ],
)
def test_files_of_pairs(tmp_path, kind, rows, said):
    assert said in problems(tmp_path, kind, {"pairs": "in.jsonl"}, rows)
    assert problems(tmp_path, kind, {"pairs": "in.jsonl"}, [FACT]) == ""
    assert problems(tmp_path, kind, {"pairs": "in.jsonl", "metric": "prob"}, [without(FACT, "counterfactual")]) == ""


def test_pairs_in_the_manifest_and_subjects_of_noise(tmp_path):
    assert "are the same text" in problems(tmp_path, "circuit", without(FACT, corrupt=FACT["clean"]))
    assert "share 'Tokyo'" in problems(tmp_path, "circuit", without(FACT, answer=[" Paris", " Tokyo"]))
    noise = {"pairs": "in.jsonl", "corruption": "noise", "subject": "France"}
    rows = [FACT, without(FACT, clean="The capital of Peru is"), without(FACT, clean="The capital of Peru is", subject="Peru")]
    said = problems(tmp_path, "causal_trace", noise, rows)
    assert "pair 2: the subject 'France' does not stand in" in said and "pair 3" not in said
    wrong = [without(FACT, "counterfactual")] * 40
    assert problems(tmp_path, "circuit", {"pairs": "in.jsonl"}, wrong).count("pair ") == 5, "the first are enough"


@pytest.mark.parametrize("kind", ["interventions", "steer", "contrast", "attribution_graph"])
def test_prompts_without_answers(tmp_path, kind):
    params = {**FEATURES, **({"targets": ["L2:D95"]} if kind in ("interventions", "steer") else {})}
    if kind == "attribution_graph":
        params = {"report": "builtin:left", "prompts": "in.jsonl"}
    positives, negatives = ([{**row, "text": f"{i}. {row['text']}"} for i in range(7)] for row in (PROMPT, OTHER))
    bare = [without(row, "answer") for row in negatives]
    assert "no answer, which metric = 'log" in problems(tmp_path, kind, params, positives + bare)
    assert problems(tmp_path, kind, params, positives + negatives) == ""
    assert problems(tmp_path, kind, {**params, "answers": [" Rome"]}, positives + (bare if kind == "contrast" else negatives)) == ""
    assert "line 2: text is empty" in problems(tmp_path, kind, params, [PROMPT, without(OTHER, text=" ")])
    assert "0 negative prompts" in problems(tmp_path, kind, params, positives)
    if kind == "contrast":
        shared = {**params, "shared_answers": True}
        assert "no positive prompt has an " in problems(tmp_path, kind, shared, [without(row, "answer") for row in positives] + negatives)
        assert problems(tmp_path, kind, shared, positives + bare) == ""
        assert "5 different positive prompts are too few for three parts" in problems(tmp_path, kind, shared, positives[:5] * 2 + negatives)
    if kind in ("interventions", "steer"):
        assert "no wrong answers" in problems(tmp_path, kind, params, positives + [without(row, "wrong") for row in negatives])
        assert "1 positive and 7 negative prompts" in problems(tmp_path, kind, params, [PROMPT, PROMPT, *negatives]), "a copy is none more"


def test_features_that_are_none_and_their_files(tmp_path):
    given = {"criterion": "c", "prompts": "builtin:capital"}
    said = problems(tmp_path, "interventions", {**given, "targets": ["D95", "SAE:L2:F417"]})
    assert "params.targets.0: 'D95' is no feature that can be changed" in said and "a direction as direction:NAME:L2:x" in said
    assert "params.targets.1: 'SAE:L2:F417' is a latent, but features = 'hidden'; set features = 'sae'" in said
    (tmp_path / "empty").mkdir()
    sae = {**given, "targets": ["SAE:L2:F417"], "features": "sae", "sae": "empty"}
    assert "params.sae" in problems(tmp_path, "interventions", sae) and "no dictionary in" in problems(tmp_path, "steer", sae)
    (tmp_path / "report.json").write_text("{}")
    for report, wrong in (("empty", "holds no report.json"), ("report.json", "cards")):
        said = problems(tmp_path, "interventions", {**given, "report": report})
        assert "params.report" in said and wrong in said
        assert wrong in problems(tmp_path, "attribution_graph", {"report": report})
    directions = {**given, "targets": ["direction:x:L2:y"], "features": "direction", "directions": "empty"}
    assert "holds no direction.safetensors" in problems(tmp_path, "interventions", directions)


def test_rows_of_probes_and_records(tmp_path):
    assert "line 1: has no label" in problems(tmp_path, "probe", {"file": "in.jsonl"}, [{"text": "a"}])
    assert "holds no rows" in problems(tmp_path, "probe", {"file": "in.jsonl"}, [])
    records = {**FEATURES, "layers": [1]}
    assert "criterion_score" in problems(tmp_path, "records", records, [{"text": "a"}])
    assert problems(tmp_path, "records", records, [PROMPT]) == ""


def damaged(folder):
    """Files that are not what they are given as."""
    for name, text in {"bad.jsonl": "{nope", "junk": "junk", "no.jsonl": "", "rows.jsonl": '{"text": "a"}', "r.json": "{}"}.items():
        (folder / name).write_text(text + "\n" * bool(text))
    for name in ("junk.safetensors", "junk.npy"):
        (folder / name).write_text("junk")
    (folder / "empty").mkdir()


@pytest.mark.parametrize(
    "kind, params, said",
    [
        ("inspect", {"criterion": "c", "records": ["bad.jsonl"]}, "params.records.0"),
        ("inspect", {"criterion": "c", "records": ["no.jsonl"]}, "no records"),
        ("inspect", {"criterion": "c", "records": ["empty"]}, "holds no records.jsonl"),
        ("inspect", {"criterion": "c", "backend": "features", "features": "rows.jsonl"}, "params.features"),
        ("inspect", {"criterion": "c", "backend": "toy", "interventions": "rows.jsonl"}, "params.interventions"),
        ("inspect", {"criterion": "c", "backend": "sae", "sae": "empty", "prompts": "builtin:capital"}, "no dictionary in"),
        ("records", {"prompts": "builtin:capital", "features": "sae", "sae": "empty"}, "no dictionary in"),
        ("records", {"prompts": "builtin:capitol", "layers": [1]}, "did you mean builtin:capital?"),
        ("interventions", {**FEATURES, "prompts": "builtin:capital", "features": "direction", "directions": "junk.safetensors",
                           "targets": ["direction:x:L2:y"]}, "no safetensors file"),
        ("match", {"left": "r.json", "right": "builtin:right"}, "params.left"),
        ("match", {"left": "builtin:left", "right": "empty"}, "holds no report.json"),
        ("train_sae", {"records": "bad.jsonl"}, "params.records"),
        ("train_sae", {"store": "junk.npy"}, "holds no array"),
        ("train_sae", {"store": "empty"}, "no Zarr array"),
        ("steer_text", {"direction": "junk.safetensors", "prompts": ["a"]}, "no safetensors file"),
        ("steer_text", {"direction": "empty", "prompts": ["a"]}, "holds no direction.safetensors"),
        ("steer_text", {"toward": ["a"], "away": ["a"], "prompts": ["a"], "site": "L2.resid_post"}, "no way from one to the other"),
        ("steer_text", {"toward": ["a"], "away": ["b"], "prompts": [""], "site": "L2.resid_post"}, "params.prompts.0: is empty"),
        ("logit_lens", {"prompt": "a", "lens": "tuned", "tuned_from": "junk.safetensors"}, "params.tuned_from"),
        ("logit_lens", {"prompt": "a", "answer": ""}, "params.answer: is empty"),
        ("probe", {"examples": [{"text": f"t{i}", "label": "a"} for i in range(9)]}, "labels are 'a': there is nothing to tell apart"),
        ("probe", {"examples": [{"text": f"t{i}", "label": i % 2} for i in range(6)]}, "3 rows of class '0': fewer than 5 tell nothing"),
        ("probe", {"examples": [{"text": "ab"[i % 2], "label": i % 2} for i in range(20)]}, "2 texts stand there more than once"),
    ],
)  # fmt: skip
def test_files_and_texts_that_are_not_what_they_are_given_as(tmp_path, kind, params, said):
    damaged(tmp_path)
    assert said in problems(tmp_path, kind, params)


@pytest.mark.parametrize(
    "data, said",
    [
        ({"source": "no.jsonl"}, "is empty: it holds no text"),
        ({"source": "bad.jsonl"}, "line 1"),
        ({"source": "rows.jsonl", "text_column": "body"}, "has no column 'body'"),
        ({"source": "builtin:pros"}, "choose from builtin:"),
        ({"source": "builtin:prose", "split": "test"}, "no split 'test'"),
    ],
)
def test_texts_that_are_none(tmp_path, data, said):
    damaged(tmp_path)
    for kind, params in (
        ("activations", {"sites": ["resid_post"]}),
        ("train_sae", {"layer": 2}),
        ("llc", {"batch_size": 1, "lr": 1e-4, "n_beta": 10.0}),
    ):
        assert said in problems(tmp_path, kind, params, data={"train": {"context": 16, **data}})
        assert problems(tmp_path, kind, params, data={"train": {"context": 16, "source": "rows.jsonl"}}) == ""


def test_what_is_to_come_from_a_step_is_not_looked_for(tmp_path):
    for kind, params in (("match", {"left": "${a}", "right": "${b}"}), ("inspect", {"criterion": "c", "records": ["${a}"]})):
        assert problems(tmp_path, kind, params) == ""


def test_files_are_read_again_only_when_they_change_and_without_torch(tmp_path, monkeypatch):
    from interp_tui_engine.data import prompts

    read, reads = prompts.read_pairs_file, []
    monkeypatch.setattr(prompts, "read_pairs_file", lambda path: reads.append(path) or read(path))
    for _ in range(3):
        assert problems(tmp_path, "circuit", {"pairs": "in.jsonl"}, [FACT] if not reads else None) == ""
    assert len(reads) == 1
    assert "pair 2: counterfactual" in problems(tmp_path, "circuit", {"pairs": "in.jsonl"}, [FACT, without(FACT, "counterfactual")])
    assert len(reads) == 2


def test_the_checks_need_no_torch():
    import subprocess

    code = (
        "import sys; from interp_tui_engine import manifest; "
        "manifest.resolve({'kind': 'contrast', 'model': {}, 'params': {'criterion': 'c', 'prompts': 'builtin:capital'}}); "
        "pair = {'clean': 'a b', 'corrupt': 'a c', 'answer': 'd', 'counterfactual': 'e'}; "
        "manifest.resolve({'kind': 'circuit', 'model': {}, 'params': pair}); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
