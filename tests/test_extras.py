"""The extras of pyproject.toml can be installed together, and so any two of them: pip is asked, and installs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from interp_tui.commands import extras

ROOT = Path(__file__).parent.parent


def requirements() -> dict[str, list[str]]:
    """What each extra asks for, but those for developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {name: asked for name, asked in project["optional-dependencies"].items() if name != "dev"}


def test_doctor_knows_every_extra() -> None:
    assert set(extras.MODULES) == set(requirements())


@pytest.mark.timeout(600)
def test_all_extras_resolve_together() -> None:
    """A version of each that fits all the others: found once for the whole set, it holds for every pair."""
    asked = [package for packages in requirements().values() for package in packages]
    base = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check", "--report", "-"]
    probe = subprocess.run([*base, "--ignore-installed", "--no-deps", asked[0]], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no package index answers: {probe.stderr.strip()[-200:]}")
    answer = subprocess.run([*base, *asked], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr[-2000:]
    versions = {part["metadata"]["name"]: part["metadata"]["version"] for part in json.loads(answer.stdout)["install"]}
    assert "torch" not in versions, "the torch that is installed fits them all"
    assert int(versions.get("sae-lens", "6").split(".")[0]) >= 6


def test_an_extra_that_cannot_be_imported_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_lens.py").write_text("raise ImportError('cannot import name HookedThing')\n")
    (tmp_path / "fine_lens.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(extras, "MODULES", {"broken": "broken_lens", "fine": "fine_lens"})
    assert extras.faults(["broken", "fine"]) == {"broken": "ImportError: cannot import name HookedThing"}


def test_a_module_of_the_folder_one_is_in_is_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nowhere_else.py").write_text("import pathlib; pathlib.Path(__file__).with_name('went-off').touch()")
    monkeypatch.setitem(extras.MODULES, "gguf", "nowhere_else")
    monkeypatch.chdir(tmp_path)
    assert "nowhere_else" in extras.faults(["gguf"])["gguf"] and not (tmp_path / "went-off").exists()
