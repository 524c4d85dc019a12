"""CI tries a real Slurm where there can be one, and says in a line why not where there cannot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ("bash", "dirname", "env", "mktemp", "chmod", "tail", "rm", "timeout")


def said_with(tools: Path, user: int, *programs: str) -> str:
    """What ci.sh says on a machine that has these programs only, and whose user has this number."""
    tools.mkdir()
    for name in NEEDED:
        (tools / name).symlink_to(str(shutil.which(name)))
    for name in programs:
        (tools / name).write_text("#!/bin/bash\necho no >&2\nexit 1\n")
        (tools / name).chmod(0o755)
    (tools / "id").write_text(f"#!/bin/bash\necho {user}\n")
    (tools / "id").chmod(0o755)
    command = [str(ROOT / "tests" / "cluster" / "ci.sh"), "false"]
    done = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("user", "programs", "why"),
    [
        (1000, (), "needs root"),
        (0, (), "has no apt-get"),
        (0, ("apt-get",), "cannot be installed here"),
        (0, ("slurmctld", "slurmd", "munged"), "does not start here"),
    ],
)
def test_where_there_is_no_slurm_a_line_says_why(tmp_path: Path, user: int, programs: tuple[str, ...], why: str) -> None:
    lines = said_with(tmp_path / "tools", user, *programs).splitlines()
    assert len(lines) == 1 and lines[0].startswith("tests/cluster: skipped: ") and why in lines[0]
