"""`demo` runs the shipped example; `export --to hub` says what would be sent and sends it only where asked to."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_tools import Cli, cli
from huggingface_hub.errors import HfHubHTTPError

from interp_tui.commands import batch, demo
from interp_tui_engine import manifest

__all__ = ["cli"]
MakeRun = Any


# --- demo


def test_the_demo_is_the_example_and_tells_what_was_found(cli: Cli, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    request = manifest.load(demo.manifest_path())
    assert request.kind == "pipeline" and [step.kind for step in request.step][-1] == "match"
    result = {"kind": "pipeline", "sentences": ["F26 tells where it holds\x1b[31m"]}
    ran: list[Any] = []

    def start(folder: Any, options: Any) -> int:
        ran.append((manifest.load(folder.path), options))
        done = make_run("demo", kind="pipeline", result=result)
        done.report_path.write_text("# found")
        return batch.finish(done, done.status(), as_json=False)

    monkeypatch.setattr(batch, "start", start)
    answer = cli("demo", "--reuse", "--plain")
    assert answer.code == 0 and ran[0][0].digest() == request.digest() and ran[0][1].reuse
    assert "· F26 tells where it holds" in answer.err and answer.is_safe() and "report" in answer.err


# --- hub


@pytest.fixture
def dictionary(make_run: MakeRun) -> Any:
    folder = make_run("tiny-l2", kind="train_sae", result={"kind": "train_sae", "fvu": 0.14})
    (folder.path / "sae").mkdir()
    (folder.path / "sae/cfg.json").write_text('{"d_sae": 4, "dataset_path": "/tmp/mine/records.jsonl"}')
    (folder.path / "sae/sae_weights.safetensors").write_bytes(b"\0" * 2048)
    folder.report_path.write_text("# train_sae\n\n![fvu](figures/fvu.svg)\nFVU 0.14\n")
    (folder.path / "records.jsonl").write_text("private")
    return folder


@pytest.mark.parametrize("place", ["sae/extra.json", "report.md"])
def test_a_link_out_of_the_run_is_never_sent(cli: Cli, dictionary: Any, tmp_path: Path, place: str) -> None:
    secret = tmp_path / "id_rsa"
    secret.write_text("PRIVATE KEY")
    (dictionary.path / place).unlink(missing_ok=True)
    (dictionary.path / place).symlink_to(secret)
    answer = cli("export", str(dictionary.path), "--to", "hub")
    assert answer.code == 2 and "no file of the run" in answer.err
    page = cli("export", str(dictionary.path), "--to", "html")
    assert page.code == 0 and "PRIVATE KEY" not in page.out


class Hub:
    """What the client was asked to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None

    def __call__(self, **_: Any) -> Hub:
        return self

    def create_repo(self, repo: str, **options: Any) -> None:
        if self.error:
            raise self.error
        self.calls.append((repo, options))

    def create_commit(self, repo: str, operations: list[Any], **options: Any) -> Any:
        self.calls.append((repo, options | {"files": {one.path_in_repo: one.path_or_fileobj for one in operations}}))
        return SimpleNamespace(commit_url=f"https://hub.test/{repo}/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    import huggingface_hub

    found = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", found)
    return found


def test_nothing_is_sent_unless_asked(cli: Cli, dictionary: Any, hub: Hub) -> None:
    answer = cli("export", dictionary.path.name, "--to", "hub", "--repo", "me/tiny-l2")
    assert answer.code == 0 and hub.calls == []
    assert [line.split()[0] for line in answer.out.splitlines()] == ["README.md", "cfg.json", "sae_weights.safetensors"]
    assert "private model repository me/tiny-l2" in answer.err and "nothing was sent" in answer.err
    assert "warning: cfg.json: names places on this machine" in answer.err


def test_what_would_be_sent_is_told_before_there_is_a_repository(cli: Cli, make_run: MakeRun, hub: Hub) -> None:
    folder = make_run("chain", kind="pipeline", result={"kind": "pipeline", "steps": []})
    for name in ("report.md", "result.json", "records.jsonl", "figures/fvu.svg"):
        place = folder.path / "steps/train" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("x")
    answer = cli("export", folder.path.name, "--to", "hub")
    assert answer.code == 0 and hub.calls == [] and "OWNER/NAME (--repo names it)" in answer.err
    told = [line.split()[0] for line in answer.out.splitlines()]
    assert told == ["README.md", "result.json", "steps/train/figures/fvu.svg", "steps/train/report.md", "steps/train/result.json"]


def test_a_dictionary_is_sent_in_its_own_layout(cli: Cli, dictionary: Any, hub: Hub) -> None:
    answer = cli("export", dictionary.path.name, "--to", "hub", "--repo", "me/tiny-l2", "--upload")
    assert answer.code == 0 and answer.last == "https://hub.test/me/tiny-l2/commit/1"
    (_, made), (_, sent) = hub.calls
    assert made == {"repo_type": "model", "private": True, "exist_ok": True}
    card = sent["files"]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: saelens") and "FVU 0.14" in card and "![" not in card
    assert Path(sent["files"]["sae_weights.safetensors"]) == dictionary.path / "sae/sae_weights.safetensors"


def test_another_run_is_sent_as_a_data_set_without_what_it_recorded(cli: Cli, make_run: MakeRun, hub: Hub) -> None:
    folder = make_run("ranked", kind="inspect", result={"kind": "inspect", "rows": 3})
    for name in ("records.jsonl", "features.parquet", "supervisor.log"):
        (folder.path / name).write_bytes(b"x")
    answer = cli("export", folder.path.name, "--to", "hub", "--repo", "me/ranked", "--upload", "--public")
    assert answer.code == 0 and hub.calls[0][1]["private"] is False and hub.calls[0][1]["repo_type"] == "dataset"
    assert set(hub.calls[1][1]["files"]) == {"README.md", "result.json", "features.parquet"}


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), HfHubHTTPError.__bases__[0]("no route to host")])
def test_what_cannot_be_sent_says_why(cli: Cli, make_run: MakeRun, dictionary: Any, hub: Hub, error: Exception) -> None:
    name = dictionary.path.name
    asked = ("export", name, "--to", "hub")
    hub.error = error
    failed = make_run("half", kind="train_sae", state="failed")
    for words, said in [
        ((*asked, "--upload"), "--repo YOUR-NAME/REPOSITORY"),
        ((*asked, "--repo", "tiny"), "OWNER/NAME"),
        ((*asked, "--repo", "me/tiny", "--upload"), "cannot be reached: no route to host"),
        (("export", failed.path.name, "--to", "hub", "--repo", "me/x"), "is failed"),
        (("export", name, "--to", "json", "--repo", "me/x"), "only with --to hub"),
    ]:
        answer = cli(*words)
        assert answer.code == 2 and said in answer.err and "Traceback" not in answer.err
