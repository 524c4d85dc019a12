"""The kind logit_lens on the embedded model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from inside import run_inside

from interp_tui_engine.errors import UserError
from interp_tui_engine.experiments.context import Interrupted

FACT = {"prompt": "The capital of France is", "answer": " Paris"}


def test_the_model_makes_up_its_mind_and_a_stopped_run_goes_on_to_the_same(tmp_path):
    done = run_inside("logit_lens", FACT, tmp_path / "run")
    values = done.result.values
    assert values["layers"] == [0, 1, 2, 3] and values["top_token"][-1] == " Paris"
    assert values["answer_prob"][-1] > 0.9 and values["kl_to_end"][-1] == pytest.approx(0, abs=1e-6)
    first = values["crossover_layer"]
    assert values["answer_rank"][first] == 0 and all(rank > 0 for rank in values["answer_rank"][:first])
    json.dumps(values, allow_nan=False)
    orders = iter(["go", "stop"])
    with pytest.raises(Interrupted):
        run_inside("logit_lens", FACT, tmp_path / "again", poll=lambda: next(orders))
    assert run_inside("logit_lens", FACT, tmp_path / "again").result.digests == done.result.digests


def test_positions_and_a_missing_answer(tmp_path):
    values = run_inside("logit_lens", {"prompt": FACT["prompt"], "positions": [-1, 3]}, tmp_path / "run").result.values
    assert values["tokens"] == [" France", " is"] and values["answer"] == " Paris"
    assert np.isfinite(values["entropy"]).all()
    with pytest.raises(UserError, match="tokens 0 to 4"):
        run_inside("logit_lens", {"prompt": FACT["prompt"], "positions": [9]}, tmp_path / "two")
    with pytest.raises(UserError, match="is 2 tokens"):
        run_inside("logit_lens", {**FACT, "answer": " Paris is"}, tmp_path / "three")
