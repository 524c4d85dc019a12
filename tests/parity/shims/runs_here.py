"""A plugin for pytest: runs of the Python interface are made in the tests' own process, without the seconds that a process takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from in_process import api_runs_here


@pytest.fixture(autouse=True)
def _runs_in_this_process() -> Iterator[None]:
    with api_runs_here():
        yield
