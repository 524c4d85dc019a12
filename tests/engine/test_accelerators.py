"""What devices = "auto" means: which GPUs are seen without torch, who is given one, and what stays with one worker."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scripted_workers import SHARED, Script, starts, told

from interp_tui_engine import accelerators, catalog, manifest, supervisor
from interp_tui_engine.events import Warned
from interp_tui_engine.specs import ModelSpec
from interp_tui_engine.supervision import sweep_supervisor, worker_pool

LISTING = "\n".join(f"GPU {k}: NVIDIA H200 (UUID: GPU-{k}a{k}b)" for k in range(3)) + "\n"
CUT = "GPU 0: NVIDIA H200 (UUID: GPU-0a0b)\n  MIG 1g.18gb     Device  0: (UUID: MIG-1)\n  MIG 1g.18gb     Device  1: (UUID: MIG-2)\n"
TWO = ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("listing", "mask", "count"),
    [
        (LISTING, None, 3),
        (LISTING, "2,0", 2),
        (LISTING, " 1 ", 1),
        (LISTING, "", 0),
        (LISTING, "-1", 0),
        (LISTING, "0,-1,1", 1),  # what comes after one that is none is hidden
        (LISTING, "0,7,1", 1),
        (LISTING, "0,1,0", 0),  # CUDA takes a repetition for a mistake and shows none
        (LISTING, "GPU-1a1b,GPU-0", 2),
        (LISTING, "GPU-", 0),  # the beginning of three
        (CUT, None, 1),
        (CUT, "MIG-1,MIG-2", 1),
        ("", None, 0),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", None, 0),
    ],
)
def test_the_gpus_that_torch_will_find_are_counted_without_it(listing: str, mask: str | None, count: int) -> None:
    assert accelerators.names(listing, mask) == tuple(f"cuda:{k}" for k in range(count))


def test_the_installed_torch_is_asked_by_its_file() -> None:
    import torch

    assert accelerators.torch_is_built_for_cuda() == (torch.version.cuda is not None)


@pytest.mark.parametrize(
    ("device", "found", "meant"),
    [
        ("auto", TWO, list(TWO)),
        ("cuda", TWO, list(TWO)),
        ("cuda:1", TWO, ["cuda:1"]),
        ("cpu", TWO, ["cpu"]),
        ("auto", (), ["auto"]),
        ("mps", (), ["mps"]),
    ],
)
def test_auto_is_every_gpu_unless_the_model_is_told_where_to_be(device: str, found: tuple[str, ...], meant: list[str]) -> None:
    assert accelerators.for_model(ModelSpec.model_validate({"device": device}), found) == meant


AUTO = SHARED.replace('devices = ["cpu", "cpu"]', "").replace("num_chains = 4", "num_chains = 4\nnum_draws = 200000")


def test_a_long_run_is_shared_out_to_all_gpus_and_its_manifest_names_none(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: TWO)
    folder = scripted("join() if share.merges else sample()", AUTO)
    status = supervisor.supervise(folder)
    assert status.state == "done" and status.headline == {"chains": [0, 1, 2, 3]}
    assert [(row["what"], row["device"]) for row in status.shards] == [("chains 0-1", "cuda:0"), ("chains 2-3", "cuda:1")]
    assert starts(folder) == [0, 1, 2] and status.device == "cuda:0, cuda:1"
    assert manifest.load(folder.manifest_path).compute.devices == "auto", "so that it runs as well where there are fewer"


def test_shares_go_on_with_the_gpus_there_are(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: TWO)
    supervisor.supervise(scripted("os.kill(os.getpid(), signal.SIGKILL)", AUTO))
    monkeypatch.setattr(accelerators, "visible", tuple)
    status = supervisor.supervise(scripted("join() if share.merges else sample()", AUTO))
    assert status.state == "done" and [row["device"] for row in status.shards] == ["auto", "auto"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (AUTO.replace("num_draws = 200000", "num_draws = 2"), TWO),  # done before a second worker has loaded torch
        (AUTO, TWO[:1]),
        (AUTO, ()),
        (AUTO.replace('source = "builtin:tiny"', 'source = "builtin:tiny"\ndevice = "cuda:1"'), TWO),
    ],
)
def test_what_one_worker_does_best_stays_with_it(text: str, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: found)
    assert worker_pool.assignments_of(manifest.parse(text)) == []


SWEPT = AUTO + '[sweep]\n"params.lr" = [1e-5, 1e-4, 1e-3]\n'


def test_points_of_a_sweep_take_a_gpu_each_and_are_not_shared_out_further(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: TWO)
    monkeypatch.setattr(accelerators, "usable", lambda: TWO)
    request = manifest.parse(SWEPT)
    points = sweep_supervisor.estimate(request)
    assert points.notes[0] == "3 runs, 2 at a time"
    folder = scripted("assert share is None; end('done', headline={'lr': 1})", request.to_toml())
    assert supervisor.supervise(folder).state == "done"
    made = [manifest.load(folder.path / "points" / f"00{k}") for k in range(3)]
    assert [one.model.device for one in made if one.model] == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize(
    ("usable", "placed"), [((), ["auto"] * 3), (TWO[1:], ["auto"] * 3), (("cuda:1", "cuda:2"), ["cuda:1", "cuda:2", "cuda:1"])]
)
def test_points_of_a_sweep_run_where_torch_can_compute(
    scripted: Script, monkeypatch: pytest.MonkeyPatch, usable: tuple[str, ...], placed: list[str]
) -> None:
    monkeypatch.setattr(accelerators, "visible", lambda: (*TWO, "cuda:2"))
    monkeypatch.setattr(accelerators, "usable", lambda: usable)
    folder = scripted("end('done', headline={'lr': 1})", SWEPT)
    assert supervisor.supervise(folder).state == "done"
    made = [manifest.load(folder.path / "points" / f"00{k}") for k in range(3)]
    assert [request.model.device for request in made if request.model] == placed
    warned = [stamped.event.message for stamped in told(folder) if isinstance(stamped.event, Warned)]
    assert len(warned) == 1 and "torch cannot use cuda:0" in warned[0] and ("cuda:1" in warned[0]) == (not usable)
    assert all(gpu not in warned[0] for gpu in usable)


def test_torch_is_asked_by_a_process_of_its_own_where_the_driver_lists_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, say = [], {"said": "cuda:1 cpu\n"}

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if not say["said"]:
            raise subprocess.TimeoutExpired(command, 1.0)
        return subprocess.CompletedProcess(command, 0, say["said"])

    monkeypatch.setattr(accelerators.subprocess, "run", run)
    for seen, said, meant in (((), "cuda:1", ()), (TWO, "cuda:1 cpu\n", TWO[1:]), (TWO, "", ())):
        monkeypatch.setattr(accelerators, "visible", lambda seen=seen: seen)
        say["said"] = said
        accelerators.usable.cache_clear()
        assert accelerators.usable() == meant
    accelerators.usable.cache_clear()
    assert [command[1:] for command in asked] == [["-c", accelerators.ASK]] * 2


def test_the_question_to_torch_is_one_it_answers() -> None:
    answer = subprocess.run([sys.executable, "-c", accelerators.ASK], capture_output=True, text=True, check=True)
    assert answer.stdout.split()[-1] == "cpu"


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((7, 0), ["sm_75", "sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "sm_90"], False),
        ((12, 0), ["sm_80", "compute_90"], True),
        ((9, 0), ["sm_90a"], True),
        ((10, 0), ["sm_90a", "compute_90a"], False),
        ((9, 0), ["gfx90a"], True),
        ((9, 0), [], True),
    ],
)
def test_a_gpu_is_used_if_torch_has_code_for_it(capability: tuple[int, int], built_for: list[str], runs: bool) -> None:
    from interp_tui_engine.models.device import has_code_for

    assert has_code_for(capability, built_for) is runs


def test_devices_are_those_that_torch_has_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from interp_tui_engine.models.device import available

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: ((6, 1), (8, 6))[index])
    assert "cuda:1" in available() and "cuda:0" not in available()


def test_a_worker_goes_on_without_a_gpu_that_only_the_driver_sees(scripted: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp_tui_engine import shards, worker
    from interp_tui_engine.models import device

    monkeypatch.setattr(accelerators, "visible", lambda: TWO)
    monkeypatch.setattr(device, "available", lambda: ["cpu"])
    request = manifest.parse(AUTO)
    assert worker._device(request, 1, shards.Shard("chains 2-3", {"chains": [2, 3]}, 2)) is None
    monkeypatch.setattr(device, "available", lambda: [*TWO, "cpu"])
    assert [worker._device(request, k, shards.Shard("", {"chains": []}, 2)) for k in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker._device(request, 0, None) is None, "one worker leaves it to [model]"
    assert catalog.get("llc").sharding is not None
