"""What a pipeline may name before anything has run: keys of results, and keys of steps in a sweep."""

from __future__ import annotations

from typing import Any

import pytest

from interp_tui_engine import catalog, manifest, pipeline
from interp_tui_engine.errors import ManifestError

STEPS = """
kind = "pipeline"
name = "keys"
[model]
source = "builtin:tiny"
[data.text]
source = "builtin:prose"
rows = 8
[params]
criterion = "a capital comes next"
prompts = "builtin:capital"
[[step]]
id = "train"
kind = "train_sae"
params = { train_data = "text", layer = 2, latents = 64, k = 8 }
[[step]]
id = "records"
kind = "records"
params = { features = "sae", sae = "${train.sae}" }
[[step]]
kind = "inspect"
params = { records = ["${records.path}"] }
"""


def refused(text: str) -> str:
    with pytest.raises(ManifestError) as error:
        manifest.parse(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("${train.sae}", "${train.sea}", ["line 19: step.1.params.sae", "train_sae step has no 'sea'", "Did you mean 'sae'"]),
        ("${records.path}", "${records.report}", ["line 22: step.2.params.records.0", "records step has no 'report'", "path"]),
        ("${records.path}", "${train.cards.0}", ["train_sae step has no 'cards'"]),
    ],
)
def test_a_key_that_a_kind_never_writes_is_refused_before_anything_runs(old: str, new: str, said: list[str]) -> None:
    message = refused(STEPS.replace(old, new))
    assert all(part in message for part in said), message


def test_keys_of_every_kind_and_below_the_top_are_let_through() -> None:
    for reference in ("${records}", "${records.path}", "${records.name}", "${train.saes.0.sae}"):
        manifest.parse(STEPS.replace("${records.path}", reference))


def test_the_keys_of_every_kind_are_known_before_it_has_run() -> None:
    for name in catalog.kind_names():
        assert {"kind", "name", "seconds", "uncertainty"} < pipeline.result_keys(name), name


# -- sweeps over keys of steps


def test_a_sweep_varies_a_steps_key_alone_and_beside_others() -> None:
    found = manifest.parse(STEPS + '[sweep]\n"step.train.params.k" = [4, 8]\nseed = [1, 2]\n')
    points: list[tuple[Any, Any, int]] = []
    for point, request in manifest.points_of(found):
        assert request.kind == "pipeline" and not request.sweep
        points.append((point.values["step.train.params.k"], request.step[0].params["k"], request.seed))
    assert points == [(4, 4, 1), (4, 4, 2), (8, 8, 1), (8, 8, 2)]
    assert manifest.parse(found.to_toml()) == found, "and it reads back as it is"


def test_a_steps_own_seed_and_model_can_be_swept_though_it_has_none() -> None:
    found = manifest.parse(STEPS + '[sweep]\n"step.train.seed" = [1, 2]\n"step.1.model.revision" = ["step-50"]\n')
    assert [request.step[0].seed for _, request in manifest.points_of(found)] == [1, 2]
    assert manifest.points_of(found)[0][1].step[1].model == {"revision": "step-50"}


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ('"step.tarin.params.k" = [4, 8]', ["line 24: sweep.step.tarin.params.k", "none of the steps: train, records, inspect", "'train'"]),
        ('"step.train.parms.k" = [4, 8]', ["a key of its seed, model, data, params", "Did you mean 'params'"]),
        ('"step.train" = [4, 8]', ['such as "step.train.params.k"']),
        ('"step.train.params.kk" = [4, 8]', ["step.train.params.kk", "Did you mean 'k'"]),
        ('"step.train.params.k" = [4, 400]', ["400 is more than params.latents = 64"]),
        ('"step.train.params.k" = 4', ["must be a list of values"]),
    ],
)
def test_an_axis_into_a_step_that_cannot_be_says_what_can(axis: str, said: list[str]) -> None:
    message = refused(STEPS + f"[sweep]\n{axis}\n")
    assert all(part in message for part in said), message


def test_a_kind_without_steps_has_none_to_sweep() -> None:
    message = refused('kind = "certify"\n[sweep]\n"step.train.params.k" = [4, 8]\n')
    assert "an axis is a key of seed, model, data, params, compute" in message
