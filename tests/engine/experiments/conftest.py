"""A model and data that are read once: most of what a small run would take."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from interp_tui_engine.experiments._sampling import run as sampling_run
from interp_tui_engine.models import load


@pytest.fixture(scope="module")
def read_once() -> Any:
    rows: dict[tuple[str, str], Any] = {}
    plain = sampling_run.load_rows

    def load_rows(spec: Any, tokenizer: Any, *, name: str) -> Any:
        key = (spec.model_dump_json(), name)
        if key not in rows:
            rows[key] = plain(spec, tokenizer, name=name)
        return rows[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "load_model", functools.cache(load.load_model))
        patch.setattr(sampling_run, "load_rows", load_rows)
        yield
