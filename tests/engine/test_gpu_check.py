"""What is tried on each GPU, here on the CPU or on pretended devices: results, advice, and errors told and not raised."""

from __future__ import annotations

import json

import pytest
import torch

from interp_tui_engine.runtime import gpu_check
from interp_tui_engine.samplers import philox
from interp_tui_engine.samplers.chains import graphs
from interp_tui_engine.samplers.fused import available

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "WIDTH", 64)
    monkeypatch.setattr(gpu_check, "SECONDS", 0.0)


def test_products_are_checked_and_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_check.products(CPU).advice == ""
    monkeypatch.setattr(gpu_check, "SECONDS", 1e-3)
    assert gpu_check.products(CPU).result.endswith("TFLOP/s in float32")
    product = torch.Tensor.__matmul__

    def wrong(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return product(left, right) + (0.1 if left.dtype == torch.float32 else 0.0)

    monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    trial = gpu_check.products(CPU)
    assert "off by 0.1" in trial.result and "computes wrongly" in trial.advice


@pytest.mark.parametrize("there", [True, False])
def test_without_the_kernel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(philox, "has_kernel", lambda device: there)
    monkeypatch.setattr(available, "trial", lambda device, method: "")
    trial = gpu_check.noise_kernel(CPU)
    assert bool(trial.advice) is not there and ("one launch" in trial.result) is there


def test_an_update_without_its_kernel_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(philox, "has_kernel", lambda device: True)
    monkeypatch.setattr(available, "trial", lambda device, method: "its numbers are off by 0.1")
    trial = gpu_check.noise_kernel(CPU)
    assert "update in some ten" in trial.result and trial.advice.endswith("its numbers are off by 0.1")


@pytest.mark.parametrize(("plays", "goes"), [(True, True), (False, False)])
def test_a_recording_is_played_and_its_result_looked_at(monkeypatch: pytest.MonkeyPatch, plays: bool, goes: bool) -> None:
    assert gpu_check.recording(CPU).result == "not on this device"
    monkeypatch.setattr(graphs, "cuda_recorder", lambda device: lambda step: step if plays else lambda: None)
    assert (gpu_check.recording(CPU).advice == "") is goes


def test_what_fails_is_told_and_the_rest_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: torch.device) -> gpu_check.GpuTrial:
        raise RuntimeError("CUDA error: operation not permitted\nmore")

    monkeypatch.setitem(gpu_check.TRIALS, "noise", refuse)
    trials = {trial.name: trial for trial in gpu_check.examine(CPU)}
    assert list(trials) == ["products", "noise", "recording"]
    assert trials["noise"].result == "failed: CUDA error: operation not permitted" and "slower" in trials["noise"].advice


def test_every_gpu_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert (gpu_check.main() == 0 and json.loads(capsys.readouterr().out) == []) or torch.cuda.is_available()
    monkeypatch.setattr(gpu_check, "available", lambda: ["cuda:0", "cuda:1", "cpu"])
    monkeypatch.setattr(gpu_check, "gpu_model", lambda device: f"Model {device.index}")
    monkeypatch.setattr(gpu_check, "examine", lambda device: [gpu_check.GpuTrial("products", "fine")])
    gpu_check.main()
    report = json.loads(capsys.readouterr().out)
    assert [(gpu["device"], gpu["model"]) for gpu in report] == [("cuda:0", "Model 0"), ("cuda:1", "Model 1")]
