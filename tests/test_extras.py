"""The extras of pyproject.toml can be installed together: pip is asked, and installs nothing. `make parity` asks of each pair."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from interp_tui.commands import extras
from parity.extras import PIP, faults_in, requirements, resolved


def test_doctor_knows_every_extra() -> None:
    assert set(extras.MODULES) == set(requirements())


@pytest.mark.timeout(600)
def test_all_extras_resolve_together() -> None:
    """A version of each that fits all the others: found once for the whole set, it holds for every pair."""
    asked = [package for packages in requirements().values() for package in packages]
    probe = subprocess.run([*PIP, "--ignore-installed", "--no-deps", asked[0]], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"no package index answers: {probe.stderr.strip()[-200:]}")
    versions, fault = resolved(asked)
    assert not fault and not faults_in(versions)


def test_a_solution_that_breaks_what_is_here_is_a_fault() -> None:
    assert "torch would be replaced" in faults_in({"torch": "2.9.0"}) and "before its version 6" in faults_in({"sae-lens": "5.10.1"})
    assert not faults_in({"sae-lens": "6.54.1", "transformer-lens": "3.9.0"})


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
