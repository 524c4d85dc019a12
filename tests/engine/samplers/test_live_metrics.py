"""What a chain says of its newest step while it runs, where metrics are measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import zarr
from sampler_models import SERIAL, VMAP, config, make_store, problem, run

from interp_tui_engine.experiments._sampling.live_events import step_parts
from interp_tui_engine.samplers import metrics


@pytest.mark.parametrize("executor", [SERIAL, VMAP], ids=["serial", "vmap"])
def test_the_snapshot_holds_the_newest_row_of_the_store(tmp_path: Path, executor):
    c = config(num_chains=2, save_metrics=True)
    p = problem(c)
    done = run(p, c, make_store(tmp_path / "s", p, c), executor=executor)
    group = zarr.open_group(tmp_path / "s", mode="r")
    for chain in done.snapshot.chains:
        assert set(chain.metrics) == set(metrics.NAMES)
        for name, value in chain.metrics.items():
            assert value == pytest.approx(float(group[f"metrics_{name}"][chain.chain, -1]), rel=1e-6)
    plain = config(num_chains=2)
    assert not run(problem(plain), plain).snapshot.chains[0].metrics and step_parts({}) is None


def test_drift_is_the_norm_of_gradient_and_pull_together():
    generator = torch.Generator().manual_seed(0)
    w, g, noise, w0 = torch.randn(4, 7, generator=generator)
    c = config(lr=0.02, n_beta=7.0, localization=3.0)
    sums = metrics.finish(metrics.parts_of_step(w, g, noise, w0, None, None, c)).tolist()
    parts = step_parts(dict(zip(metrics.NAMES, sums, strict=True)))
    want = 0.01 * (7 * g + 3 * (w - w0))
    assert parts is not None and parts.drift == pytest.approx(float(want.norm()), rel=1e-5)
    assert parts.noise == pytest.approx(math.sqrt(0.02) * float(noise.norm()), rel=1e-5)
    assert parts.pull == pytest.approx(0.03 * float((w - w0).norm()), rel=1e-5)
