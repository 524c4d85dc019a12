"""What is said of a run folder that cannot be written: by the error, and by what is left of the folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from interp_tui_engine.storage_faults import explained


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "manifest.toml").write_text("")
    return tmp_path


def of(number: int, path: Path | None = None) -> OSError:
    return OSError(number, os.strerror(number)) if path is None else OSError(number, os.strerror(number), str(path))


def test_a_fault_of_the_disk_is_told_from_one_of_the_program(run: Path) -> None:
    for error in (of(errno.EIO), of(errno.EROFS, run / "status.json"), of(errno.EACCES, run / "shards/0/exit.json")):
        reason, advice = explained(error, run) or ("", "")
        assert "cannot be written" in reason and "resume" in advice
    assert explained(of(errno.EACCES, run.parent / "data.txt"), run) is None
    assert explained(of(errno.EPIPE), run) is None
    assert explained(ValueError("a number"), run) is None


def test_a_library_that_hides_the_fault_in_its_own_error_is_read_too(run: Path) -> None:
    assert explained(RuntimeError("I/O error: Read-only file system (os error 30)"), run)
    try:
        try:
            raise of(errno.EIO)
        except OSError as error:
            raise RuntimeError("could not store") from error
    except RuntimeError as error:
        assert explained(error, run)


def test_full_and_gone_have_words_of_their_own(run: Path) -> None:
    assert explained(of(errno.ENOSPC), run) == ("the disk is full", explained(of(errno.EDQUOT), run)[1])  # type: ignore[index]
    (run / "manifest.toml").unlink()
    reason, advice = explained(of(errno.ENOENT, run / "status.json"), run) or ("", "")
    assert "gone" in reason and "moved" in advice
