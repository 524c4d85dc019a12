"""The hard tests in their short form: a few fuzzed manifests, full disks and hostile texts. Hostile models have a test of their own."""

from __future__ import annotations

import pytest

from torture import disk, fuzz, text


@pytest.mark.parametrize("group", [fuzz, text, disk], ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_few_of_each_hold(group: object) -> None:
    wrong = [check for check in group.checks(True, 20261129) if not check.passed]  # type: ignore[attr-defined]
    assert not wrong
