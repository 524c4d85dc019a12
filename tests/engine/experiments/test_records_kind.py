"""Kind records: values against the model's own hidden states one prompt at a time, formats, resume, and what does not fit."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from in_process import Poll, go, run_tables
from interp_tui_engine import manifest
from interp_tui_engine.catalog import Result
from interp_tui_engine.dictionaries import sae_lens
from interp_tui_engine.dictionaries.dictionary import Dictionary
from interp_tui_engine.dictionaries.topk import TopK
from interp_tui_engine.dictionaries.weights import tied
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.events import Event, Warned
from interp_tui_engine.experiments._features import prompts_of
from interp_tui_engine.experiments.records import compute
from interp_tui_engine.features.records import RecordReader
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.runtime.context import Interrupted, Order

TEXTS = [
    "The capital of France is",
    "Hot",
    "The unit of mass is the kilogram, and the unit of time is",
    "In Japan, prices are given in the",
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("builtin:tiny")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"text": text, "criterion_score": float(i % 2), "prompt_id": f"p{i}"} for i, text in enumerate(TEXTS)]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(params: dict[str, Any], folder: Path, poll: Poll = go) -> tuple[Result, list[Event]]:
    tables = {"kind": "records", "name": "t", "seed": 3, "model": {"source": "builtin:tiny"}, "params": params}
    return run_tables(tables, folder, poll=poll)


def rows_of(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    return [json.loads(line) for line in (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()]


def hidden(model: LoadedModel, text: str, layer: int) -> torch.Tensor:
    """(tokens, width) of one prompt by itself."""
    assert model.tokenizer is not None
    ids = torch.tensor([model.tokenizer(text).input_ids])
    with torch.no_grad():
        return model.module(ids, output_hidden_states=True).hidden_states[layer + 1][0]  # type: ignore[no-any-return]


def test_hidden_dimensions_are_those_of_each_prompt_by_itself(model: LoadedModel, prompts: Path, tmp_path: Path) -> None:
    for pool, reduce in (("last", lambda x: x[-1]), ("mean", lambda x: x.mean(0)), ("max", lambda x: x.amax(0))):
        result, _ = run({"prompts": str(prompts), "layers": [1, 2], "pool": pool}, tmp_path / pool)
        rows = rows_of(tmp_path / pool / "records.jsonl")
        assert [row["prompt_id"] for row in rows] == ["p0", "p1", "p2", "p3"] and result.values["rows"] == 4
        for row, text in zip(rows, TEXTS, strict=True):
            assert row["text"] == text and row["model"] == "builtin:tiny" and len(row["features"]) == result.values["features"] == 256
            for layer in (1, 2):
                found = torch.tensor([row["features"][f"L{layer}:D{d}"] for d in range(128)])
                torch.testing.assert_close(found, reduce(hidden(model, text, layer)), rtol=1e-4, atol=1e-4)


def test_a_record_for_each_token(model: LoadedModel, prompts: Path, tmp_path: Path) -> None:
    result, _ = run({"prompts": str(prompts), "layers": [2], "pool": "tokens", "top_features": 5, "gzip": True}, tmp_path / "run")
    rows = rows_of(tmp_path / "run/records.jsonl.gz")
    first = [row for row in rows if row["prompt_id"] == "p0"]
    assert "".join(row["metadata"]["token"] for row in first) == TEXTS[0]
    assert [row["metadata"]["position"] for row in first] == list(range(len(first)))
    states = hidden(model, TEXTS[0], 2)
    for row, state in zip(first, states, strict=True):
        assert {int(name.removeprefix("L2:D")) for name in row["features"]} == set(state.abs().topk(5).indices.tolist())
    assert result.values["rows"] == len(rows) == sum(len(model.tokenizer(text).input_ids) for text in TEXTS)  # type: ignore[misc]


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    g = torch.Generator().manual_seed(0)
    about = {"site": "L2.resid_post", "model_name": "builtin:tiny"}
    sae_lens.save(Dictionary(TopK(6), tied(64, torch.randn(30, 128, generator=g), g), about), tmp_path / "sae")
    return tmp_path / "sae"


def test_latents_are_those_of_the_dictionary(model: LoadedModel, prompts: Path, sae: Path, tmp_path: Path) -> None:
    run({"prompts": str(prompts), "features": "sae", "sae": str(sae)}, tmp_path / "run")
    dictionary = sae_lens.load(sae)
    for row, text in zip(rows_of(tmp_path / "run/records.jsonl"), TEXTS, strict=True):
        codes = dictionary.encode(hidden(model, text, 2)[-1])
        want = {f"SAE:L2:F{index}": float(codes[index]) for index in codes.nonzero().squeeze(1).tolist()}
        assert row["features"] == pytest.approx(want, rel=1e-3, abs=1e-4) and len(want) <= 6
    with pytest.raises(UserError, match=r"params\.layers = \[1\], but the dictionary is not of them: it was trained at L2\.resid_post"):
        run({"prompts": str(prompts), "features": "sae", "sae": str(sae), "layers": [1]}, tmp_path / "other")


def test_a_dictionary_of_another_width_is_refused(prompts: Path, tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    about = {"site": "L2.resid_post", "model_name": "other/model"}
    sae_lens.save(Dictionary(TopK(2), tied(8, torch.randn(30, 16, generator=g), g), about), tmp_path / "narrow")
    with pytest.raises(UserError, match=r"is for width 16, but L2\.resid_post of builtin:tiny has width 128(?s:.*)other/model"):
        run({"prompts": str(prompts), "features": "sae", "sae": str(tmp_path / "narrow")}, tmp_path / "run")


def test_a_contrast_is_fitted_on_some_prompts_and_recorded_on_the_others(model: LoadedModel, tmp_path: Path) -> None:
    params = {"prompts": "builtin:capital", "features": "direction", "layers": [2], "criterion": "next is a capital"}
    result, _ = run(params, tmp_path / "run")
    rows = rows_of(tmp_path / "run/records.jsonl")
    assert result.values["fitted_on"] + result.values["rows"] == 396
    name = "direction:contrast:L2:next-is-a-capital"
    texts = {row["text"] for row in rows}
    fit = [text for text in prompts_of("builtin:capital", every_wording=True) if text.text not in texts]
    assert len(fit) == result.values["fitted_on"]
    means = [torch.stack([hidden(model, p.text, 2)[-1] for p in fit if p.score == score]).double().mean(0) for score in (1.0, 0.0)]
    direction = (means[0] - means[1]) / (means[0] - means[1]).norm()
    assert rows[0]["features"][name] == pytest.approx(float(hidden(model, rows[0]["text"], 2)[-1].double() @ direction), abs=1e-3)
    positive, negative = ([row["features"][name] for row in rows if row["criterion_score"] == score] for score in (1.0, 0.0))
    assert sum(p > n for p in positive for n in negative) / (len(positive) * len(negative)) > 0.95  # AUROC on what it was not fitted on


def test_given_directions(model: LoadedModel, prompts: Path, tmp_path: Path) -> None:
    vector = torch.randn(128, generator=torch.Generator().manual_seed(2))
    save_file({"My probe": vector}, tmp_path / "d.safetensors")
    params = {"prompts": str(prompts), "features": "direction", "layers": [0], "directions": str(tmp_path / "d.safetensors")}
    run(params, tmp_path / "run")
    found = rows_of(tmp_path / "run/records.jsonl")[2]["features"]
    want = float(hidden(model, TEXTS[2], 0)[-1] @ vector / vector.norm())
    assert found == {"direction:given:L0:my-probe": pytest.approx(want, abs=1e-3)}
    save_file({"My probe": vector[:5]}, tmp_path / "d.safetensors")
    with pytest.raises(UserError, match=r"'My probe' has shape \(5,\), but L0\.resid_post has width 128"):
        run(params, tmp_path / "bad")


@pytest.mark.parametrize("layers", [[], [2]])
def test_the_directions_of_a_contrast_run_are_recorded_by_their_ids(
    model: LoadedModel, prompts: Path, tmp_path: Path, layers: list[int]
) -> None:
    name, vector = "direction:contrast:L2:capitals", torch.randn(128, generator=torch.Generator().manual_seed(2))
    contrast = tmp_path / "contrast"
    contrast.mkdir()
    save_file({name: vector}, contrast / "direction.safetensors")
    run({"prompts": str(prompts), "features": "direction", "layers": layers, "directions": str(contrast)}, tmp_path / "run")
    want = float(hidden(model, TEXTS[2], 2)[-1] @ vector / vector.norm())
    assert rows_of(tmp_path / "run/records.jsonl")[2]["features"] == {name: pytest.approx(want, abs=1e-3)}


@pytest.mark.parametrize(
    ("layers", "name", "message"),
    [
        ([1], "direction:contrast:L2:capitals", r"holds direction:contrast:L2:capitals, but params\.layers = \[1\]"),
        ([], "My probe", "'My probe' names no layer"),
        ([2], "zero", "'zero' is zero or not finite"),
    ],
)
def test_directions_that_say_no_layer_or_another(prompts: Path, tmp_path: Path, layers: list[int], name: str, message: str) -> None:
    save_file({name: torch.full((128,), float(name != "zero"))}, tmp_path / "d.safetensors")
    params = {"prompts": str(prompts), "features": "direction", "layers": layers, "directions": str(tmp_path / "d.safetensors")}
    with pytest.raises(UserError, match=message):
        run(params, tmp_path / "run")


def test_a_run_folder_without_directions_is_a_validation_error(prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    params = {"prompts": str(prompts), "features": "direction", "directions": str(tmp_path / "empty")}
    with pytest.raises(ManifestError, match=r"holds no direction\.safetensors"):
        manifest.resolve({"kind": "records", "model": {"source": "builtin:tiny"}, "params": params})


@pytest.mark.parametrize("zipped", [False, True])
def test_stopped_in_the_middle_it_goes_on_to_the_same_file(zipped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compute, "WINDOW", 50)
    params = {"prompts": "builtin:unit", "layers": [1], "top_features": 3, "gzip": zipped}
    whole, _ = run(params, tmp_path / "whole")
    orders: Iterator[Order] = iter(["go", "go", "stop"])
    with pytest.raises(Interrupted):
        run(params, tmp_path / "parts", lambda: next(orders))
    part = tmp_path / "parts/shards/0/checkpoint/records.part"
    with part.open("ab") as file:
        file.write(b'{"torn')  # what a kill in the middle of a window leaves
    resumed, _ = run(params, tmp_path / "parts")
    assert resumed.digests == whole.digests and resumed.values["rows"] == 396
    name = "records.jsonl.gz" if zipped else "records.jsonl"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sum(len(block.lines) for block in RecordReader([tmp_path / "parts" / name]).blocks()) == 396


def test_long_prompts_are_cut_when_told_to_and_refused_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps({"text": "word " * 3000, "criterion_score": 1, "id": "long"}) + "\n")
    with pytest.raises(UserError, match=r"prompt 'long' is .* tokens, but the model reads at most"):
        run({"prompts": str(path), "layers": [1]}, tmp_path / "a")
    _, events = run({"prompts": str(path), "layers": [1], "max_length": 8}, tmp_path / "b")
    assert any(isinstance(event, Warned) and "1 of 1 prompts are cut" in event.message for event in events)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, r"params\.layers: is missing"),
        ({"features": "sae"}, r"params\.sae: is missing"),
        ({"layers": [1], "sae_name": "x"}, "means nothing with features = 'hidden'"),
        ({"layers": [1, 1]}, "names a layer twice"),
        ({"layers": [1], "site": "rezid"}, "there is no site 'rezid'"),
        ({"layers": [1], "site": "attn_pattern"}, "cannot be recorded"),
    ],
)
def test_requests_that_cannot_be(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        manifest.resolve({"kind": "records", "model": {}, "params": {"prompts": "builtin:unit", **params}})


def test_prompts_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean builtin:capital"):
        run({"prompts": "builtin:capitol", "layers": [1]}, tmp_path)
    with pytest.raises(UserError, match="there is no layer 9"):
        run({"prompts": "builtin:unit", "layers": [9]}, tmp_path)
