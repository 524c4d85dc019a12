"""Features from services and from dictionaries that others have published, in the shapes they are documented to have."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from interp_tui_engine import atomic
from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.features import goodfire, hub_sae
from interp_tui_engine.features.remote_file import HubFile
from references.local_server import Files, Server, serving

LATENTS, WIDTH = 40, 6
W_DEC = torch.randn(LATENTS, WIDTH, generator=torch.Generator().manual_seed(0))


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def files() -> dict[str, bytes]:
    config = {
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "architecture": "standard",
        "metadata": {"hook_name": "blocks.6.hook_resid_pre", "model_name": "gpt2"},
    }
    archive, packed = io.BytesIO(), io.BytesIO()
    np.savez(archive, W_enc=W_DEC.T.numpy(), W_dec=W_DEC.numpy(), threshold=np.ones(LATENTS, np.float32))
    np.savez_compressed(packed, W_dec=W_DEC.numpy())
    qwen = {"W_enc": W_DEC.clone(), "W_dec": W_DEC.T.contiguous(), "b_enc": torch.zeros(LATENTS), "b_dec": torch.zeros(WIDTH)}
    return {
        "/jb/sae/resolve/main/blocks.6/cfg.json": json.dumps(config).encode(),
        "/jb/sae/resolve/main/blocks.6/sae_weights.safetensors": save({"W_dec": W_DEC, "b_dec": torch.zeros(WIDTH)}),
        "/jb/sae/resolve/main/half/cfg.json": json.dumps(config).encode(),
        "/jb/sae/resolve/main/half/sae_weights.safetensors": save({"W_dec": W_DEC.bfloat16()}),
        "/jb/sae/resolve/main/odd/cfg.json": b"{}",
        "/jb/sae/resolve/main/odd/sae_weights.safetensors": b"not safetensors at all",
        "/google/gs/resolve/main/layer_20/width_16k/average_l0_71/params.npz": archive.getvalue(),
        "/google/gs/resolve/main/layer_21/params.npz": packed.getvalue(),
        "/google/gs/resolve/main/layer_22/params.npz": b"PK not really",
        "/Qwen/qs/resolve/main/layer7.sae.pt": saved(qwen),
        "/Qwen/qs/resolve/main/layer8.sae.pt": saved({"W_dec": qwen["W_dec"].bfloat16()}),
        "/Qwen/qs/resolve/main/layer9.sae.pt": saved({"W_dec": Path("/")}),
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    with serving(Files(files())) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


def cards(run_kind: Any, **params: Any) -> list[dict[str, Any]]:
    _, _, folder = run_kind("inspect", criterion="c", **params)
    text = (folder.path / "report.json").read_text()
    assert "secret" not in text
    return list(json.loads(text)["cards"])


@pytest.mark.parametrize(
    ("params", "prefix", "precision"),
    [
        ({"backend": "saelens", "repo": "jb/sae", "sae_path": "blocks.6"}, "SAE:L6:F", 0.0),
        ({"backend": "saelens", "repo": "jb/sae", "sae_path": "half"}, "SAE:L6:F", 2**-8),
        ({"backend": "scope", "repo": "google/gs", "sae_path": "layer_20/width_16k/average_l0_71"}, "SAE:L20:F", 0.0),
        ({"backend": "scope", "suite": "qwen-scope", "repo": "Qwen/qs", "sae_path": "layer7"}, "SAE:L7:F", 0.0),
        ({"backend": "scope", "suite": "qwen-scope", "repo": "Qwen/qs", "sae_path": "layer8.sae.pt"}, "SAE:L8:F", 2**-8),
    ],
)
def test_decoder_rows_are_read_in_place(hub: Files, run_kind: Any, params: dict[str, Any], prefix: str, precision: float) -> None:
    found = {card["feature_id"]: card for card in cards(run_kind, **params, latents=[3, 39])}
    assert set(found) == {f"{prefix}3", f"{prefix}39"}
    for index in (3, 39):
        signature = found[f"{prefix}{index}"]["fingerprint"]["decoder_signature"]
        assert signature == pytest.approx(W_DEC[index].tolist(), rel=precision or 1e-7)
    assert hub.keys == {"Bearer secret"}


def test_only_what_is_asked_for_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    big = torch.randn(5000, WIDTH)
    path = "/r/r/resolve/main/sae_weights.safetensors"
    config = {"/r/r/resolve/main/cfg.json": b'{"hook_name": "blocks.1.hook_resid_post"}'}
    for ranges in (True, False):
        with serving(Files({path: save({"W_dec": big}), **config}, ranges=ranges)) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.url)
            (one,) = hub_sae.saelens("r/r", "", [4999], None, lambda: None)
            assert one.decoder_signature == pytest.approx(big[4999].tolist()) and one.model == "r/r"
            assert (server.sent < 1000) == ranges, "a server without ranges is read through"


def test_a_key_does_not_follow_to_another_host(hub: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Files({"/kept": b"0123456789"})) as store:
        files_here = {"/a/b/resolve/main/x": f"-> {store.url.replace('127.0.0.1', 'localhost')}/kept".encode()}
        with serving(Files(files_here)) as front:
            monkeypatch.setenv("HF_ENDPOINT", front.url)
            assert HubFile("a/b", "x").part(3, 6) == b"345"
        assert front.keys == {"Bearer secret"} and store.keys == {None}


@pytest.mark.parametrize(
    ("params", "error", "said"),
    [
        ({"backend": "saelens", "repo": "jb/sae", "sae_path": "odd"}, UserError, "is no safetensors file"),
        ({"backend": "saelens", "repo": "jb/sae", "sae_path": "none"}, RunFailed, "HTTP 404"),
        (
            {"backend": "saelens", "repo": "jb/sae", "sae_path": "blocks.6", "latents": [40]},
            UserError,
            "latent 40 is not in jb/sae: its 40",
        ),
        ({"backend": "scope", "repo": "google/gs", "sae_path": "layer_21"}, UserError, "it is compressed"),
        ({"backend": "scope", "repo": "google/gs", "sae_path": "layer_22"}, UserError, "has no W_dec that can be read"),
        ({"backend": "scope", "suite": "qwen-scope", "repo": "Qwen/qs", "sae_path": "layer9"}, UserError, "has no place in it"),
        ({"backend": "saelens", "repo": "jb/sae"}, UserError, "params.latents: is missing"),
        ({"backend": "goodfire"}, UserError, "params.model: is missing"),
        ({"backend": "sae", "prompts": "builtin:capital", "sae": "x"}, UserError, "model: is missing; backend 'sae' runs it"),
        ({"backend": "toy", "sae": "x"}, UserError, "params.sae: is given, but backend is 'toy'"),
        ({"backend": "scoop"}, UserError, "scope"),
    ],
)
def test_what_cannot_be_read_is_said(hub: Files, run_kind: Any, params: dict[str, Any], error: type[Exception], said: str) -> None:
    given = {"latents": [1]} | params if params.get("sae_path") else params
    with pytest.raises(error, match=said):
        run_kind("inspect", criterion="c", **given)


def test_nothing_in_a_pickle_is_run(hub: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (exec, ("raise SystemExit(3)",))

    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.exec has no place"):
        hub_sae._Index(io.BytesIO(pickle.dumps(Evil()))).load()


FOUND = {"id": "0000-1", "label": "formal writing", "max_activation_strength": 0.5, "index_in_sae": 17, "relevance": 0.8}


def test_features_that_goodfire_finds(server: Server, run_kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODFIRE_BASE_URL", server.url.removesuffix("/v1"))
    monkeypatch.delenv("GOODFIRE_API_KEY", raising=False)
    request = {"backend": "goodfire", "model": "meta-llama/Llama-3.1-8B-Instruct", "search_top": 2}
    with pytest.raises(UserError, match="GOODFIRE_API_KEY is not set"):
        run_kind("inspect", criterion="formal style", **request)
    monkeypatch.setenv("GOODFIRE_API_KEY", "secret")
    server.answers = [(200, json.dumps({"features": [FOUND, FOUND | {"index_in_sae": 4, "label": "slang"}]}))]
    _, _, folder = run_kind("inspect", criterion="formal style", **request)
    report = atomic.read_json(folder.path / "report.json")
    assert [card["feature_id"] for card in report["cards"]] == ["goodfire:17", "goodfire:4"] and "secret" not in json.dumps(report)
    assert report["cards"][0]["label"] == "formal writing" and report["cards"][0]["metadata"]["relevance"] == 0.8
    assert server.paths == [
        "/api/inference/v1/features/search?query=formal+style&page=1&perPage=2&model=meta-llama%2FLlama-3.1-8B-Instruct"
    ]
    quick = goodfire.service(sleep=lambda seconds: None)
    for answer, said in (((429, "slow"), "429"), ((500, ""), "500"), ((200, "<html>"), "no use"), ((200, '{"features": [{}]}'), "no use")):
        server.answers = [answer]
        with pytest.raises(RunFailed, match=said):
            goodfire.search("q", "m", 5, quick)
    server.answers = [(200, json.dumps({"features": []}))]
    with pytest.raises(UserError, match="has no features for"):
        goodfire.search("q", "m", 5, quick)
    closed = Server()
    closed.http.server_close()
    monkeypatch.setenv("GOODFIRE_BASE_URL", closed.url)
    with pytest.raises(RunFailed, match="could not be used after 2 tries"):
        goodfire.search("q", "m", 5, goodfire.service(sleep=lambda seconds: None, tries=2))


def test_a_contrast_is_recorded_and_ranked_in_one_run(run_kind: Any) -> None:
    tables = {"model": {"source": "builtin:tiny"}}
    params = {"criterion": "a capital comes next", "backend": "directions", "prompts": "builtin:capital", "layers": [1, 2]}
    result, _, folder = run_kind("inspect", tables=tables, **params)
    names = [card["feature_id"] for card in result.values["cards"]]
    assert set(names) == {f"direction:contrast:L{layer}:a-capital-comes-next" for layer in (1, 2)}
    card = atomic.read_json(folder.path / "report.json")["cards"][0]
    assert card["association"] > 0.5 and card["metadata"]["promotes"] and card["metadata"]["nearest"] == []
    assert len(card["fingerprint"]["decoder_signature"]) == 128
    assert card["metadata"]["activating"][0]["tokens"][-1].strip() in ("is", "in"), "the token it is read at is marked"
