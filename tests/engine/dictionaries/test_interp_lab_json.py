"""interp-lab's sae.json: codes by hand for each of its sparsities, and what is no such file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from interp_tui_engine import atomic
from interp_tui_engine.dictionaries.interp_lab_json import load_json
from interp_tui_engine.errors import UserError
from interp_tui_engine.experiments._features.open_sae import open_sae, site_of
from interp_tui_engine.sites.site import Site

STORED: dict[str, Any] = {
    "format": "interp-lab.sae.v1",
    **{"model": "m", "layer": 2, "input_dim": 2, "latent_dim": 3, "mean": [1.0, -1.0], "encoder_bias": [0.0, 0.5, -0.5]},
    **{"encoder_weight": [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], "decoder_weight": [[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]},
}
X = torch.tensor([[3.0, 0.0]])
"""Less the mean (2, 1): pre-activations 2, 2.5, 2.5."""


def written(tmp_path: Path, **changed: Any) -> Path:
    atomic.write_json(tmp_path / "sae.json", {**STORED, **changed})
    return tmp_path / "sae.json"


@pytest.mark.parametrize(
    ("config", "codes"),
    [
        ({}, [2.0, 2.5, 2.5]),
        ({"sparsity": "relu-l1"}, [2.0, 2.5, 2.5]),
        ({"sparsity": "topk", "top_k": 2}, [0.0, 2.5, 2.5]),
        ({"sparsity": "topk", "top_k": 5}, [2.0, 2.5, 2.5]),
        ({"sparsity": "jumprelu", "jump_threshold": 2.0}, [0.0, 2.5, 2.5]),
    ],
)
def test_codes_are_those_of_the_peer(tmp_path: Path, config: dict[str, Any], codes: list[float]) -> None:
    dictionary = load_json(written(tmp_path, config=config))
    assert dictionary.encode(X).tolist() == [codes]
    decoded = [[1.0 + codes[0] + 2 * codes[2], -1.0 + codes[1] + 2 * codes[2]]]
    assert dictionary.decode(dictionary.encode(X)).tolist() == decoded
    assert dictionary.encode(torch.tensor([[-9.0, -9.0]])).tolist() == [[0.0, 0.0, 0.0]]


def test_it_opens_wherever_an_sae_does_and_says_which_block_it_reads(tmp_path: Path) -> None:
    dictionary = open_sae(written(tmp_path), "cpu", width=2)
    assert site_of(dictionary) == Site("resid_post", 1), "its layer 2 is hidden_states[2], the output of block 1"
    with pytest.raises(UserError, match="width 2, but these have 4"):
        open_sae(tmp_path / "sae.json", "cpu", width=4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"format": "other"}, "is no dictionary"),
        ({"latent_dim": 4}, r"encoder_weight is \(3, 2\).*\(4, 2\)"),
        ({"mean": [1.0, float("inf")]}, "mean"),
        ({"encoder_bias": "no"}, "encoder_bias is no table"),
        ({"input_dim": 0}, "input_dim = 0"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    (tmp_path / "sae.json").write_text(json.dumps({**STORED, **changed}))
    with pytest.raises(UserError, match=said):
        load_json(tmp_path / "sae.json")
