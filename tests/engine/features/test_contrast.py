"""Contrast: three parts that share nothing, a strength chosen as defined, and a report that knows nothing of the choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.events import Warned
from interp_tui_engine.experiments import _features
from interp_tui_engine.experiments.contrast import labels as by_labels
from interp_tui_engine.experiments.contrast.params import Params
from interp_tui_engine.features import interventions, prompts
from interp_tui_engine.features.prompts import Prompt
from interp_tui_engine.models.load import load_model

TINY = {"model": {"source": "builtin:tiny", "revision": "final"}}


def params(**given: Any) -> Params:
    return Params.model_validate({"criterion": "c", "prompts": "builtin:capital"} | given)


def labels(everyone: list[Prompt]) -> list[bool]:
    return [prompt.score > 0.5 for prompt in everyone]


def test_the_three_parts_share_nothing_and_hold_both_classes() -> None:
    everyone = _features.prompts_of("builtin:capital")
    parts = by_labels.split(params(), labels(everyone), 3)
    places = [place for part in (parts.fit, parts.choose, parts.report) for side in part for place in side]
    assert sorted(places) == list(range(len(everyone)))
    for positives, negatives in (parts.fit, parts.choose, parts.report):
        assert all(everyone[i].score == 1.0 for i in positives) and all(everyone[i].score == 0.0 for i in negatives)
    with pytest.raises(UserError, match="3 positive prompts are too few"):
        by_labels.split(params(), [i < 3 for i in range(30)], 0)


def test_the_strength_is_chosen_by_gain_less_side_effect() -> None:
    base = np.zeros(4)
    weak, strong, wild = np.array([0.1, 0.1, 0.0, 0.0]), np.array([0.5, 0.3, 0.1, -0.1]), np.array([0.9, 0.9, -0.8, 0.8])
    assert by_labels.choose([1.0, 2.0, 4.0], [base, weak, strong, wild], 2) == 2.0
    assert by_labels.choose([1.0, 2.0], [base, weak, weak], 2) == 1.0


def test_the_kind_end_to_end(run_kind: Any, tmp_path: Path) -> None:
    request = {"tables": TINY, "criterion": "A capital", "prompts": "builtin:capital", "layer": 1, "strengths": [0.25, 0.5], "draws": 2}
    result, events, folder = run_kind("contrast", **request)
    values = result.values
    rows = interventions.read(folder.path / "interventions.jsonl")
    told = values["prompts"]["report"][0]
    assert len(rows) == told * 5 and {row.control for row in rows} == {None, "matched_norm", "shuffled_labels"}
    assert values["effect"] == pytest.approx(np.mean([row.effect for row in rows if row.control is None]))
    assert [event.values["strength"] for event in events if getattr(event, "series", "") == "cells"] == [0.25, 0.5]
    (direction,) = load_file(folder.path / "direction.safetensors").values()
    assert float(direction.norm()) == pytest.approx(1.0, abs=1e-6)

    # by hand: the mean difference of transformers' own hidden states over the fitting part
    model = load_model("builtin:tiny", revision="final", device="cpu")
    everyone = _features.prompts_of("builtin:capital")
    parts = by_labels.split(params(), labels(everyone), 100)
    means = []
    for side in parts.fit:
        states = []
        for place in side:
            ids = torch.tensor([model.tokenizer(everyone[place].text, add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                states.append(model.module(ids, output_hidden_states=True).hidden_states[2][0, -1])
        means.append(torch.stack(states).mean(0))
    by_hand = means[0] - means[1]
    assert torch.allclose(direction, by_hand / by_hand.norm(), atol=1e-5)
    assert values["distance"] == pytest.approx(float(by_hand.norm()), rel=1e-5)
    reported = {everyone[i].id for i in parts.report[0]}
    ours = {row.prompt_id for row in rows if row.control != "shuffled_labels"}
    assert ours == reported, "no prompt that the direction or the strength has seen"
    again, _, _ = run_kind("contrast", **request)
    assert again.digests == result.digests


def test_steering_makes_other_prompts_end_as_the_criterion_says(run_kind: Any) -> None:
    """The embedded model knows its capitals for certain: what the direction brings about shows where something else was asked for."""
    request = {
        "tables": TINY,
        "criterion": "A capital",
        "prompts": "builtin:capital",
        "layer": 2,
        "strengths": [0.5, 1.0, 2.0],
        "draws": 20,
    }
    own, events, _ = run_kind("contrast", **request)
    assert any(isinstance(event, Warned) and "give their answers without it" in event.message for event in events)
    assert not own.headline["clear"]
    shared, events, folder = run_kind("contrast", **request, shared_answers=True)
    values = shared.values
    assert shared.headline["clear"] and values["effect"] > 1.0 > values["side_effect"] and values["wanted_on"] == "negatives"
    rows = interventions.read(folder.path / "interventions.jsonl")
    everyone = _features.prompts_of("builtin:capital")
    parts = by_labels.split(params(), labels(everyone), 100)
    told = {row.prompt_id for row in rows if row.control != "shuffled_labels"}
    assert told == {everyone[i].id for i in parts.report[1]}, "told on held-out prompts that are no positives"
    assert [event.message[:34] for event in events if isinstance(event, Warned)] == ["the strength 2 is the largest of th"[:34]]
    assert values["at_edge"] and values["effect_in_controls"] > 2 and values["loss_change"] > 0 and values["p"] <= 1 / 21


def test_a_prompt_that_is_there_twice_counts_once(run_kind: Any, tmp_path: Path) -> None:
    """Else what is fitted on and what is told on share it."""
    facts = [replace(prompt, extra={"answer": prompt.extra["answer"]}) for prompt in _features.prompts_of("builtin:capital")]
    once = facts[:8] + facts[30:50]
    prompts.write(tmp_path / "once.jsonl", once)
    prompts.write(tmp_path / "twice.jsonl", once + [replace(prompt, id=f"again-{prompt.id}") for prompt in once])
    request = {"tables": TINY, "criterion": "c", "layer": 2, "strengths": [1.0], "draws": 2, "shared_answers": True, "plain_rows": 0}
    found = {name: run_kind("contrast", **request, prompts=f"{name}.jsonl") for name in ("once", "twice")}
    assert "28 prompts repeat others and are left out: 28 of 56 stay" in [
        event.message for event in found["twice"][1] if isinstance(event, Warned)
    ]
    assert found["twice"][0].values["effect"] == found["once"][0].values["effect"]
    same = [replace(once[0], id=f"copy-{i}") for i in range(10)] + [replace(once[-1], id=f"other-{i}") for i in range(10)]
    prompts.write(tmp_path / "same.jsonl", same)
    with pytest.raises(ManifestError, match="1 different positive prompts are too few for three parts"):
        run_kind("contrast", **request, prompts="same.jsonl")


def test_shuffles_share_the_answers_that_there_are(run_kind: Any, tmp_path: Path) -> None:
    """Where positives alone have answers, a shuffle of the labels has few positives with one."""
    everyone = _features.prompts_of("builtin:capital")
    given = [Prompt(p.text, p.score, p.id, {"answer": p.extra["answer"]} if p.score > 0.5 else {}) for p in everyone[:6] + everyone[30:64]]
    model = load_model("builtin:tiny", device="cpu")
    from interp_tui_engine.sites.dissect import site_map_of

    shared = params(shared_answers=True)
    own, mixed = ([i in chosen for i in range(40)] for chosen in (range(6), range(30, 36)))
    answers = [by_labels.bench_under(shared, model, site_map_of(model), given, positive)[0].answers[0] for positive in (own, mixed)]
    assert answers[0] == answers[1] and len(answers[0].right) == 6


def test_what_cannot_be_contrasted(run_kind: Any, tmp_path: Path) -> None:
    prompts.write(tmp_path / "p.jsonl", [Prompt(f"a {i}", float(i < 10), str(i), {"answer": " b"}) for i in range(20)])
    with pytest.raises(UserError, match="fit \\+ choose"):
        run_kind("contrast", tables=TINY, criterion="c", prompts="p.jsonl", fit=0.7, choose=0.3)
    with pytest.raises(UserError, match="there is no layer 7"):
        run_kind("contrast", tables=TINY, criterion="c", prompts="p.jsonl", layer=7)
    with pytest.raises(UserError, match="no wrong answers"):
        run_kind("contrast", tables=TINY, criterion="c", prompts="p.jsonl", metric="logit_diff")
