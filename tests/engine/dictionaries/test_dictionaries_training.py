"""train_sae from activations to files: streams, resume, several on one pass, bad input. One worker process, the rest in this one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from in_process import run_whole, stop_after
from interp_tui_engine import manifest
from interp_tui_engine.catalog import Result
from interp_tui_engine.dictionaries import sae_lens
from interp_tui_engine.dictionaries.stream import Held, ShuffleBuffer
from interp_tui_engine.errors import ManifestError, RunFailed, UserError
from interp_tui_engine.events import Checkpoint, Event, Metrics, Warned
from interp_tui_engine.experiments.train_sae import params as sae_params
from interp_tui_engine.models.load import load_model
from interp_tui_engine.runtime.context import Interrupted, Order
from interp_tui_engine.sites.dissect import site_map_of

MODEL = {"source": "builtin:tiny", "revision": "final"}
DATA = {"train": {"source": "builtin:facts", "context": 24, "rows": 60}}
SMALL = {"layer": 1, "latents": 96, "k": 8, "tokens": 6_000, "batch_size": 200, "dead_tokens": 2_000}


def request(params: dict[str, Any], *, model: bool = True, base: Path | None = None, **tables: Any) -> manifest.Manifest:
    given = {"kind": "train_sae", "name": "t", "seed": 3, "params": params, "compute": {"checkpoint_every": "1h", "threads": 1}}
    return manifest.resolve(given | ({"model": MODEL, "data": DATA} if model else {}) | tables, base=base)


def series(events: list[Event], name: str) -> list[Metrics]:
    return [event for event in events if isinstance(event, Metrics) and event.series == name]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[Event], Path]:
    path = tmp_path_factory.mktemp("straight")
    return *run_whole(request(SMALL), path), path


@pytest.mark.parametrize("buffer", [100_000, 700])
def test_stopped_twice_and_resumed_gives_the_same_bits(buffer: int, straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    params = SMALL | {"buffer": buffer, "architecture": "batch_topk"}
    whole, _ = run_whole(request(params), tmp_path / "whole")
    for polls in (7, 11):
        with pytest.raises(Interrupted):
            run_whole(request(params), tmp_path / "parts", poll=stop_after(polls))
    resumed, events = run_whole(request(params), tmp_path / "parts")
    assert resumed.digests == whole.digests and len(whole.digests) == 6
    assert series(events, "training")[-1].step == 30
    assert whole.digests != straight[0].digests


def test_a_pause_writes_a_checkpoint_and_changes_nothing(straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    reading: list[Order] = ["pause", "go", "go"]
    orders: Iterator[Order] = iter([*reading, "go", "pause", "pause", "go", "checkpoint"])
    result, events = run_whole(request(SMALL), tmp_path, poll=lambda: next(orders, "go"))
    assert [event.step for event in events if isinstance(event, Checkpoint)] == [2, 3]
    assert result.digests == straight[0].digests


def test_orders_given_while_the_model_reads_are_heeded(straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_whole(request(SMALL), tmp_path, poll=lambda: "stop")
    orders: Iterator[Order] = iter(["checkpoint", "go"])
    result, events = run_whole(request(SMALL), tmp_path, poll=lambda: next(orders, "go"))
    assert next(event.step for event in events if isinstance(event, Checkpoint)) == 1, "kept for the first step"
    assert result.digests == straight[0].digests


def test_a_stop_while_activations_are_read_keeps_the_steps_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = SMALL | {"buffer": 700}
    whole, _ = run_whole(request(params), tmp_path / "whole")
    stir, refilling = ShuffleBuffer._stir, [0]

    def counted(self: ShuffleBuffer) -> None:
        refilling[0] += 1
        stir(self)

    monkeypatch.setattr(ShuffleBuffer, "_stir", counted)
    with pytest.raises(Interrupted):
        run_whole(request(params), tmp_path / "parts", poll=lambda: "stop" if refilling[0] == 4 else "go")
    kept = torch.load(tmp_path / "parts" / "shards" / "0" / "checkpoint" / "training.pt", weights_only=True)
    assert kept["step"] > 0 and kept["stream"]["refills"] == 3
    monkeypatch.undo()
    resumed, _ = run_whole(request(params), tmp_path / "parts")
    assert resumed.digests == whole.digests


def test_what_a_run_says_and_leaves(straight: tuple[Result, list[Event], Path]) -> None:
    result, events, path = straight
    values = result.values
    assert {"fvu", "l0", "dead_fraction", "ce_loss_recovered", "tokens_per_second", "sae"} <= set(values)
    assert values["l0"] <= 8 and 0 < values["fvu"] < 0.6 and values["ce_loss_recovered"] > 0.5
    assert values["ce_clean"] < values["ce_sae"] < values["ce_mean"] and values["kl"] > 0
    assert values["ce_loss_recovered"] == pytest.approx((values["ce_zero"] - values["ce_sae"]) / (values["ce_zero"] - values["ce_clean"]))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    steps = [event.step for event in series(events, "sae0")]
    assert steps == sorted(set(steps)) and steps[-1] == 30
    histogram = series(events, "histogram")[-1].values["saes"][0]
    assert sum(histogram["counts"]) <= 96 and histogram["latents"] == 96
    assert len(series(events, "loss0")) == 9
    rates = xr.open_datatree(path / "latents.zarr", engine="zarr", consolidated=False)["firing_rate"]
    assert rates.dims == ("latent",) and float((rates == 0).mean()) == pytest.approx(values["dead_fraction"])
    assert float(rates.sum()) == pytest.approx(values["l0"], rel=0.2)
    assert "FVU" in result.report and (path / "figures/fvu.svg").read_text().startswith("<svg")


def test_the_saved_dictionary_is_the_one_that_was_measured(straight: tuple[Result, list[Event], Path]) -> None:
    """Every number anew, from the files, the model's own hidden states, and its logits under a plain hook of PyTorch."""
    result, _, path = straight
    saved = sae_lens.load(path / "sae")
    assert saved.about["hook_name"] == "blocks.1.hook_resid_post" and saved.about["model_name"] == "builtin:tiny"
    model = load_model("builtin:tiny")
    from interp_tui_engine.data.rows import load_rows
    from interp_tui_engine.dictionaries.stream import keyed_generator

    rows = load_rows(request(SMALL).data["train"], model.tokenizer, name="train").ids.long()
    held = rows[torch.randperm(60, generator=keyed_generator(3, -1))[:6].sort().values]
    with torch.no_grad():
        states = model.module(held[:, :-1], output_hidden_states=True).hidden_states[2]  # type: ignore[operator]
    x = states[:, 1:].reshape(-1, 128)
    fvu = (x - saved.reconstruct(x)).square().sum() / (x - x.mean(0)).square().sum()
    values = result.values
    assert float(fvu) == pytest.approx(values["fvu"], rel=1e-4)
    assert float((saved.encode(x) > 0).sum(1).float().mean()) == pytest.approx(values["l0"], rel=1e-5)

    @torch.no_grad()
    def logprobs(change: Any) -> torch.Tensor:
        """Of every next token but the first, with what layer 1 writes from the second position on replaced."""

        def put(_: Any, __: Any, output: Any) -> Any:
            stream = (output if isinstance(output, torch.Tensor) else output[0]).clone()
            stream[:, 1:] = change(stream[:, 1:].reshape(-1, 128)).view_as(stream[:, 1:])
            return stream if isinstance(output, torch.Tensor) else (stream, *output[1:])

        hook = model.module.model.layers[1].register_forward_hook(put)  # type: ignore[union-attr,index,operator]
        try:
            return model.module(held[:, :-1]).logits[:, 1:].log_softmax(-1)  # type: ignore[operator,no-any-return]
        finally:
            hook.remove()

    with_change = {
        "ce_clean": logprobs(lambda flat: flat),
        "ce_sae": logprobs(saved.reconstruct),
        "ce_zero": logprobs(torch.zeros_like),
        "ce_mean": logprobs(lambda flat: x.mean(0).expand_as(flat)),
    }
    for name, found in with_change.items():
        assert -float(found.gather(2, held[:, 2:, None]).mean()) == pytest.approx(values[name], rel=1e-5)
    clean, changed = with_change["ce_clean"], with_change["ce_sae"]
    assert float((clean.exp() * (clean - changed)).sum(-1).mean()) == pytest.approx(values["kl"], rel=1e-4)


