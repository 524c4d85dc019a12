"""What is promised of a GPU by other means than tensors: determinism, what a run records of it, and what a replay says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from interp_tui.commands.replay import other_gpu
from interp_tui_engine import manifest, notices, worker
from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.models import device as devices
from interp_tui_engine.models import halving
from interp_tui_engine.models.halving import FittingRows, in_halves, in_smaller_passes
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import open_model
from small_llc import LLC


@pytest.fixture
def flags() -> Any:
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.utils.deterministic.fill_uninitialized_memory = before[1]


@pytest.mark.parametrize(("device", "wanted", "on"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)])
def test_gpus_compute_deterministically_unless_told_otherwise(flags: None, device: str, wanted: bool, on: bool) -> None:
    torch.use_deterministic_algorithms(False)
    devices.compute_deterministically(torch.device(device), wanted)
    assert torch.are_deterministic_algorithms_enabled() is on
    assert not on or not torch.utils.deterministic.fill_uninitialized_memory, "memory that is about to be written is not filled first"
    assert manifest.parse(LLC).compute.deterministic


def test_a_worker_gives_cublas_a_fixed_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv(worker.CUBLAS_WORKSPACE, raising=False)
    monkeypatch.setattr("sys.argv", ["worker", str(tmp_path)])
    seen = []
    monkeypatch.setattr(worker, "work", lambda folder, shard: seen.append(os.environ.get(worker.CUBLAS_WORKSPACE)) or 0)
    monkeypatch.setattr(worker.RunFolder, "open", lambda path: path)
    assert worker.main() == 0 and seen == [":4096:8"]


def test_an_operation_without_a_deterministic_way_says_what_to_do(tmp_path: Path) -> None:
    refused = RuntimeError(
        "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_deterministic_algorithms(True)'. You can …"
    )
    ending = worker._how_it_failed(refused, RunFolder(tmp_path))
    assert ending["state"] == "failed" and "cumsum" in ending["reason"] and "compute.deterministic = false" in ending["advice"]


def test_a_run_records_the_model_of_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Model {device.index}")
    assert open_model.gpu_of(torch.device("cuda", 1)) == {"gpu": "Model 1"}
    assert open_model.gpu_of(torch.device("cpu")) == {}


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"gpu": "A"}, {"gpu": "A"}, ""),
        ({"gpu": "A"}, {"gpu": "B"}, "on A, the replay on B"),
        ({"gpu": "A"}, {"device": "cpu"}, "on A, the replay on a CPU"),
        ({"device": "cpu"}, {"device": "cpu"}, ""),
        ({}, {"gpu": "B"}, ""),
    ],
)
def test_a_replay_on_another_model_says_so(first: dict[str, str], second: dict[str, str], said: str) -> None:
    assert said in other_gpu(first, second) and bool(said) == bool(other_gpu(first, second))


def test_noise_is_recorded_and_an_older_run_replays_with_torchs() -> None:
    assert manifest.parse(LLC).compute.noise == "auto"
    ran = LLC + "\n[provenance]\ndevice = 'x'\n[compute]\nchains = 'serial'\n"
    assert manifest.parse(ran).compute.noise == "torch"
    assert manifest.parse(ran + "noise = 'philox'\n").compute.noise == "philox"


def test_work_is_halved_until_it_fits_and_keeps_its_order() -> None:
    tried: list[int] = []

    def compute(rows: list[int]) -> list[int]:
        tried.append(len(rows))
        if len(rows) > 3:
            raise RuntimeError("CUDA error: out of memory")
        return [row * 10 for row in rows]

    said: list[str] = []
    with notices.heard_by(said.append):
        done = list(in_halves(list(range(10)), compute))
    assert [row for rows, _ in done for row in rows] == list(range(10)) and tried[:3] == [10, 5, 2]
    assert [text.partition(":")[0] for text in said] == ["out of memory with 10 rows at a time", "out of memory with 5 rows at a time"]
    assert [value for _, values in done for value in values] == [row * 10 for row in range(10)]
    parts = list(in_halves(torch.arange(4), lambda rows: compute(rows.tolist())))
    assert torch.equal(torch.cat([rows for rows, _ in parts]), torch.arange(4))
    with pytest.raises(RunFailed, match="one row"):
        list(in_halves([5, 6], lambda rows: (_ for _ in ()).throw(MemoryError())))
    with pytest.raises(ZeroDivisionError):
        list(in_halves([5, 6], lambda rows: 1 // 0))


@pytest.mark.parametrize("fits", [64, 8, 3, 1])
def test_what_turned_out_not_to_fit_is_not_tried_again(fits: int) -> None:
    tried: list[int] = []

    def compute(rows: torch.Tensor) -> torch.Tensor:
        tried.append(len(rows))
        if len(rows) > fits:
            raise MemoryError
        return rows * 10

    together = FittingRows(torch.device("cpu"), 1, 16)
    with notices.heard_by(lambda text: None):
        for _ in range(2):
            assert torch.equal(torch.cat([done for _, done in together.each(torch.arange(16), compute)]), 10 * torch.arange(16))
        assert together.count == max(size for size in tried if size <= fits)
        assert in_smaller_passes(16, lambda rows: compute(torch.arange(rows)).shape[0]) <= fits
    refused = [size for size in tried if size > fits]
    assert len(refused) == 2 * len(set(refused)), "each size once by the passes, and once from the beginning again"


@pytest.mark.parametrize(
    ("device", "free", "room"),
    [("cpu", 1 << 40, 512 << 20), ("cpu", 1 << 20, 1 << 18), ("cuda", 100 << 30, 16 << 30), ("cuda", 5, 1), ("cuda", 0, 1)],
)
def test_rows_are_as_many_as_the_free_memory_of_their_device_holds(
    monkeypatch: pytest.MonkeyPatch, device: str, free: int, room: int
) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(halving, "free_memory", lambda where: asked.append(where) or free)
    where = torch.device(device, 1) if device == "cuda" else torch.device(device)
    assert halving.budget(where) == room and asked == [where]
    assert FittingRows(where, 1 << 20, 10_000).count == min(10_000, max(1, room >> 20))


def test_devices_that_hold_a_model_together_do_not_cut_work_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halving, "_together", lambda: True)
    with pytest.raises(RunFailed, match="one of the devices that hold the model"):
        list(in_halves([1, 2], lambda rows: (_ for _ in ()).throw(MemoryError())))


@pytest.mark.parametrize(
    ("kind", "precision", "refused"),
    [("llc", "bf16", False), ("llc", "tf32", False), ("certify", "bf16", True), ("certify", "tf32", False)],
)
def test_a_precision_is_checked_with_the_manifest(kind: str, precision: str, refused: bool) -> None:
    text = LLC if kind == "llc" else 'kind = "certify"\nname = "t"\n'
    text += f"\n[compute]\nprecision = '{precision}'\n"
    if refused:
        with pytest.raises(manifest.ManifestError, match=r"certify moves none; use model.dtype"):
            manifest.parse(text)
    else:
        assert manifest.parse(text).compute.precision == precision
    assert manifest.parse(LLC).compute.precision == "float32"


def test_tensor_floats_are_for_gpus_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Model A")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    for device, precision, words in (
        (cpu, "tf32", "computes on cpu"),
        (cuda, "tf32", "computes on Model A"),
        (cuda, "bf16", "no bfloat16"),
    ):
        with pytest.raises(UserError, match=words):
            devices.compute_in(device, precision)
    for precision in ("float32", "bf16"):
        devices.compute_in(cpu, precision)
    assert not asked
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    devices.compute_in(cuda, "tf32")
    devices.compute_in(cuda, "float32")
    assert asked == ["high", "highest"]


@pytest.mark.parametrize(
    ("device", "module", "right", "used"),
    [
        ("cuda", "json", lambda kernel, device: kernel.loads("1") == 1, True),
        ("cuda", "json", lambda kernel, device: False, False),
        ("cuda", "json", lambda kernel, device: kernel.no_such_kernel(), False),
        ("cuda", "no_such_module", lambda kernel, device: True, False),
        ("cpu", "json", lambda kernel, device: True, False),
    ],
    ids=["right", "wrong numbers", "raises", "cannot be imported", "not on this device"],
)
def test_kernels_are_tried_before_they_are_used(device: str, module: str, right: Any, used: bool) -> None:
    assert (devices.tried(torch.device(device), module, right) is not None) is used
