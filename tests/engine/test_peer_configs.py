"""Run files of interp and interp-lab are manifests too: the same run, or a sentence that says what cannot be translated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine import manifest
from interp_tui_engine.errors import ManifestError, UserError

FACTS = """facts:
  capitals:
    clean_prompt: "The capital of France is"
    corrupt_prompt: "The capital of Japan is"
    answer: " Paris"
    counterfactual_answer: " Tokyo"
    subject: France
"""
RECORD = {"model": "m", "criterion_score": 1.0, "text": "t", "features": {"L0:D1": 1.0}}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_interps_lens(tmp_path: Path) -> None:
    text = 'model: builtin:tiny\nbackend: auto\nseed: 3\nprompt: "The capital of France is"\nanswer: " Paris"\n'
    request = manifest.load(write(tmp_path, "lens.yaml", text))
    assert (request.kind, request.name, request.seed, request.model.source) == ("logit_lens", "lens", 3, "builtin:tiny")
    assert (request.params.prompt, request.params.answer) == ("The capital of France is", " Paris")
    assert manifest.load(tmp_path / "lens.yaml", ["seed=9"]).seed == 9


def test_interps_trace_finds_its_fact(tmp_path: Path) -> None:
    write(tmp_path, "data/facts.yaml", FACTS)
    path = write(tmp_path, "configs/trace.yaml", "model: builtin:tiny\nfact_id: capitals\nmetric: answer_prob\n")
    request = manifest.load(path)
    assert request.kind == "causal_trace" and request.params.metric == "prob" and list(request.params.sites) == ["resid_post"]
    assert (request.params.clean, request.params.counterfactual) == ("The capital of France is", " Tokyo")
    with pytest.raises(UserError, match=r"has no fact 'moons'\n.*it has capitals"):
        manifest.load(write(tmp_path, "configs/other.yaml", "model: builtin:tiny\nfact_id: moons\n"))
    with pytest.raises(UserError, match=r"there is no .*facts\.yaml"):
        manifest.load(write(tmp_path / "far" / "away" / "from" / "it", "trace.yaml", "model: builtin:tiny\nfact_id: capitals\n"))


FORMS: dict[str, str] = {
    "run.json": json.dumps({"out": "reports/run", "model": "m", "criterion": "c", "backend": "records", "records": "r.jsonl", "top_k": 5}),
    "run.toml": 'out = "reports/run"\nmodel = "m"\ncriterion = "c"\nbackend = "records"\nrecords = "r.jsonl"\ntop_k = 5\n',
    "run.yaml": "out: reports/run\nmodel: m\ncriterion: c\nbackend: records\nrecords: r.jsonl\ntop_k: 5\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_interp_labs_run_in_each_of_its_forms(tmp_path: Path, name: str) -> None:
    write(tmp_path, "r.jsonl", json.dumps(RECORD) + "\n")
    request = manifest.load(write(tmp_path, name, FORMS[name]))
    assert (request.kind, request.params.criterion, request.params.model, request.params.cards) == ("inspect", "c", "m", 5)
    assert request.params.records == [str(tmp_path / "r.jsonl")]


def test_files_from_the_working_folder_as_interp_lab_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "r.jsonl", json.dumps(RECORD) + "\n")
    path = write(tmp_path, "configs/run.json", FORMS["run.json"])
    monkeypatch.chdir(tmp_path)
    assert manifest.load(path).params.records == [str(tmp_path / "r.jsonl")]


def test_steps_are_a_pipeline(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"name": "left side", "command": "inspect", "args": {"model": "toy/a", "criterion": "c", "backend": "toy", "out": "reports/left"}},
        {"name": "right", "command": "inspect", "args": {"model": "toy/b", "criterion": "c", "backend": "toy", "out": "reports/right"}},
        {"command": "compare", "args": {"left": "reports/left/report.json", "right": "reports/right", "top_k": 4}},
    ]
    request = manifest.load(write(tmp_path, "all.json", json.dumps({"out": "reports", "steps": steps})))
    assert request.kind == "pipeline" and [step.kind for step in request.step] == ["inspect", "inspect", "match"]
    assert request.step[2].params["left"] == "${left-side}" and request.step[2].params["assignment"] == "peer"
    assert request.step[2].params["top"] == 4
    assert [step.params["model"] for step in request.step[:2]] == ["toy/a", "toy/b"], "or both would be one model"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: gpt2\nprompt: x\nanswer: y\nlayers: [1]\n", "layers cannot be translated"),
        ("a: 1\n", "is no run file that is known"),
        ("- 1\n", "holds no table"),
        ("a: [1\n", "cannot read"),
        ("steps: [{command: quant-diff, args: {}}]\n", "no step 'quant-diff' here"),
        ("steps: [{command: inspect, args: [--model, m]}]\n", "no table of args"),
        ("model: m\ncriterion: c\nverbalizer: nla\n", "verbalizer cannot be translated"),
    ],
)
def test_what_cannot_be_translated_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        manifest.load(write(tmp_path, "run.yaml", text))


def test_what_is_wrong_in_it_is_named_as_in_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"params\.cards"):
        manifest.load(write(tmp_path, "run.yaml", "model: m\ncriterion: c\nbackend: toy\ntop_k: 0\n"))
