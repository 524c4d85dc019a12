"""FEATURES.md names a test for every feature: each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE / "FEATURES.md").read_text(encoding="utf-8")


def test_every_feature_has_tests_that_exist() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 50
    for row in rows:
        named = re.findall(r"`((?:\.\./|\w+/)*test_\w+)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            source = (HERE / f"{file}.py").read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {test}\(", source, re.MULTILINE), f"{file}::{test}"
