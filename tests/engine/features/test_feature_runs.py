"""Interventions on the embedded model: against plain hooks, resumed, and with features that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interp_tui_engine import atomic
from interp_tui_engine.data import facts
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.experiments import _features
from interp_tui_engine.features import interventions, prompts
from interp_tui_engine.features.prompts import Prompt
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted

TINY = {"model": {"source": "builtin:tiny", "revision": "final"}}
CAPITALS = [
    Prompt(f"The capital of {c} is", 1.0, c, {"answer": a, "wrong": [" Rome"]}) for c, a in (("France", " Paris"), ("Japan", " Tokyo"))
]
OTHERS = [
    Prompt("The color of grass is", 0.0, "grass", {"answer": " green", "wrong": [" red"]}),
    Prompt("Two", 0.0, "two", {"answer": " a", "wrong": [" b"]}),
]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model("builtin:tiny", revision="final", device="cpu")


@pytest.fixture
def file(tmp_path: Path) -> str:
    prompts.write(tmp_path / "p.jsonl", CAPITALS + OTHERS)
    return "p.jsonl"


def residual(model: LoadedModel, text: str, layer: int) -> torch.Tensor:
    """The residual stream after a layer at the last token, as transformers itself gives it."""
    ids = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        return model.module(ids, output_hidden_states=True).hidden_states[layer + 1][0]


def hooked(model: LoadedModel, hook: Any) -> float:
    """Log-odds of Paris against Rome after the first prompt, with torch's own hook on block 1."""
    paris, rome = (model.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (" Paris", " Rome"))
    handle = model.module.model.layers[1].register_forward_hook(hook)
    with torch.no_grad():
        logits = model.module(torch.tensor([model.tokenizer(CAPITALS[0].text, add_special_tokens=False)["input_ids"]])).logits[0, -1]
    handle.remove()
    return float(logits[paris] - logits[rome])


