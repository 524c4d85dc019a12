"""A disk that is full at any write: said as such, and with space again the run goes on to the same numbers, nothing lost.

The fault is injected where files are opened to be written and folders made, below the run's folder, in this process: the n-th such step and
all after it fail with ENOSPC, as on a disk that stays full. One kind after the other, n after n.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .check import Check
from .requests import kinds, small
from .steps import failing_at

QUICK = ("logit_lens",)
STEPS, QUICK_STEPS = 12, 2
"""At how many writes of a run it is tried, spread evenly over all of them."""


def full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def parts(quick: bool) -> Sequence[str]:
    """The kinds; a pipeline does nothing itself."""
    return QUICK if quick else [kind for kind in kinds() if kind != "pipeline"]


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each step."""
    del seed
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        with failing_at(10**9, place, full) as failed:
            whole = _run(name, root / "whole")
        writes = _writes(name, root / "counted")
        assert not failed
        steps = QUICK_STEPS if quick else STEPS
        for index in range(min(steps, writes)):
            step = index * writes // min(steps, writes)
            yield _tried(name, step, root / f"run-{index}", whole)


def _tried(name: str, step: int, path: Path, whole: Any) -> Check:
    from interp_tui_engine.atomic import disk_is_full
    from interp_tui_engine.errors import RunFailed

    what = f"{name}, write {step}"
    path.mkdir()
    with failing_at(step, str(path), full) as failed:
        try:
            _run(name, path)
            return Check(what, not failed, f"went on though {len(failed)} writes failed, first {Path(failed[0]).name if failed else ''}")
        except RunFailed as error:
            told = error.reason == "the disk is full"
        except Exception as error:
            told = disk_is_full(error)
            if not told:
                return Check(what, False, f"raw {type(error).__name__}: {error}")
    if not told:
        return Check(what, False, "not told as a full disk")
    try:
        again = _run(name, path)
    except Exception as error:
        return Check(what, False, f"could not be resumed: {type(error).__name__}: {error}")
    return Check(what, again == whole, "equal" if again == whole else "other numbers after resuming")


def _run(name: str, path: Path) -> Any:
    """Run the kind here, as its worker would, and give its digests and headline."""
    from in_process import run_whole
    from interp_tui_engine import manifest

    result, _ = run_whole(manifest.resolve(small(name)), path)
    return dict(result.digests), {key: value for key, value in result.headline.items() if "second" not in key}


def _writes(name: str, path: Path) -> int:
    """How many writes a run makes."""
    from . import steps

    count = 0

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        count += steps.writes_below(str(path), event, arguments)

    with steps.noticing(note):
        _run(name, path)
    return count
