"""What a run will ask of a cluster, said before anything is submitted, and refused where it cannot fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.fake_slurm import Cluster
from interp_tui_engine import manifest
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.supervision import preflight

LLC = """
kind = "llc"
[model]
[data.train]
rows = 64
[params]
lr = 1e-4
n_beta = 30.0
num_chains = 4
num_draws = 10
sampling_data = "train"
[compute]
executor = "slurm"
[compute.slurm]
"""


def test_the_plan_counts_tasks_and_hours() -> None:
    plan = preflight.plan(manifest.parse(LLC + "gpus_per_task = 2\ntasks = 2\n"))
    assert plan.tasks == 3 and plan.gpus == 2 and plan.gpu_hours == pytest.approx(2 * plan.hours), "two shares, and what joins them"
    plan = preflight.plan(manifest.parse(LLC))
    assert (plan.tasks, plan.what) == (5, "a share each") and plan.memory_bytes and plan.memory_bytes > 100 << 20
    sweep = manifest.parse(LLC + "array_parallelism = 2\n" + '[sweep]\n"params.lr" = [1e-5, 1e-4, 1e-3]\n')
    plan = preflight.plan(sweep)
    assert (plan.tasks, plan.what, plan.at_once) == (3, "a point each", 2)
    assert plan.lines()[0] == "3 tasks: a point each, at most 2 at a time"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('partition = "gpu"', "compute.slurm.partition: there is no partition 'gpu'; there are main, urgent"),
        ('time = "1"', "compute.slurm.time: is too short to start a worker and save, it is told to end after 30 s; at least '2'"),
        ('partition = "urgent"\ntime = "2:00:00"', "compute.slurm.time: is more than partition urgent allows; at most '1:00:00'"),
        ("gpus_per_task = 1", "compute.slurm.gpus_per_task: is more than a node of main has; it has none"),
        ('partition = "urgent"\ngpus_per_task = 4', "is more than a node of urgent has; at most 2"),
        ("cpus_per_task = 64", "compute.slurm.cpus_per_task: is more than a node of main has; at most 2"),
        ('mem = "64G"', "compute.slurm.mem: is more than a node of main has; at most '4000M'"),
        ('mem = "10M"', "compute.slurm.mem: is less than a task is expected to need; at least '"),
    ],
)
def test_what_cannot_fit_is_refused_with_what_would(cluster: Cluster, settings: str, said: str) -> None:
    with pytest.raises(ManifestError) as error:
        preflight.check(manifest.parse(LLC + settings + "\n"))
    assert said in str(error.value) and cluster.all() == {}


def test_a_task_has_all_the_devices_that_hold_its_model(cluster: Cluster) -> None:
    together = ["compute.gpus_per_worker=2", "compute.chains=serial"]
    with pytest.raises(ManifestError, match=r"less than the 2 devices that hold the model .* at least 2"):
        preflight.check(manifest.parse(LLC + 'partition = "urgent"\ngpus_per_task = 1\n', overrides=together))
    preflight.check(manifest.parse(LLC + 'partition = "urgent"\ngpus_per_task = 2\n', overrides=together))


def test_what_fits_passes_and_a_run_of_this_machine_needs_no_cluster(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    preflight.check(manifest.parse(LLC + 'partition = "urgent"\ntime = "30"\ngpus_per_task = 1\nmem = "3G"\n'))
    monkeypatch.setenv("PATH", str(tmp_path))
    preflight.check(manifest.parse(LLC, overrides=["compute.executor=local"]))
    with pytest.raises(UserError, match="sbatch, squeue, scancel is not on the path"):
        preflight.check(manifest.parse(LLC))
