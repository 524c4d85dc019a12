"""Activations on a simulated GPU: no batch waits for the device but the thread that writes it, and the store is the CPU's."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest
import torch
import xarray as xr

from in_process import run_tiny
from interp_tui_engine.models import host_ring
from interp_tui_engine.models.host_ring import HostRing
from simulated_gpu import GPU, GpuTensor, models_on_the_gpu, simulated_gpu

PARAMS = {"sites": ["L2.resid_post", "L1.z"], "batch_size": 4}


def data(rows: int) -> dict[str, dict[str, object]]:
    return {"train": {"source": "builtin:facts", "context": 12, "rows": rows}}


def test_a_batch_waits_for_the_ring_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = run_tiny("activations", PARAMS, tmp_path / "here", data=data(10))
    waited: list[str] = []
    monkeypatch.setattr(host_ring, "event_on", lambda device: lambda: waited.append(threading.current_thread().name))
    counted: list[Counter[str]] = []
    for rows in (10, 22):
        waited.clear()
        with simulated_gpu() as counts, models_on_the_gpu():
            there = run_tiny("activations", PARAMS, tmp_path / f"there-{rows}", data=data(rows))
            counted.append(Counter(counts.waits))
        assert len(waited) == -(-rows // 4) and all(name.startswith("activations-writer") for name in waited)
        if rows == 10:
            stores = [xr.open_datatree(run.folder.path / "activations.zarr", engine="zarr", consolidated=False) for run in (here, there)]
            for site in PARAMS["sites"]:
                mine, want = (torch.tensor(store[site].to_numpy()) for store in stores)
                torch.testing.assert_close(mine, want, rtol=1e-4, atol=1e-5)
    assert counted[0] == counted[1], "three more batches cost no further wait"


def test_buffers_are_pinned_for_a_gpu_and_lent_in_turn() -> None:
    with simulated_gpu() as counts:
        ring = HostRing(GPU, {"x": ((4, 3), torch.float32)}, 2)
        first, second = ring.take(), ring.take()
        values = torch.arange(6.0).reshape(2, 3)
        first.put("x", 1, GpuTensor(values))
        first.sent()
        first.wait()
        assert torch.equal(first["x"][1:3], values) and not counts.waits, "pinned memory is copied to without waiting"
        third: list[object] = []
        thread = threading.Thread(target=lambda: third.append(ring.take()))
        thread.start()
        thread.join(0.05)
        assert not third, "all are lent"
        ring.give_back(second)
        thread.join()
        assert third == [second]
    assert not HostRing(torch.device("cpu"), {"x": ((1,), torch.float32)}, 1).take()["x"].is_pinned()
