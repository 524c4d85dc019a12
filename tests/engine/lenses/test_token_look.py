"""The short look at a model that the terminal program asks for: what layers say next and where heads look, as one JSON object."""

from __future__ import annotations

import io
import json
import sys

import pytest

from interp_tui_engine.lenses import token_look
from interp_tui_engine.models.load import load_model

TEXT = "The capital of France is"


def test_layers_say_what_the_models_own_logits_do_at_the_end() -> None:
    import torch

    found = token_look.look("builtin:tiny", None, TEXT)
    assert found["tokens"] == ["The", " capital", " of", " France", " is"]
    assert [layer["layer"] for layer in found["layers"]] == [0, 1, 2, 3]
    model = load_model("builtin:tiny", device="cpu")
    ids = torch.tensor([model.tokenizer(TEXT).input_ids])
    with torch.no_grad():
        probs = model.module(ids).logits[0, -1].softmax(-1)
    best = probs.topk(3)
    last = found["layers"][-1]
    assert last["top"] == [model.tokenizer.decode([token]) for token in best.indices.tolist()]
    assert last["top_prob"] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_heads_look_back_hardest_first_and_rest_last() -> None:
    heads = token_look.look("builtin:tiny", "final", TEXT)["heads"]
    assert len(heads) == token_look.HEADS
    assert [head["token"] for head in heads if head["head"] == "L1H3"] == [" France"], "a head that carries the fact looks at its subject"
    resting = [head["position"] == 0 for head in heads]
    assert resting == sorted(resting)


def test_a_long_text_is_looked_at_from_its_end() -> None:
    found = token_look.look("builtin:tiny", None, " word" * 2000 + TEXT)
    assert found["tokens"][-1] == " is" and len(found["tokens"]) <= token_look.MOST_TOKENS


@pytest.mark.parametrize(
    ("asked", "code", "key"),
    [({"source": "builtin:none", "text": "x"}, 2, "error"), ({"source": "builtin:tiny", "text": TEXT}, 0, "layers")],
)
def test_it_answers_on_stdout(
    asked: dict[str, str], code: int, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    assert token_look.main() == code
    assert key in json.loads(capsys.readouterr().out.splitlines()[-1])
