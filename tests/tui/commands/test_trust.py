"""`--trust`: the one way from the command line to pickled weights and a model's own code, from the command to the worker and no further."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_tools import MANIFEST, Cli, cli, request_file, worker

from interp_tui_engine import manifest, trust
from interp_tui_engine.errors import UserError
from interp_tui_engine.runtime import open_model

__all__ = ["cli", "request_file", "worker"]
SAYS_SO = 'from interp_tui_engine import trust\nend("failed", reason=f"trusted: {trust.allowed()}")\n'


@pytest.fixture(autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    yield
    trust.set_allowed(False)


def test_it_reaches_the_worker_and_lasts_for_one_command(
    cli: Cli, worker: Callable[[str], None], request_file: Path, tmp_path: Path
) -> None:
    worker(SAYS_SO)
    run = tmp_path / "run"
    assert "trusted: True" in cli("--batch", request_file, "--out", run, "--trust").err
    assert "trusted: False" in cli("resume", run).err
    assert "trusted: True" in cli("resume", run, "--trust").err
    assert "trusted: False" in cli("replay", run, "--out", tmp_path / "again").err
    assert "trusted: True" in cli("replay", run, "--trust", "--out", tmp_path / "third").err
    assert "trusted: False" in cli("--batch", request_file, "--out", tmp_path / "fourth").err


def test_a_variable_left_in_the_shell_grants_nothing(
    cli: Cli, worker: Callable[[str], None], request_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker(SAYS_SO)
    monkeypatch.setenv(trust.VARIABLE, "1")
    assert "trusted: False" in cli("--batch", request_file, "--out", tmp_path / "run").err
    assert trust.VARIABLE not in os.environ


def test_it_means_nothing_without_a_run(cli: Cli) -> None:
    answer = cli("--trust")
    assert answer.code == 2 and "--trust: only with --batch" in answer.err


@pytest.mark.parametrize("line", ["trust = true", "[model]\ntrust = true"])
def test_a_manifest_cannot_say_it(cli: Cli, tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f"{line}\n{MANIFEST}" if line.startswith("trust") else MANIFEST.replace("[model]", line))
    answer = cli("validate", path)
    assert answer.code == 2 and "trust" in answer.err


def test_a_run_opens_pickles_only_with_it_and_records_that(tmp_path: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    request = manifest.parse(MANIFEST.replace("builtin:tiny", str(tmp_path)))
    with pytest.raises(UserError, match=r"only as pickles.*\n.*--trust"):
        open_model.load(request)
    trust.set_allowed(True)
    assert open_model.load(request).identity["trusted"] is True
    assert "trusted" not in open_model.load(manifest.parse(MANIFEST)).identity
