"""llc with its model on two devices (gloo, on this machine's CPU): the numbers of one, and a killed process costs no more than steps.

The other rank is a process of its own, started as a worker starts it; this one is rank 0.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zarr

from in_process import Ended, Poll, go, run_manifest, stop_after
from interp_tui_engine import catalog, manifest, supervisor
from interp_tui_engine.errors import ManifestError, RunFailed
from interp_tui_engine.events import RunStarted
from interp_tui_engine.runtime.context import Interrupted, Order

REQUEST = """
kind = "llc"
name = "two"
[model]
device = "cpu"
[data.train]
context = 12
rows = 24
[params]
lr = 1e-5
n_beta = 30.0
localization = 100.0
bounding_box_size = 0.01
num_chains = 2
num_draws = 3
num_burnin_steps = 2
batch_size = 3
num_init_loss_batches = 2
sampling_data = "train"
observables = { train = 1 }
acceptance_every = 2
[compute]
noise = "philox"
chains = "serial"
threads = 2
checkpoint_every = "1h"
"""


def run_by(count: int, path: Path, poll: Poll = go, changes: Sequence[str] = ()) -> Ended:
    """The run by so many ranks, in the folder that there is or in a new one: the other ranks read the manifest in it."""
    request = manifest.parse(REQUEST, overrides=[f"compute.gpus_per_worker={count}", *changes])
    if not path.exists():
        supervisor.prepare(request, path)
    ended = run_manifest(request, path, poll=poll)
    assert ended is not None
    return ended


def arrays(path: Path) -> dict[str, Any]:
    store = zarr.open_group(path / "samples.zarr", mode="r")
    return {name: np.asarray(array) for name, array in store.arrays()}


def test_two_ranks_are_one_and_a_killed_rank_costs_only_steps(tmp_path: Path) -> None:
    run_by(1, tmp_path / "one")
    two = run_by(2, tmp_path / "two")
    assert next(event for event in two.events if isinstance(event, RunStarted)).device == "2×cpu"
    want, got = arrays(tmp_path / "one"), arrays(tmp_path / "two")
    assert want.keys() == got.keys() and len(want) > 4
    for name, values in want.items():
        # losses of some 8 nats, summed over the hidden width and the vocabulary in another order: 2^-23 of 8, a few dozen times over
        np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=2e-5, err_msg=name)
    assert two.result.values["healthy_chains"] == [0, 1]

    asked = iter(range(10**6))

    def checkpoint_and_then_kill() -> Order:
        look = next(asked)
        if look == 6:  # in the second chain
            (other,) = (child for child in psutil.Process().children() if "--rank" in child.cmdline())
            os.kill(other.pid, signal.SIGKILL)
        return "checkpoint" if look == 1 else "go"

    with pytest.raises(RunFailed, match="rank 1, which held a part of the model, was killed by SIGKILL"):
        run_by(2, tmp_path / "killed", checkpoint_and_then_kill)
    kept = sorted(path.name for path in (tmp_path / "killed" / "shards" / "0" / "checkpoint").glob("chain-*.pt"))
    assert kept[:2] == ["chain-00000.rank-0-of-2.pt", "chain-00000.rank-1-of-2.pt"]
    with pytest.raises(Interrupted):
        run_by(2, tmp_path / "killed", stop_after(2))
    assert run_by(2, tmp_path / "killed").result.digests == two.result.digests


RESTRICTED = ["kind=bif", 'params.restriction=["l1h1", "l2 mlp"]', "params.num_draws=4", "params.num_chains=1", "params.acceptance_every=0"]
"""A head: rows of q, k and v, all of them on the first rank, and columns of o, some on each; and all of a feed-forward part."""


def test_a_restriction_over_two_ranks_moves_what_it_moves_on_one(tmp_path: Path) -> None:
    ended = [run_by(count, tmp_path / str(count), changes=RESTRICTED) for count in (1, 2)]
    one, two = (arrays(tmp_path / str(count)) for count in (1, 2))
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, atol=2e-5, err_msg=name)
    assert np.ptp(two["loss_train"][0, :, 0, 0]) > 0, "something moves"
    assert len({end.result.values["shape"][0] for end in ended}) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["compute.chains=threads"], "chains of a model on several devices run one after another"),
        (["compute.precision=bf16"], "in the weights' own precision"),
        (["compute.noise=torch"], "only 'philox' gives the same numbers"),
        (["params.sampling_method=sgnht", "params.acceptance_every=0"], "couples all weights"),
        (['compute.devices=["cpu", "cpu"]', "model.device=auto"], "both say where to compute"),
    ],
)
def test_what_is_not_done_by_ranks_is_refused_in_words(change: list[str], said: str) -> None:
    with pytest.raises(ManifestError) as refused:
        manifest.parse(REQUEST, overrides=["compute.gpus_per_worker=2", *change])
    assert said in str(refused.value)


@pytest.mark.parametrize("kind", ["susceptibilities", "calibrate", "development"])
def test_kinds_that_need_one_device_say_which_do_not(kind: str) -> None:
    tables = {"kind": kind, "name": "x", **catalog.get(kind).example, "compute": {"gpus_per_worker": 2}}
    with pytest.raises(ManifestError) as refused:
        manifest.resolve(tables)
    assert f"{kind} needs its model on one device; bif, llc, sample can hold it on several" in str(refused.value)
