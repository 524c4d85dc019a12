"""The catalog: every kind describes itself in full, its example runs as it is, and none of it imports torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from interp_tui_engine import catalog, manifest
from interp_tui_engine.catalog import GROUPS, Estimate
from interp_tui_engine.experiments import __path__ as experiments_path


def test_kinds_are_the_files() -> None:
    assert experiments_path
    names = catalog.kind_names()
    assert {"sample", "llc"} <= set(names)
    assert "context" not in names and not any(name.startswith("_") for name in names)


def test_no_kind_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        catalog.get("lcl")


def test_kinds_come_in_the_order_of_their_groups() -> None:
    groups = [GROUPS.index(kind.group) for kind in catalog.kinds()]
    assert groups == sorted(groups)


@pytest.mark.parametrize("name", catalog.kind_names())
def test_a_kind_describes_itself(name: str) -> None:
    kind = catalog.get(name)
    assert kind.title and kind.question.endswith("?")
    assert kind.needs <= {"model", "data"}
    undescribed = [key for key, field in kind.params.model_fields.items() if not field.description]
    assert not undescribed


@pytest.mark.parametrize("name", catalog.kind_names())
def test_a_kinds_example_is_valid_and_estimated(name: str) -> None:
    kind = catalog.get(name)
    request = manifest.resolve({"kind": name, **kind.example})
    assert manifest.parse(request.to_toml()) == request
    assert isinstance(kind.estimate(request), Estimate)


def test_describing_the_kinds_imports_nothing_heavy() -> None:
    script = (
        "import sys; from interp_tui_engine import catalog; [catalog.kinds(), [k.check for k in catalog.kinds()]]\n"
        "print([m for m in ('torch', 'transformers', 'textual', 'zarr', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
