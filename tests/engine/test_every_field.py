"""Nothing in any field of any kind's params gets past its validation: it is refused in words, or valid down to its estimate."""

from __future__ import annotations

import pytest

from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import UserError
from interp_tui_engine.supervision.sweep_supervisor import estimate
from torture.requests import small

ODD = ([], "", [[]], -1, 0.5)


@pytest.mark.parametrize("name", [kind.name for kind in catalog.kinds()])
def test_odd_values_are_refused_or_valid(name: str) -> None:
    refused = 0
    for field in catalog.get(name).params.model_fields:
        for value in ODD:
            tables = small(name)
            tables["params"][field] = value
            try:
                estimate(manifest.resolve(tables))
            except UserError as error:
                assert field in str(error) or "params" in str(error)
                refused += 1
    assert refused or not catalog.get(name).params.model_fields