def test_several_share_one_pass_and_equal_those_trained_alone(straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    result, events = run_whole(request(SMALL | {"k": [8, 16], "architecture": ["topk", "relu"]}), tmp_path)
    names = [entry["name"] for entry in result.values["saes"]]
    assert names == ["topk-96-k8", "topk-96-k16", "relu-96-l1_0.01"]
    alone = {name.removeprefix("sae/"): value for name, value in straight[0].digests.items()}
    together = {name.removeprefix("sae/topk-96-k8/"): value for name, value in result.digests.items() if "topk-96-k8/" in name}
    assert together == alone
    assert result.values["fvu"] == pytest.approx(straight[0].values["fvu"])
    assert result.values["saes"][1]["fvu"] < result.values["saes"][0]["fvu"]
    assert (tmp_path / "sae/relu-96-l1_0.01/cfg.json").exists()
    assert (
        series(events, "sae2")
        and xr.open_datatree(tmp_path / "latents.zarr", engine="zarr", consolidated=False)["topk-96-k16"]["firing_rate"].size == 96
    )


def test_last_positions_and_heads(tmp_path: Path) -> None:
    params = SMALL | {"site": "z", "positions": "last", "tokens": 400, "batch_size": 40, "latents": 64}
    result, _ = run_whole(request(params), tmp_path)
    assert result.values["width"] == 256 and result.values["distinct_tokens"] == 54
    assert sae_lens.load(tmp_path / "sae").about["hook_name"] == "blocks.1.attn.hook_z"
    assert math.isfinite(result.values["ce_loss_recovered"])


def test_the_model_as_a_whole_is_recovered_by_a_perfect_dictionary() -> None:
    """Reconstructing every activation exactly recovers the loss exactly; answering zeros recovers none."""
    from interp_tui_engine.data.rows import load_rows
    from interp_tui_engine.experiments.train_sae import source as sae_source

    wanted = request(SMALL)
    model = load_model("builtin:tiny")
    rows = load_rows(wanted.data["train"], model.tokenizer, name="train")
    looked: list[None] = []
    site = sae_params.site_of(wanted.params)
    reading = sae_source.from_model(wanted.params, 3, model, site_map_of(model), site, [rows], lambda: looked.append(None))
    assert next(reading) == (54, 60) and len(looked) == 1, "rows are told as they are read"
    with pytest.raises(StopIteration) as end:
        next(reading)
    source = end.value.value
    assert source.losses is not None and source.tokens == 54 * 23 and source.width == 128
    same = source.losses.measure(lambda x: x, live=False)
    assert same["ce_sae"] == pytest.approx(same["ce_clean"], rel=1e-6) and same["kl"] == pytest.approx(0, abs=1e-6)
    assert source.losses.measure(torch.zeros_like, live=False)["ce_sae"] == pytest.approx(same["ce_zero"], rel=1e-6)


def write_records(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def record(index: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(index)
    features = {f"L1:D{j}": float(rng.normal()) for j in range(6)}
    return {"model": "m", "criterion_score": 0.5, "prompt_id": str(index), "features": features} | changes


def test_records_are_sampled_and_trained_on(tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [record(i) for i in range(80)])
    params = {"records": "r.jsonl", "max_records": 50, "latents": 12, "k": 3, "epochs": 40.0, "batch_size": 16}
    wanted = request(params, model=False, base=tmp_path)
    result, _ = run_whole(wanted, tmp_path / "a")
    again, _ = run_whole(wanted, tmp_path / "b")
    assert result.digests == again.digests
    assert result.values["width"] == 6 and result.values["distinct_tokens"] == 45 and result.values["ce_loss_recovered"] is None
    assert sae_lens.load(tmp_path / "a/sae").about["source_features"] == [f"L1:D{j}" for j in range(6)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3: not JSON"),
        (record(2, model="other"), "line 3: model"),
        (record(2, features={"L1:D0": "x"}), "line 3: features"),
        ('{"model": "m", "criterion_score": 1, "prompt_id": "x", "features": {"L1:D0": NaN}}', "line 3"),
        (record(2, features=[{"activation": 1.0}]), r"line 3: features\[0\]\.feature_id is missing"),
    ],
)
def test_malformed_records_name_file_line_and_field(line: Any, said: str, tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", [record(0), record(1), line])
    with pytest.raises(UserError, match=said) as error:
        run_whole(request({"records": "r.jsonl", "latents": 8, "k": 2}, model=False, base=tmp_path), tmp_path / "run")
    assert str(tmp_path / "r.jsonl") in str(error.value)


def test_files_that_params_name_are_looked_for_beside_the_manifest(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", [record(0)])
    text = 'kind = "train_sae"\n[params]\nrecords = "records.jsonl"\n'
    assert manifest.parse(text, base=tmp_path).params.records == str(tmp_path / "records.jsonl")
    with pytest.raises(ManifestError, match=r"params\.records: no such file or folder.*Did you mean 'records\.jsonl'"):
        manifest.parse(text.replace("records.jsonl", "record.jsonl"), base=tmp_path)


def test_stores(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5, 20, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    params = {"store": "x.npy", "latents": 10, "k": 2, "epochs": 2.0, "batch_size": 30}
    result, _ = run_whole(request(params, model=False, base=tmp_path), tmp_path / "run")
    assert result.values["width"] == 7 and result.values["distinct_tokens"] == 90
    xr.Dataset({"x": (("a", "b", "c"), x)}).to_zarr(tmp_path / "s.zarr")
    again, _ = run_whole(request(params | {"store": "s.zarr/x"}, model=False, base=tmp_path), tmp_path / "again")
    assert again.digests == result.digests
    with pytest.raises(UserError, match="is a group of arrays"):
        run_whole(request(params | {"store": "s.zarr"}, model=False, base=tmp_path), tmp_path / "group")
    x[3, 4, 5] = np.inf
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(UserError, match="activation 64 of 100 holds a value that is not finite"):
        run_whole(request(params, model=False, base=tmp_path), tmp_path / "inf")


@pytest.mark.parametrize(("value", "said"), [(0.0, "all activations are zero"), (1.0, "are the same")])
def test_activations_that_never_vary_teach_nothing(value: float, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((50, 8), value, np.float32))
    for normalise in (True, False):
        params = {"store": "x.npy", "latents": 8, "k": 2, "normalise": normalise}
        with pytest.raises(UserError, match=said):
            run_whole(request(params, model=False, base=tmp_path), tmp_path / f"run-{normalise}")


def test_held_out_rows_that_are_trained_on_too_are_said(straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    def said(events: list[Event]) -> str:
        return " ".join(event.message for event in events if isinstance(event, Warned))

    (tmp_path / "again.txt").write_text("The capital of France is Paris.\n" * 200)
    tables = {"data": {"train": {"source": "again.txt", "context": 24}}}
    _, events = run_whole(request(SMALL | {"tokens": 200}, base=tmp_path, **tables), tmp_path / "run")
    assert "6 of 6 held-out rows of text stand among those trained on, token for token" in said(events)
    assert "token for token" not in said(straight[1])


def test_one_held_out_row_has_no_interval_and_says_so(tmp_path: Path) -> None:
    tables = {"data": {"train": {"source": "builtin:facts", "context": 24, "rows": 2}}}
    result, _ = run_whole(request(SMALL | {"tokens": 200}, **tables), tmp_path / "run")
    assert result.uncertainty["fvu"].note == result.uncertainty["ce_loss_recovered"].note == "1 held-out row of text"


def test_the_least_that_can_be_held_out_or_left_to_train_on(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32))
    result, _ = run_whole(request({"store": "x.npy", "latents": 8, "k": 2, "tokens": 32}, model=False, base=tmp_path), tmp_path / "one")
    assert result.values["fvu"] is None, "one activation has no variance to explain"
    assert json.loads(json.dumps(result.values, allow_nan=False)) == result.values
    result, _ = run_whole(request(SMALL | {"validation": 0.999, "tokens": 64}), tmp_path / "most")
    assert result.values["distinct_tokens"] == 23, "a row is left to train on"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, r"params\.layer: is missing"),
        ({"layer": 1, "site": "resid_pst"}, "there is no site 'resid_pst'; did you mean 'resid_post'"),
        ({"layer": 1, "site": "attn_pattern"}, "attn_pattern has no width"),
        ({"layer": 1, "latents": 16, "k": 20}, r"params\.k: 20 is more than params\.latents = 16"),
        ({"layer": 1, "train_data": "trian"}, "none of the manifest's data: train"),
        ({"layer": 1, "skip_positions": 24}, r"params\.skip_positions: 24 leaves nothing"),
        ({"layer": 1, "max_records": 5}, r"params\.max_records: means nothing"),
        ({"layer": 1, "architecture": "top_k"}, r"(?s)params\.architecture.*top_k"),
        ({"layer": 1, "k": list(range(1, 40))}, "at most 32"),
    ],
)
def test_requests_that_cannot_be_are_refused_before_anything_is_loaded(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        request(params)


def test_data_read_together_is_one_pool(straight: tuple[Result, list[Event], Path], tmp_path: Path) -> None:
    data = DATA | {"more": {"source": "builtin:prose", "context": 24, "rows": 20}}
    result, _ = run_whole(request(SMALL | {"train_data": ["train", "more"]}, data=data), tmp_path)
    assert result.values["distinct_tokens"] == 72 * 23
    assert sae_lens.load(tmp_path / "sae").about["dataset_path"] == "builtin:facts, builtin:prose"
    data["more"]["context"] = 30
    with pytest.raises(ManifestError, match=r"data\.more\.context: 30, but data\.train has context 24"):
        request(SMALL | {"train_data": ["train", "more"]}, data=data)


def test_a_layer_that_the_model_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no layer 9"):
        run_whole(request(SMALL | {"layer": 9}), tmp_path)


def test_a_loss_that_explodes_fails_with_advice(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32))
    params = {"store": "x.npy", "latents": 8, "k": 2, "lr": 1e15, "warmup": 0.0, "epochs": 5.0, "batch_size": 10, "architecture": "relu"}
    with pytest.raises(RunFailed, match=r"loss not finite.*lower lr"):
        run_whole(request(params, model=False, base=tmp_path), tmp_path / "run")


def test_a_setting_that_kills_latents_is_warned_of(tmp_path: Path) -> None:
    params = SMALL | {"architecture": "relu", "l1": 20.0, "sparsity_warmup": 0.0, "lr": 0.02}
    _, events = run_whole(request(params), tmp_path)
    said = [event.message for event in events if isinstance(event, Warned)]
    assert said and all(message.startswith("relu-96-l1_20: ") for message in said)
    assert any("collapsed" in message or "dead" in message for message in said)


def test_presets_fill_in_what_is_not_given() -> None:
    found = request({"preset": "minimal", "layer": 1}).params
    minimal = {"architecture": "relu", "expansion": 1.0, "epochs": 50.0, "batch_size": 64, "positions": "last", "lr": 1e-3, "l1": 1e-3}
    assert {name: getattr(found, name) for name in minimal} == minimal and found.validation == 0.1
    found = request({"preset": "production", "layer": 1, "epochs": 3.0}).params
    production = {"architecture": "topk", "k": 32, "expansion": 4.0, "epochs": 3.0, "batch_size": 256, "positions": "all", "lr": 1e-3}
    assert {name: getattr(found, name) for name in production} == production
    wanted = request({"preset": "minimal", "layer": 1})
    assert manifest.parse(wanted.to_toml()) == wanted


def test_streams_give_every_activation_once_an_epoch_and_go_on_where_they_stopped() -> None:
    rows = torch.arange(50.0).unsqueeze(1)
    held = Held(rows, seed=1)
    first = torch.cat([held.take(15) for _ in range(10)]).squeeze(1)
    assert sorted(first[:50].tolist()) == sorted(first[50:100].tolist()) == rows.squeeze(1).tolist()
    assert first[:50].tolist() != first[50:100].tolist()
    resumed = Held(rows, seed=1)
    resumed.load_state({"taken": 45})
    assert torch.equal(resumed.take(60).squeeze(1), first[45:105])

    def chunk(index: int) -> torch.Tensor:
        return torch.arange(index * 10.0, index * 10 + 10).unsqueeze(1)

    buffer = ShuffleBuffer(chunk, capacity=40, seed=1)
    taken = [buffer.take(7) for _ in range(30)]
    seen = torch.cat(taken).squeeze(1)
    assert len(set(seen.tolist())) == len(seen) == 210  # nothing twice
    assert float((seen[1:] - seen[:-1]).abs().median()) > 5  # neighbours are apart
    assert buffer.rows.shape[0] <= 50  # memory: the window and one chunk
    halfway = ShuffleBuffer(chunk, capacity=40, seed=1)
    for _ in range(12):
        halfway.take(7)
    state = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in halfway.state().items()}
    again = ShuffleBuffer(chunk, capacity=40, seed=1)
    again.load_state(state)
    assert all(torch.equal(again.take(7), taken[index]) for index in range(12, 30))
