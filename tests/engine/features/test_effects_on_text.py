"""What is measured when a feature is changed: whole answers, distributions, loss on plain text; each against the model's own logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.errors import UserError
from interp_tui_engine.features import prompts
from interp_tui_engine.features.prompts import Prompt
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted
from interp_tui_engine.specs import DataSpec

TINY = {"model": {"source": "builtin:tiny", "revision": "final"}}
TEXTS = [
    ("The capital of France is", " Paris, a city"),
    ("The language of Japan is", " Japanese"),
    ("The color of grass is", " green and"),
    ("Two", " a"),
]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("builtin:tiny", revision="final", device="cpu")


@pytest.fixture
def file(tmp_path: Path) -> str:
    found = [Prompt(text, float(i < 2), str(i), {"answer": answer}) for i, (text, answer) in enumerate(TEXTS)]
    prompts.write(tmp_path / "p.jsonl", found)
    return "p.jsonl"


def logits(model: LoadedModel, ids: list[int], change: Any = None) -> torch.Tensor:
    """Log-probabilities (positions, vocab), with torch's own hook on block 1."""
    module: Any = model.module
    handle = module.model.layers[1].register_forward_hook(lambda m, i, out: out if change is None else change(out.clone()))
    with torch.no_grad():
        found = module(torch.tensor([ids])).logits[0]
    handle.remove()
    return found.log_softmax(-1)  # type: ignore[no-any-return]


def ids(model: LoadedModel, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[misc]


def rows(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.path / "interventions.jsonl").read_text().splitlines()]


def zero_at(place: int | slice) -> Any:
    def change(out: torch.Tensor) -> torch.Tensor:
        out[:, place, 7] = 0.0
        return out

    return change


def test_whole_answers_are_scored_token_by_token(model: LoadedModel, file: str, run_kind: Any) -> None:
    request = {"criterion": "c", "prompts": file, "targets": ["L1:D7"], "metric": "sequence", "to": "zero", "controls": [], "plain_rows": 0}
    _, _, folder = run_kind("interventions", tables=TINY, **request)
    for row, (text, answer) in zip(rows(folder), TEXTS[:2], strict=True):
        prompt, more = ids(model, text), ids(model, answer)
        for change, said in ((None, row["baseline_score"]), (zero_at(len(prompt) - 1), row["intervention_score"])):
            log_p = logits(model, prompt + more, change)
            wanted = sum(float(log_p[len(prompt) - 1 + i, token]) for i, token in enumerate(more))
            assert said == pytest.approx(wanted, abs=1e-3)


def test_kl_is_of_the_next_tokens_distribution(model: LoadedModel, file: str, run_kind: Any) -> None:
    request = {"criterion": "c", "prompts": file, "targets": ["L1:D7"], "metric": "kl", "controls": ["random"], "draws": 2, "plain_rows": 0}
    for verb, more in (("ablate", {"to": "zero"}), ("amplify", {"strengths": [0.0]})):  # the same change twice
        result, _, folder = run_kind("interventions", tables=TINY, **request, verb=verb, **more)
        own = [row for row in rows(folder) if "control_type" not in row["metadata"]]
        for row, (text, _) in zip(own, TEXTS[:2], strict=True):
            prompt = ids(model, text)
            before, after = logits(model, prompt)[-1], logits(model, prompt, zero_at(len(prompt) - 1))[-1]
            wanted = float((before.exp() * (before - after)).sum())
            assert abs(row["intervention_score"]) == pytest.approx(wanted, abs=1e-4)
            assert row["baseline_score"] == 0.0
        (line,) = result.values["effects"]
        assert line["effect"] > 0
        assert line["control"] >= 0, "a distance is an effect, whatever the verb"


def test_loss_on_plain_text_is_the_models_own(model: LoadedModel, file: str, run_kind: Any, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Some plain text of its own, long enough to fill a few rows with words.\n" * 60)
    request = {"criterion": "c", "prompts": file, "targets": ["L1:D7"], "metric": "logprob", "to": "zero", "draws": 1}
    request |= {"plain_text": str(tmp_path / "t.txt"), "plain_rows": 3}
    result, _, folder = run_kind("interventions", tables=TINY, **request, controls=["placebo", "matched_norm"])
    found = load_rows(
        DataSpec.model_validate({"source": str(tmp_path / "t.txt"), "context": 64, "rows": 3}), model.tokenizer, name="t"
    ).ids.long()
    changes = []
    for row in found:
        losses = []
        for change in (None, zero_at(slice(None))):
            log_p = logits(model, row[:-1].tolist(), change)
            losses.append(-float(log_p.gather(1, row[1:, None]).mean()))
        changes.append(losses[1] - losses[0])
    (line,) = result.values["effects"]
    assert line["loss_change"] == pytest.approx(sum(changes) / 3, abs=1e-5)
    assert line["loss_low"] < line["loss_change"] < line["loss_high"]
    controls = {
        row["metadata"]["control_type"]: row["metadata"]["loss_change"] for row in rows(folder) if "control_type" in row["metadata"]
    }
    assert controls["placebo"] == 0.0 != controls["matched_norm"]
    assert line["loss_control"] == pytest.approx(controls["matched_norm"] / 2, abs=1e-6)
    assert "Δ loss on plain text" in result.report


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(file: str, run_kind: Any, tmp_path: Path) -> None:
    request = {"criterion": "c", "prompts": file, "targets": ["L1:D7", "L2:D3"], "metric": "kl", "plain_rows": 2}
    whole, _, _ = run_kind("interventions", tables=TINY, **request)
    polls = iter(["go"] * 4)
    with pytest.raises(Interrupted):
        run_kind("interventions", tables=TINY, orders=lambda: next(polls, "stop"), **request)
    resumed, _, _ = run_kind("interventions", tables=TINY, again=RunFolder(tmp_path / "run-1"), **request)
    assert resumed.digests == whole.digests
    assert resumed.values == whole.values


def test_what_cannot_be_scored_is_said(file: str, run_kind: Any, tmp_path: Path) -> None:
    prompts.write(tmp_path / "set.jsonl", [Prompt(t, float(i < 2), str(i), {"answer": [a, " x"]}) for i, (t, a) in enumerate(TEXTS)])
    request = {"criterion": "c", "tables": TINY, "targets": ["L1:D7"], "metric": "sequence"}
    with pytest.raises(UserError, match=r"answer of prompt '0' is a set of 2, and only one"):
        run_kind("interventions", prompts="set.jsonl", **request)
    prompts.write(tmp_path / "bare.jsonl", [Prompt(t, float(i < 2), str(i)) for i, (t, _) in enumerate(TEXTS)])
    with pytest.raises(UserError, match="prompt '0' and 3 others have no answer"):
        run_kind("interventions", prompts="bare.jsonl", **request)
    result, _, _ = run_kind("interventions", prompts="bare.jsonl", **(request | {"metric": "kl", "controls": [], "plain_rows": 0}))
    assert result.values["effects"][0]["effect"] > 0, "a distance needs no answer"
    with pytest.raises(UserError, match=r"none\.txt"):
        run_kind("interventions", prompts=file, **(request | {"plain_text": "none.txt"}))
