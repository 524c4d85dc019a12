"""One thread, and a model and data that are read once: most of what a small run would take."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

from interp_tui_engine.experiments import _sampling_run


@pytest.fixture(scope="module")
def read_once() -> Any:
    kept, rows = torch.get_num_threads(), {}
    torch.set_num_threads(1)
    plain = _sampling_run.load_rows

    def load_rows(spec: Any, tokenizer: Any, *, name: str) -> Any:
        key = (spec.model_dump_json(), name)
        if key not in rows:
            rows[key] = plain(spec, tokenizer, name=name)
        return rows[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sampling_run, "load_model", functools.cache(_sampling_run.load_model))
        patch.setattr(_sampling_run, "load_rows", load_rows)
        yield
    torch.set_num_threads(kept)
