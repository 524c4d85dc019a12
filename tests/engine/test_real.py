"""A real model: SmolLM2-135M-Instruct from its GGUF. `make smollm2` fetches it; `make test-real` runs this."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp_tui_engine import manifest, supervisor

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _model() -> None:
    if not list((ROOT / "models").glob("SmolLM2*.gguf")):
        pytest.skip("make smollm2 fetches the model")


def test_the_llc_of_smollm2_is_finite_with_observables(tmp_path: Path) -> None:
    short = ["params.num_draws=6", "params.num_init_loss_batches=4"]
    request = manifest.load(ROOT / "examples" / "manifests" / "llc_smollm2.toml", short)
    folder = supervisor.prepare(request, tmp_path / "smollm2")
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    result = folder.result()
    assert result is not None and result["llc_mean"] is not None
    assert 1.0 < result["init_loss"] < 6.0, "a trained model on docstrings: far below ln(49,152) = 10.8"
    arrays = {path.name for path in (folder.path / "samples.zarr").iterdir()}
    assert {"loss_prose", "loss_code", "sampling_loss_micro"} <= arrays
