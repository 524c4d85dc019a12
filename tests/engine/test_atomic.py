"""Files and folders that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from interp_tui_engine import atomic

ENGINE = Path(atomic.__file__).parent


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_takes_the_place_of_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with atomic.replacing(path) as beside:
        beside.write_bytes(b"new")
        assert path.read_bytes() == b"old" and beside.parent == tmp_path
    assert path.read_bytes() == b"new" and names(tmp_path) == {"weights.bin"}


@pytest.mark.parametrize("folder", [False, True])
def test_a_write_that_fails_leaves_the_old_one_and_nothing_beside(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "held"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), atomic.replacing(path) as beside:
        if folder:
            beside.mkdir()
            (beside / "part").write_bytes(b"half")
        else:
            beside.write_bytes(b"half")
        raise OSError("full")
    assert path.read_bytes() == b"old" and names(tmp_path) == {"held"}


def test_a_folder_takes_the_place_of_the_old_one_with_nothing_of_it_left(tmp_path: Path) -> None:
    path = tmp_path / "arrays.zarr"
    (path / "old").mkdir(parents=True)
    killed = atomic.beside_of(path)  # what a killed attempt of this process would have left
    (killed / "half").mkdir(parents=True)
    with atomic.replacing(path) as beside:
        (beside / "new").mkdir(parents=True)
        (beside / "new" / "chunk").write_bytes(b"1")
    assert names(path) == {"new"} and names(tmp_path) == {"arrays.zarr"}


def test_all_that_was_written_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        really(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files are read from /proc")
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic.replacing(tmp_path / "group") as beside:
        beside.mkdir()
        (beside / "chunk").write_bytes(b"1")
    assert synced == [str(beside), str(beside / "chunk")]
    with atomic.replacing(tmp_path / "copy", durable=False) as beside:
        beside.write_bytes(b"1")
    assert len(synced) == 2


def test_no_other_module_makes_files_beside_of_its_own() -> None:
    others = [path for path in sorted(ENGINE.rglob("*.py")) if path.name != "atomic.py"]
    assert [path.name for path in others if '.tmp")' in path.read_text("utf-8")] == []
    appends = ENGINE / "experiments" / "records" / "compute.py"  # it grows one file and cuts it back, and so syncs that
    assert [path for path in others if "fsync(" in path.read_text("utf-8") and path != appends] == []
