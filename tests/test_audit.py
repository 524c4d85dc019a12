"""What is installed and declared has none of the holes that are known to concern this program."""

from __future__ import annotations

import audit


def test_no_package_is_older_than_its_minimum() -> None:
    assert audit.problems() == []
