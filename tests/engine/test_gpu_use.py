"""How busy a run's GPUs are: asked of a library that stands in for nvidia-ml-py, kept in the status, and nothing where there is none."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted_workers import SHARED, Script

from interp_tui.runs import queue_look
from interp_tui_engine import accelerators, atomic, gpu_use, run_queue, supervisor, worker
from interp_tui_engine.gpu_use import KEPT, GpuHistory, GpuMeter, GpuUse
from interp_tui_engine.runfolder import RunFolder, Status


class NVMLError(Exception):
    pass


class Driver:
    """nvidia-ml-py of a machine with three GPUs, the last of which is cut into instances."""

    NVMLError = NVMLError

    def __init__(self, busy: int = 40) -> None:
        self.busy, self.lost, self.broken = busy, False, False

    def nvmlInit(self) -> None:
        if self.broken:
            raise NVMLError("driver not loaded")

    def nvmlDeviceGetCount(self) -> int:
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return f"GPU-{handle}a".encode()

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        if handle == 2:
            raise NVMLError("not supported")
        return [SimpleNamespace(pid=4711, usedGpuMemory=1 << 30)] if handle == 1 else []

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        if self.lost:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(used=(handle + 1) << 30, total=80 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        if handle == 2:
            raise NVMLError("not supported")
        return SimpleNamespace(gpu=self.busy + handle)


@pytest.fixture(autouse=True)
def no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_gpu_says_how_busy_and_how_full_it_is() -> None:
    assert GpuMeter(Driver()).read() == [
        GpuUse("cuda:0", 40, 1 << 30, 80 << 30),
        GpuUse("cuda:1", 41, 2 << 30, 80 << 30),
        GpuUse("cuda:2", None, 3 << 30, 80 << 30),
    ]


def test_the_queue_leaves_gpus_alone_on_which_others_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    assert gpu_use.in_use(driver) == {"1", "GPU-1a"}
    monkeypatch.setattr(gpu_use, "_library", lambda: driver)
    monkeypatch.setattr(run_queue, "_nvidia_smi", lambda query: pytest.fail("the driver was asked through its library"))
    monkeypatch.setattr(accelerators, "visible", lambda: ("cuda:0", "cuda:1", "cuda:2"))
    monkeypatch.setattr(run_queue.lease, "is_kept", lambda path: False)
    assert run_queue.free_devices() == ["0", "2"]
    driver.broken = True
    assert gpu_use.in_use(driver) is None, "then nvidia-smi is asked"
    monkeypatch.setattr(gpu_use, "_library", lambda: None)
    assert gpu_use.in_use() is None


@pytest.mark.parametrize("mask", ["1,0", "GPU-1a,GPU-0a"])
def test_a_gpu_is_called_as_torch_calls_it_behind_a_mask(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert [(use.device, use.busy) for use in GpuMeter(Driver()).read()] == [("cuda:0", 41), ("cuda:1", 40)]


def test_a_run_keeps_the_last_minute_of_its_own_gpus_and_their_most_memory() -> None:
    driver = Driver()
    history = GpuHistory(GpuMeter(driver))
    for driver.busy in range(KEPT + 5):
        history.look()
    (row,) = history.rows("cuda:1")
    assert row["busy"] == [busy + 1 for busy in range(5, KEPT + 5)] and row["peak"] == 2 << 30
    assert [row["device"] for row in history.rows("cuda:0, cuda:2")] == ["cuda:0", "cuda:2"]
    assert history.rows("cuda")[0]["device"] == "cuda:0" and history.rows("2×cpu") == () and history.rows("cpu") == ()


def test_no_driver_no_package_and_a_lost_gpu_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    meter = GpuMeter(driver)
    driver.lost = True
    assert meter.read() == []
    driver.broken = True
    assert not GpuMeter(driver)
    monkeypatch.setattr(gpu_use, "_library", lambda: None)
    with gpu_use.watched() as history:
        assert history.rows("cuda:0") == ()


def test_the_package_has_the_names_that_are_asked_of_it() -> None:
    nvml = pytest.importorskip("pynvml", reason="the extra gpu is not installed")
    assert [name for name in dir(Driver) if name.startswith(("nvml", "NVML")) and not hasattr(nvml, name)] == []


def test_a_run_on_a_gpu_says_so_in_its_status_and_its_record(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_use, "_library", Driver)
    body = 'log.append(RunStarted("llc", "shared", device="cuda:1"))\nlog.append(Progress(1, 1, "draw"))\ntime.sleep(0.3)\nend("done")\n'
    folder = scripted(body, SHARED.replace('devices = ["cpu", "cpu"]', ""))
    status = supervisor.supervise(folder)
    assert status.state == "done", status.exit
    assert Status.from_json(status.to_json()).gpus == status.gpus
    assert [(row["device"], set(row["busy"]), row["peak"]) for row in status.gpus] == [("cuda:1", {41}, 2 << 30)]
    assert "[provenance.gpu_memory_peak]" in folder.manifest_path.read_text()


def test_a_task_of_a_cluster_notes_its_nodes_gpus_where_the_queue_screen_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    shard = folder.shard(3)
    shard.mkdir(parents=True)
    monkeypatch.setattr(gpu_use, "_library", Driver)
    monkeypatch.setattr(gpu_use, "EVERY", 0.01)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    noted = threading.Event()
    write = atomic.write_json
    monkeypatch.setattr(atomic, "write_json", lambda *args, **options: (write(*args, **options), noted.set()))
    with worker._gpus_noted(shard) as history:
        assert noted.wait(60)
    assert history is not None and history.peaks() == {"cuda:0": 1 << 30, "cuda:1": 2 << 30, "cuda:2": 3 << 30}
    rows = queue_look.gpus_of(folder, "shard 3")
    assert [(row["device"], row["busy"][:1]) for row in rows] == [("cuda:0", [40]), ("cuda:1", [41]), ("cuda:2", [])]
    assert queue_look.gpus_of(folder, "shard 4") == () and queue_look.gpus_of(folder, "") == ()
    (shard / gpu_use.FILE).write_text("{")
    assert queue_look.gpus_of(folder, "shard 3") == ()
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID")
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    with worker._gpus_noted(shard) as history:
        assert history is None, "its supervisor looks"
