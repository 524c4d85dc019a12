"""Provenance: what it names is true, changes when the code changes, and is found without torch."""

from __future__ import annotations

import platform
import shutil
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import tomli

from interp_tui_engine import manifest, provenance

REQUEST = manifest.parse('kind = "llc"\n[model]\n[data.train]\n[params]\nlr = 1e-4\nn_beta = 30.0\n')


def test_what_is_known_at_the_start() -> None:
    found = provenance.of_start(REQUEST)
    assert found["request_sha256"] == REQUEST.digest()
    assert found["python"] == platform.python_version()
    assert found["versions"]["numpy"] == version("numpy")
    assert len(found["code_sha256"]) == 64


def test_it_stands_in_the_manifest_and_is_passed_over_when_read() -> None:
    text = REQUEST.to_toml(provenance=provenance.of_start(REQUEST) | provenance.times(0.0))
    assert tomli.loads(text)["provenance"]["started"] == "1970-01-01T00:00:00+00:00"
    assert manifest.parse(text) == REQUEST


def test_times_are_utc_and_ordered() -> None:
    times = provenance.times(1.0)
    started, finished = (datetime.fromisoformat(times[key]) for key in ("started", "finished"))
    assert started.utcoffset() is not None and started < finished


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("no-such-package-anywhere",))
    assert provenance.of_start(REQUEST)["versions"] == {"no-such-package-anywhere": "not installed"}


def test_code_digest_follows_the_source_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in Path(provenance.__file__).parent.glob("*.py"):
        shutil.copy(path, tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "kind.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    digest = provenance.code_digest.__wrapped__
    first = digest()
    (tmp_path / "notes.txt").write_text("x")
    assert digest() == first
    (tmp_path / "sub" / "kind.py").write_text("x = 2\n")
    changed = digest()
    assert changed != first
    (tmp_path / "sub" / "kind.py").rename(tmp_path / "sub" / "other.py")
    assert digest() not in (first, changed)


def test_git_commit_is_a_commit_or_nothing() -> None:
    commit = provenance.git_commit().removesuffix("+")
    assert commit == "" or (len(commit) == 40 and int(commit, 16) >= 0)
