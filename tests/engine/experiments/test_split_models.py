"""Runs whose model is split over two devices (gloo, on this machine's CPU): every kind that may be, with the numbers of one device.

The two ranks are processes of their own, which do one list of runs (`two_ranks`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import zarr

from in_process import run_tables
from interp_tui_engine import catalog, manifest
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.models import tensor_parallel
from interp_tui_engine.models.load import load_model
from interp_tui_engine.numbers import finite
from torture.requests import small

pytestmark = pytest.mark.timeout(1800)  # one fixture does the runs of many kinds, each by two processes
HERE = Path(__file__).resolve().parent
SLOW = ("contrast", "inspect", "steer", "train_sae")
"""Kinds whose small runs take up to half a minute of a core on each of the ranks: `make test-real` has them."""
SAVED = "of a folder"
WITHOUT_MODEL = ("attribution_graph", "inspect")
"""Kinds whose small runs read files only."""
KINDS = [kind.name for kind in catalog.kinds() if kind.splittable and kind.name not in SLOW]
TIMES = ("second", "eta")
LENS: dict[str, Any] = {
    "kind": "logit_lens",
    "name": "two",
    "model": {"device": "cpu", "parallel": {"tensor": 2}},
    "params": {"prompt": "The capital of France is", "answer": " Paris"},
}


def tables(kind: str, *, split: bool) -> dict[str, Any]:
    """A small run of the kind."""
    made: dict[str, Any] = json.loads(json.dumps(small(kind)))
    made.setdefault("model", {})["device"] = "cpu"
    return made | {"model": made["model"] | ({"parallel": {"tensor": 2}} if split else {})}


class Ended(NamedTuple):
    """What two ranks made of one run."""

    values: dict[str, Any]
    devices: list[str]
    parameters: list[int | None]
    folder: Path


def by_two_ranks(kinds: Sequence[str], place: Path) -> dict[str, Ended]:
    """Each kind's run by two ranks, and of the quick kinds one with a model that was saved in a folder."""
    requests = {kind: tables(kind, split=True) for kind in kinds}
    if kinds is KINDS:
        requests[SAVED] = of_folder(requests["logit_lens"], place / "saved")
    (place / "list.json").write_text(json.dumps(requests))
    places = [str(HERE), str(HERE.parents[1]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    ranks = [
        subprocess.Popen([sys.executable, "-m", "two_ranks", str(rank), str(place)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        said = [rank.communicate()[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)[-4000:]
    return {name: Ended(**json.loads((place / f"{name}.json").read_text()), folder=place / "0" / name) for name in requests}


def of_folder(asked: dict[str, Any], path: Path) -> dict[str, Any]:
    """The same run of the same model, saved in a folder: each rank reads only its parts."""
    if not path.exists():
        tiny = load_model("builtin:tiny", device="cpu")
        tiny.module.save_pretrained(path)  # type: ignore[operator]
        assert tiny.tokenizer is not None
        tiny.tokenizer.save_pretrained(path)
    model = {key: value for key, value in asked["model"].items() if key != "revision"}
    return asked | {"model": model | {"source": str(path)}}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    return by_two_ranks(KINDS, tmp_path_factory.mktemp("split"))


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    return by_two_ranks(SLOW, tmp_path_factory.mktemp("slow"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_model_gives_the_numbers_of_a_whole_one(kind: str, quick: dict[str, Ended], tmp_path: Path) -> None:
    same_as_whole(kind, quick[kind], tmp_path / "whole")


def test_a_model_that_is_read_in_parts_gives_the_same(quick: dict[str, Ended], tmp_path: Path) -> None:
    whole, _ = run_tables(of_folder(tables("logit_lens", split=False), tmp_path / "saved"), tmp_path / "whole")
    assert not list(differences(as_stored(whole), quick[SAVED].values))
    assert quick[SAVED].devices == ["2×cpu"]
    (parameters,) = quick[SAVED].parameters
    assert parameters is not None and parameters > 10**6, "the elements of the whole are counted"


@pytest.mark.real
@pytest.mark.parametrize("kind", SLOW)
def test_a_split_model_gives_the_numbers_of_a_whole_one_in_longer_runs(kind: str, slow: dict[str, Ended], tmp_path: Path) -> None:
    same_as_whole(kind, slow[kind], tmp_path / "whole")


def same_as_whole(kind: str, split: Ended, path: Path) -> None:
    """The result and the arrays of the same run on one device, to rounding."""
    whole, _ = run_tables(tables(kind, split=False), path)
    # each sum over 128 or 512 numbers, two a layer, is made of two: a few times 2^-23 of logits of 10, and what ratios make of that
    different = list(differences(as_stored(whole), split.values))
    assert not different, different[:5]
    assert kind in WITHOUT_MODEL or split.devices == ["2×cpu"]
    for store in sorted(path.glob("*.zarr")):
        for name, values in zarr.open_group(store, mode="r").arrays():
            want, got = np.asarray(values), np.asarray(zarr.open_group(split.folder / store.name, mode="r")[name])
            if want.dtype.kind == "f":
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4, err_msg=f"{store.name}/{name}")
            else:
                np.testing.assert_array_equal(got, want, err_msg=f"{store.name}/{name}")


def as_stored(result: catalog.Result) -> Any:
    """A result's values as a file holds them."""
    return json.loads(json.dumps(finite(dict(result.values))))


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two results differ by more than rounding, but for what they took."""
    if any(word in path for word in TIMES):
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{path}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif isinstance(one, float) and isinstance(other, float):
        if abs(one - other) > 1e-4 * max(1.0, abs(one)):
            yield f"{path}: {one} became {other}"
    elif one != other:
        yield f"{path}: {one} became {other}"


# -- what cannot be done


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "llc", "params": {}, "data": {}}, "llc moves weights; use compute.gpus_per_worker = 2"),
        ({"model": {"parallel": {"tensor": 2}, "backend": "nnsight"}}, "splits models of transformers, not of nnsight"),
        ({"model": {"parallel": {"tensor": 2}, "device": "mps"}}, "there is one mps"),
        ({"compute": {"devices": ["cpu", "cpu"]}, "model": {"parallel": {"tensor": 2}}}, "both say where to compute"),
        ({"model": {"parallel": {"tensor": 0}}}, "greater than or equal to 1"),
        ({"model": {"parallel": {"layers": 2}}}, "parallel.layers"),
    ],
)
def test_what_cannot_be_split_is_refused_in_words(change: dict[str, Any], said: str) -> None:
    asked = LENS | change
    if asked["kind"] == "llc":
        from interp_tui_engine.experiments import llc

        asked = {**llc.EXAMPLE, "kind": "llc", "name": "x", "model": LENS["model"]}
    with pytest.raises(ManifestError) as refused:
        manifest.resolve(asked)
    assert said in str(refused.value)


def test_a_number_of_devices_that_does_not_divide_the_heads_is_refused() -> None:
    tiny = load_model("builtin:tiny", device="cpu")
    with pytest.raises(UserError, match=r"tensor = 4 does not divide the 2 K/V heads.*") as refused:
        tensor_parallel.plan_of(tiny.module, 4)
    assert refused.value.hint == "2 would do"


def test_an_architecture_without_a_plan_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    module = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(UserError, match="no tensor-parallel plan for GPT2LMHeadModel"):
        tensor_parallel.plan_of(module, 2)


def test_a_dry_run_says_what_each_device_needs(tmp_path: Path) -> None:
    one, two = (supervisor_estimate(tables("logit_lens", split=split)) for split in (False, True))
    assert two.memory_bytes > one.memory_bytes, "two processes"
    assert any(note.startswith("2 devices hold the model together, about 0.4 GiB each") for note in two.notes)


def supervisor_estimate(asked: dict[str, Any]) -> Any:
    """What --dry-run says of a run."""
    from interp_tui_engine.supervision import sweep_supervisor

    return sweep_supervisor.estimate(manifest.resolve(asked))
