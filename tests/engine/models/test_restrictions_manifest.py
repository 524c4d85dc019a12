"""Restrictions in a manifest: checked and costed without torch, run end to end."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from interp_tui_engine import catalog, manifest
from interp_tui_engine.api import sampling as api
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.experiments._sampling import restriction_check
from interp_tui_engine.manifest import Manifest

SMALL = dict(lr=1e-4, n_beta=1.0, num_chains=1, num_draws=2, batch_size=4, num_init_loss_batches=1, observables={"train": 1})


def request(restriction: str | list[str], source: str = "builtin:tiny", **params: object) -> Manifest:
    return manifest.resolve(
        {
            "kind": "llc",
            "name": "part",
            "model": {"source": source},
            "data": {"train": {"source": "builtin:prose", "context": 16, "rows": 8}},
            "params": {**SMALL, "restriction": restriction, **params},
        }
    )


@pytest.mark.parametrize(
    ("restriction", "says"),
    [("l9", "layers 0 to 3"), ("l0h8", "0 to 7"), (["l0h0", "l1 atn"], "did you mean 'l1 attn'"), ("lm_head.wieght", "'lm_head.weight'")],
)
def test_a_restriction_that_the_model_does_not_have_is_refused_before_anything_starts(restriction: str | list[str], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        request(restriction)


def test_the_estimate_says_how_much_moves_and_costs_less() -> None:
    kind = catalog.get("llc")
    full, head = kind.estimate(request("full", num_draws=20_000)), kind.estimate(request("l3h0", num_draws=20_000))
    assert "16,384 of 1,021,056 move" in head.notes
    for own in (request("l3h0 own"), request("l3h0", grouped_heads="own"), request(["l3h0"], grouped_heads="own")):
        assert "8,192 of 1,021,056 move" in kind.estimate(own).notes
    assert full.seconds is not None and head.seconds is not None and head.seconds < full.seconds


def test_the_load_counts_what_lies_above() -> None:
    load = restriction_check.load_of(request("l3h0"), "l3h0")
    assert load is not None and (load.moving, load.total) == (16384, 1021056)
    assert load.above == 189_696 + 128 + 262_144, "layer 3, the final norm, and the matrix that is also the unembedding"
    assert restriction_check.load_of(request("l0"), "l0").above == 4 * 189_696 + 128 + 262_144
    assert restriction_check.load_of(request("embed"), "embed").above == 1_021_056


def test_a_folder_is_read_from_its_headers_alone(tmp_path: Path) -> None:
    header = {"model.layers.0.self_attn.q_proj.weight": [32, 8], "model.layers.0.self_attn.o_proj.weight": [8, 32]}
    table = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for name, shape in header.items()}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(table)) + table)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "num_attention_heads": 4}))
    load = restriction_check.load_of(request("l0h1", str(tmp_path)), "l0h1")
    assert load is not None and (load.moving, load.total) == (2 * 64, 512)
    assert request(["l0h1", "model.layers.0.mlp.experts.down_proj"], str(tmp_path)), "names are for the loaded module to judge"
    with pytest.raises(ManifestError, match="no head 4"):
        request("l0h4", str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    restriction_check._read.cache_clear()
    assert restriction_check.load_of(request("l0h1", str(tmp_path)), "l0h1") is None


HEAD = """kind = "{kind}"
[model]
source = "builtin:tiny"
[data.train]
source = "builtin:prose"
context = 16
rows = 8
[params]
lr = 1e-4
n_beta = 1.0
batch_size = 4
observables = {{ train = 1 }}
"""


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("llc", 'restriction = "l0h1"'),
        ("sample", 'restriction = "l0h1"'),
        ("susceptibilities", 'include_sampling_data = true\nrestrictions = ["l0h1"]'),
    ],
)
def test_heads_of_earlier_runs_are_what_they_were(kind: str, part: str) -> None:
    """A run's own manifest that does not say how it took heads was made when they were queries and outputs alone."""
    text = HEAD.format(kind=kind) + part
    assert manifest.parse(text).params.grouped_heads == "shared"
    made = manifest.parse(text + "\n[provenance]\ndevice = 'x'\n")
    assert made.params.grouped_heads == "own" and manifest.parse(made.to_toml()).params.grouped_heads == "own"
    assert made.digest() != manifest.parse(text).digest(), "neither is taken for the other"
    newer = manifest.parse(text + "\ngrouped_heads = 'shared'\n[provenance]\ndevice = 'x'\n")
    assert newer.params.grouped_heads == "shared"


def test_heads_of_earlier_pipelines_are_what_they_were() -> None:
    step = {"id": "s", "kind": "llc", "params": {**SMALL, "restriction": "l0h1"}}
    data = {"train": {"source": "builtin:prose", "context": 16, "rows": 8}}
    tables = {"kind": "pipeline", "model": {"source": "builtin:tiny"}, "data": data, "step": [step]}
    steps = [manifest.resolve({**tables, **extra}).step[0].params for extra in ({}, {"provenance": {"device": "x"}})]
    assert [params["grouped_heads"] for params in steps] == ["shared", "own"]


def test_a_run_samples_heads_the_way_its_manifest_says(tmp_path: Path) -> None:
    """The same numbers, however it is spelled; others where shared keys move too."""
    made = {"own": request("l1h0 own"), "set": request("l1h0", grouped_heads="own"), "shared": request("l1h0")}
    ran = {name: api.run(asked, out=tmp_path / name).path for name, asked in made.items()}
    means = {name: json.loads((path / "result.json").read_text())["llc_mean"] for name, path in ran.items()}
    assert means["own"] == means["set"] != means["shared"]


def test_a_run_of_a_restriction_says_what_it_shares(tmp_path: Path) -> None:
    told: list[str] = []
    folder = api.run(request(["unembed", "l3h0"]), out=tmp_path / "run", on_event=lambda stamped: told.append(str(stamped.event)))
    result = json.loads((folder.path / "result.json").read_text())
    assert result["healthy_chains"] == [0]
    assert any("shared with lm_head.weight" in text for text in told)
