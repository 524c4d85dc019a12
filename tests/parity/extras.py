"""The extras of pyproject.toml, two by two: what pip would install for each pair beside what is here. Nothing is installed."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence

from .environments import ROOT

PIP = (sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--disable-pip-version-check", "--report", "-")
SECONDS = 600
"""Longest answer waited for: a resolver that goes back through old releases takes longer."""


def requirements() -> dict[str, list[str]]:
    """What each extra asks for, but those for developers and of other extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {name: asked for name, asked in project["optional-dependencies"].items() if name != "dev"}


def resolved(packages: Sequence[str]) -> tuple[dict[str, str], str]:
    """What would be installed for these, by name, and nothing; or nothing, and the end of pip's words."""
    try:
        answer = subprocess.run([*PIP, *packages], capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {SECONDS} s"
    if answer.returncode:
        return {}, answer.stderr.strip()[-500:] or f"pip ended with {answer.returncode}"
    return {part["metadata"]["name"]: part["metadata"]["version"] for part in json.loads(answer.stdout)["install"]}, ""


def faults_in(versions: dict[str, str]) -> str:
    """What is wrong with a solution: torch replaced, or a sae-lens that cannot be imported beside ours. Empty where nothing is."""
    if "torch" in versions:
        return f"torch would be replaced by {versions['torch']}"
    if int(versions.get("sae-lens", "6").split(".")[0]) < 6:
        return f"sae-lens {versions['sae-lens']} is from before its version 6"
    return ""


def pairs() -> Iterator[tuple[str, str, dict[str, str], str]]:
    """Each pair with what would be installed, and what is wrong with it."""
    asked = requirements()
    for left, right in itertools.combinations(sorted(asked), 2):
        versions, fault = resolved([*asked[left], *asked[right]])
        yield left, right, versions, fault or faults_in(versions)