def sae(folder: Path, width: int, latents: int, layer: int = 1) -> str:
    """A ReLU SAE with random weights in the layout of SAE Lens."""
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    decoder = torch.nn.functional.normalize(torch.randn(latents, width, generator=rng), dim=1)
    save_file(
        {"W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.full((latents,), -0.5), "b_dec": torch.zeros(width)},
        folder / "sae_weights.safetensors",
    )
    about = {"architecture": "standard", "d_in": width, "d_sae": latents, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True}
    metadata = {"hook_name": f"blocks.{layer}.hook_resid_post", "model_name": "builtin:tiny"}
    (folder / "cfg.json").write_text(json.dumps(about | {"metadata": metadata}))
    return str(folder)


def test_ablation_is_what_a_plain_hook_does(run_kind: Any, model: LoadedModel, file: str) -> None:
    result, _, folder = run_kind(
        "interventions", tables=TINY, criterion="c", prompts=file, targets=["L1:D3"], to="zero", controls=["placebo"]
    )
    rows = interventions.read(folder.path / "interventions.jsonl")

    def zero(module: Any, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[:, -1, 3] = 0.0
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    own = next(row for row in rows if row.prompt_id == "France" and row.control is None)
    assert own.baseline == pytest.approx(hooked(model, lambda module, args, output: None), abs=1e-4)
    assert own.changed == pytest.approx(hooked(model, zero), abs=1e-4)
    assert abs(own.effect) > 1e-3, "or the test would show nothing"
    assert all(row.effect == 0 for row in rows if row.control == "placebo")
    (line,) = result.values["effects"]
    assert line["effect"] == pytest.approx(np.mean([row.effect for row in rows if row.control is None])) and line["rows"] == 2


def test_an_sae_latent_is_changed_with_its_error_kept(run_kind: Any, model: LoadedModel, file: str, tmp_path: Path) -> None:
    """Amplifying by 1 changes nothing, though the SAE reconstructs nothing well; ablating takes away a·d."""
    folder = sae(tmp_path / "sae", 128, 64)
    request = {"tables": TINY, "criterion": "c", "prompts": file, "features": "sae", "sae": folder}
    from interp_tui_engine.dictionaries import sae_lens

    codes = sae_lens.load(Path(folder)).encode(residual(model, CAPITALS[0].text, 1)[-1])
    name = f"SAE:L1:F{int(codes.argmax())}"
    same, _, _ = run_kind("interventions", targets=[name], verb="amplify", strengths=[1.0, 2.0], controls=[], **request)
    effects = {line["strength"]: line["effect"] for line in same.values["effects"]}
    assert effects[1.0] == 0.0 and effects[2.0] != 0.0
    gone, _, run = run_kind("interventions", targets=[name], controls=[], **request)
    _, rows = gone, interventions.read(run.path / "interventions.jsonl")
    decoder = sae_lens.load(Path(folder)).weights.decoder[codes.argmax()]

    def without(module: Any, args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, -1] -= codes.max() * decoder
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    assert rows[0].changed == pytest.approx(hooked(model, without), abs=1e-4)


def test_controls_are_of_the_same_kind(run_kind: Any, file: str) -> None:
    result, _, folder = run_kind("interventions", tables=TINY, criterion="c", prompts=file, targets=["L2:D95", "L2:D30"], draws=2)
    rows = interventions.read(folder.path / "interventions.jsonl")
    kinds = [row.control for row in rows if row.feature_id == "L2:D95" and row.prompt_id == "France"]
    assert sorted(map(str, kinds)) == ["None", *["matched_frequency"] * 2, *["matched_norm"] * 2, "random", "random"]
    changed = {row.metadata["changed"] for row in rows if row.control in ("random", "matched_frequency")}
    assert not changed & {"L2:D95", "L2:D30"}, "no control changes a feature that is under test"
    assert {line["feature_id"] for line in result.values["effects"]} == {"L2:D95", "L2:D30"}


def test_the_report_of_an_inspect_run_names_the_features(run_kind: Any, file: str, tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "report.json", {"cards": [{"feature_id": "L2:D5"}, {"feature_id": "L3:D6"}, {"feature_id": "L0:D1"}]})
    result, _, _ = run_kind("interventions", tables=TINY, criterion="c", prompts=file, report="report.json", top=2, controls=[])
    assert [line["feature_id"] for line in result.values["effects"]] == ["L2:D5", "L3:D6"]


def test_what_does_not_fit(run_kind: Any, file: str, tmp_path: Path) -> None:
    request = {"tables": TINY, "criterion": "c", "prompts": file}
    with pytest.raises(UserError, match="no feature 'L2:D128'"):
        run_kind("interventions", targets=["L2:D128"], **request)
    with pytest.raises(UserError, match="there is no layer 9"):
        run_kind("interventions", targets=["L9:D1"], **request)
    with pytest.raises(UserError, match="width 64, but these have 128"):
        run_kind("interventions", targets=["SAE:L1:F1"], features="sae", sae=sae(tmp_path / "narrow", 64, 8), **request)
    with pytest.raises(UserError, match="was trained at layer 3"):
        run_kind("interventions", targets=["SAE:L1:F1"], features="sae", sae=sae(tmp_path / "third", 128, 8, 3), **request)
    with pytest.raises(UserError, match="did you mean builtin:capital"):
        run_kind("interventions", tables=TINY, criterion="c", prompts="builtin:capitl", targets=["L2:D1"])
    with pytest.raises(UserError, match="'gpt2@6:650' is no feature that can be changed"):
        run_kind("interventions", targets=["gpt2@6:650"], **request)
    prompts.write(tmp_path / "bare.jsonl", [Prompt("a b", 1.0, "x"), Prompt("a c", 1.0, "z"), Prompt("c d", 0.0, "y")])
    with pytest.raises(UserError, match="prompt 'x' and 2 others have no answer"):
        run_kind("interventions", tables=TINY, criterion="c", prompts="bare.jsonl", targets=["L2:D1"])
    result, _, _ = run_kind(
        "interventions",
        tables=TINY,
        criterion="c",
        prompts="bare.jsonl",
        targets=["L2:D1"],
        metric="prob",
        answers=[" Paris", " Rome"],
        controls=[],
    )
    assert result.values["baseline"] > 0
    with pytest.raises(ManifestError, match=r"strengths\.0: 1e\+30 is more than a run can compute with"):
        run_kind("interventions", targets=["L2:D1"], verb="steer", strengths=[1e30], **request)
    prompts.write(tmp_path / "all.jsonl", [Prompt("a", 1.0, "x"), Prompt("b", 1.0, "y")])
    with pytest.raises(UserError, match="0 negative prompts"):
        run_kind("interventions", tables=TINY, criterion="c", prompts="all.jsonl", targets=["L2:D1"])


def test_facts_are_prompts() -> None:
    found = _features.prompts_of("builtin:capital")
    assert sum(p.score for p in found) == sum(f.relation == "capital" for f in facts.facts()) and len(found) == len(facts.facts())
    france = next(p for p in found if p.id == "capital-France")
    assert france.extra["answer"] == " Paris" and " Paris" not in france.extra["wrong"] and " Tokyo" in france.extra["wrong"]


def result_lines(result: Any) -> list[Any]:
    return list(result.values["effects"])


def test_a_stopped_run_goes_on_with_the_same_numbers(run_kind: Any, file: str, tmp_path: Path) -> None:
    request = {"tables": TINY, "criterion": "c", "prompts": file, "targets": ["L2:D5", "L3:D6"], "draws": 1}
    whole, _, _ = run_kind("interventions", **request)
    polls = iter(["go", "go", "go"])
    with pytest.raises(Interrupted):
        run_kind("interventions", orders=lambda: next(polls, "stop"), **request)
    resumed, events, _ = run_kind("interventions", again=RunFolder(tmp_path / "run-1"), **request)
    assert resumed.digests == whole.digests and resumed.values == whole.values
    told = {event.step: event.values for event in events if getattr(event, "series", "") == "case"}
    assert [told[0], told[1]] == result_lines(resumed), "what was told before the stop is told again, and the last word is the result"


def test_steering_gives_a_curve(run_kind: Any, file: str) -> None:
    result, _, _ = run_kind(
        "steer",
        tables=TINY,
        criterion="c",
        prompts=file,
        targets=["L2:D5"],
        strengths=[-0.01, 0.01, 3.0],
        controls=["matched_norm"],
        draws=1,
    )
    curve = {line["strength"]: line["effect"] for line in result.values["effects"]}
    assert list(curve) == [-0.01, 0.01, 3.0]
    # to first order a push the other way does the opposite; what is left is of second order in 0.01
    assert curve[-0.01] == pytest.approx(-curve[0.01], rel=0.1) and abs(curve[0.01]) > 1e-5
    best = max(result.values["effects"], key=lambda line: line["strong"])
    assert result.values["chosen_strength"] == best["strength"]


def test_ablating_a_direction_takes_its_component_away(run_kind: Any, model: LoadedModel, file: str, tmp_path: Path) -> None:
    vector = torch.randn(128, generator=torch.Generator().manual_seed(1))
    save_file({"direction:contrast:L1:x": 3.0 * vector}, tmp_path / "d.safetensors")
    request = {"tables": TINY, "criterion": "c", "prompts": file, "features": "direction", "directions": "d.safetensors"}
    _, _, folder = run_kind("interventions", targets=["direction:contrast:L1:x"], to="zero", **request)
    unit = vector / vector.norm()

    def project(module: Any, args: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, -1] -= (hidden[:, -1] @ unit)[:, None] * unit
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    rows = interventions.read(folder.path / "interventions.jsonl")
    assert rows[0].changed == pytest.approx(hooked(model, project), abs=1e-4)
    assert {row.control for row in rows} == {None, "matched_norm"}, "there is no other direction to change"
    save_file({"direction:contrast:L1:x": vector[:5].clone()}, tmp_path / "d.safetensors")
    with pytest.raises(UserError, match=r"has shape \(5,\)"):
        run_kind("interventions", targets=["direction:contrast:L1:x"], **request)
    (tmp_path / "d.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="is no safetensors file"):
        run_kind("interventions", targets=["direction:contrast:L1:x"], **request)


def test_log_odds_are_against_everything_else(run_kind: Any, model: LoadedModel, file: str) -> None:
    _, _, folder = run_kind("interventions", tables=TINY, criterion="c", prompts=file, targets=["L1:D3"], controls=[], metric="log_odds")
    row = interventions.read(folder.path / "interventions.jsonl")[0]
    ids = torch.tensor([model.tokenizer(CAPITALS[0].text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        p = model.module(ids).logits[0, -1].double().softmax(-1)[model.tokenizer(" Paris", add_special_tokens=False)["input_ids"][0]]
    assert row.baseline == pytest.approx(float((p / (1 - p)).log()), abs=1e-4)
