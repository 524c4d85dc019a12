"""Every example on the embedded model runs as it is, to its end. Those on SmolLM2 are run, cut short, by the tests of a real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_tui_engine import manifest, supervisor

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.stem for path in (ROOT / "examples" / "manifests").glob("*.toml") if "smollm2" not in path.stem)
pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_as_it_is(name: str, tmp_path: Path) -> None:
    folder = supervisor.prepare(manifest.load(ROOT / "examples" / "manifests" / f"{name}.toml"), tmp_path / name)
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    result = folder.result()
    assert result is not None and result["seconds"] > 0
    assert folder.report_path.stat().st_size > 0
