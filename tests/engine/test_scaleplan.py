"""Plans: the seed's own example to the byte, the routes, the risks, sizes as people write them, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from interp_tui.__main__ import main
from interp_tui_engine import scaleplan
from interp_tui_engine.errors import UserError
from interp_tui_engine.scaleplan import GB, TB, Job, Machine

FRONTIER = Job(1e12, 10**9, 16384, 8, 10**6, "bf16", 64, 256, 128, 2, 4096, "auto", 64 * GB)
SMALL = Job(135e6, 10**6, 576, 1, 4608, "bf16", 64, 256, 128, 2, 2048, "auto")


def test_the_seeds_example_to_the_byte() -> None:
    """`interp-lab plan-scale --model-params 1T --tokens 1B --d-model 16384 --selected-layers 8 --latent-dim 1M …`, 3.1.0."""
    found = scaleplan.plan(FRONTIER)
    assert {key: value["bytes"] for key, value in found["estimates"].items()} == {
        "model_weights": 2_000_000_000_000,
        "dense_activations": 262_144_000_000_000,
        "sparse_records": 8_192_000_000_000,
        "sae_parameters": 65_536_000_000,
        "sae_training_floor": 262_412_435_456,
    }
    assert found["estimates"]["dense_activations"]["human"] == "238.42 TB"
    assert found["causal_forward_passes"] == 65_792 and found["profile"] == "frontier-lab" and found["risks"] == []
    assert found["shards"] == {
        "count": 3815,
        "target_bytes": 64 * GB,
        "dense_bytes_per_shard": 68_714_023_591,
        "sparse_bytes_per_shard": 2_147_313_237,
    }


@pytest.mark.parametrize(
    ("change", "profile", "target"),
    [
        ({}, "local-cpu", 512 << 20),
        ({"model_params": 8e9}, "single-gpu", 4 * GB),
        ({"model_params": 70e9}, "cluster", 32 * GB),
        ({"tokens": 10**10}, "cluster", 32 * GB),
        ({"model_params": 1e12}, "frontier-lab", 64 * GB),
        ({"profile": "remote-api"}, "remote-api", GB),
    ],
)
def test_routes(change: dict[str, float], profile: str, target: int) -> None:
    found = scaleplan.plan(replace(SMALL, **change))  # type: ignore[arg-type]
    assert (found["profile"], found["shards"]["target_bytes"]) == (profile, target)


def test_risks() -> None:
    forced = scaleplan.plan(replace(FRONTIER, profile="single-gpu"))["risks"]
    assert [risk["level"] for risk in forced] == ["high", "high", "high"]
    wordy = scaleplan.plan(replace(FRONTIER, format="jsonl"))["risks"]
    assert [risk["level"] for risk in wordy] == ["medium"] and "sparse records of 74.51 TB" in wordy[0]["what"]
    assert len(scaleplan.plan(FRONTIER, Machine(memory=16 * GB, disk=TB, accelerator=80 * GB))["risks"]) == 3
    assert scaleplan.plan(SMALL, Machine(memory=16 * GB, disk=TB, accelerator=0))["risks"] == []


@pytest.mark.parametrize(("text", "value"), [("70B", 70e9), ("1.5m", 1.5e6), ("4_096", 4096), ("1e9", 1e9)])
def test_counts(text: str, value: float) -> None:
    assert scaleplan.count(text) == value


@pytest.mark.parametrize(("text", "value"), [("64GB", 64 * GB), ("0.5 kb", 512), ("100b", 100), ("7", 7)])
def test_sizes(text: str, value: int) -> None:
    assert scaleplan.size(text) == value


@pytest.mark.parametrize("text", ["", "many", "-3", "0", "nan", "1X", "inf"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="is not a count"):
        scaleplan.count(text)


@pytest.mark.parametrize(
    ("change", "said"), [({"profile": "laptop"}, "no profile"), ({"dtype": "fp7"}, "no dtype"), ({"layers": 0}, "layers is 0")]
)
def test_jobs_that_are_none(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        scaleplan.plan(replace(SMALL, **change))  # type: ignore[arg-type]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["plan", "--model-params", "1T", "--tokens", "1B", "--d-model", "16384", "--selected-layers", "8", "--latent-dim", "1M"]
    assert main([*arguments, "--target-shard-size", "64GB", "--json", "--out", str(tmp_path / "p.json")]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(json.dumps(scaleplan.plan(FRONTIER))) == json.loads((tmp_path / "p.json").read_text())
    assert main(arguments) == 0
    assert "238.42 TB" in capsys.readouterr().out
    assert main(["plan", "--tokens", "1B"]) == 2
    assert "--model-params, --d-model: needed" in capsys.readouterr().err
    (tmp_path / "m.toml").write_text('kind = "inspect"\n[params]\ncriterion = "c"\nbackend = "toy"\n')
    assert main(["plan", str(tmp_path / "m.toml")]) == 0
    assert capsys.readouterr().out.startswith("kind    inspect")


def test_a_plan_is_held_against_the_machine_that_doctor_described(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = [
        {"name": "memory", "free_bytes": 64 * GB},
        {"name": "runs folder", "free_bytes": TB},
        {"name": "accelerators", "free_bytes": 141 * GB},
    ]
    (tmp_path / "there.json").write_text(json.dumps([{"ok": True, "name": "python", "found": "3.11"}, *found]))
    arguments = ["plan", "--model-params", "70B", "--tokens", "1B", "--d-model", "8192", "--env-profile"]
    assert main([*arguments, str(tmp_path / "there.json"), "--json", "--out", str(tmp_path / "new" / "plan.json")]) == 0
    said = json.loads((tmp_path / "new" / "plan.json").read_text())
    assert said["machine"] == {"memory": 64 * GB, "disk": TB, "accelerator": 141 * GB, "where": "where there.json is from"}
    assert [risk["what"] for risk in said["risks"]] == [
        "14.90 TB of dense activations, more than the 1.00 TB free on disk where there.json is from"
    ]
    capsys.readouterr()
    for text, hint in (
        ('[{"name": "memory"}]', "does not say how much memory"),
        ("{", "does not say how much memory"),
        (None, "no such file"),
    ):
        place = tmp_path / "odd.json"
        place.unlink(missing_ok=True) if text is None else place.write_text(text)
        assert main([*arguments, str(place)]) == 2
        assert hint in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "there.json"), "--from-env"]) == 2


def test_a_profile_of_interp_labs_says_what_doctor_says() -> None:
    """`interp-lab profile-env --out`: 12 GB of memory, 73 GB of disk, a GPU of 24 GB."""
    profile = {
        "schema_version": "interp-lab.env_profile.v1",
        "memory": {"available_bytes": 12 * GB, "total_bytes": 16 * GB},
        "disk": {"free_bytes": 73 * GB, "path": "/x"},
        "capabilities": {"gpu_count": 1, "max_gpu_memory_bytes": 24 * GB},
    }
    machine = scaleplan.machine_of(profile, "prof.json")
    assert (machine.memory, machine.disk, machine.accelerator) == (12 * GB, 73 * GB, 24 * GB)
    with pytest.raises(UserError, match="does not say how much memory"):
        scaleplan.machine_of({**profile, "memory": None}, "prof.json")
