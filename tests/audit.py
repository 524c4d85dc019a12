"""Packages that are installed must not be older than the first one without a known hole that concerns this program.

    python tests/audit.py            versions against the table below: needs no network, part of `make check`
    python tests/audit.py --online   also pip-audit, where it is installed, against the public databases

A database of vulnerabilities cannot be had offline, so the minimums stand here, each with its reason; what pyproject.toml declares may not
fall below them. Look through the advisories of these packages before a release, and add what concerns us.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

MINIMUMS = {
    "torch": ("2.6", "CVE-2025-32434: torch.load(weights_only=True), with which checkpoints are read, ran code"),
    "transformers": (
        "4.53",
        "CVE-2025-3933, -5197, -6638: text of a model or of a user that takes minutes to match; unsafe checkpoints before",
    ),
    "safetensors": ("0.4", "the reader checks that headers and offsets lie within the file"),
    "filelock": ("3.20.3", "CVE-2025-68146, CVE-2026-22701: a link put in place of a lock file was followed; run.lock is one"),
    "jinja2": ("3.1.6", "CVE-2025-27516: a chat template in a tokenizer could leave the sandbox"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: reading a Parquet file ran code"),
    "requests": ("2.32.4", "CVE-2024-47081: credentials of .netrc went to another host; the hub is reached through it"),
    "urllib3": ("2.6.3", "CVE-2025-66418, -66471, CVE-2026-21441: a compressed answer took all memory"),
    "idna": ("3.7", "CVE-2024-3651: a long host name took minutes"),
    "tqdm": ("4.66.3", "CVE-2024-34062: evaluated arguments of its command line"),
    "pyyaml": ("5.4", "CVE-2020-14343: loading ran code"),
    "setuptools": ("78.1.1", "CVE-2025-47273: a package index could write outside its folder"),
    "pip": ("25.3", "CVE-2025-8869: an archive could write outside its folder"),
    "tomli": ("2.0.2", "nested tables fail by a RecursionError, which is caught, and not by a crash of the interpreter"),
}


def problems() -> list[str]:
    """What is too old, as installed or as declared."""
    found = []
    for package, (least, reason) in MINIMUMS.items():
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        if Version(installed).release < Version(least).release:
            found.append(f"{package} {installed} is installed; {least} or newer is needed: {reason}")
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        least, reason = MINIMUMS.get(requirement.name, ("0", ""))
        declared = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
        if reason and (not declared or min(declared) < Version(least)):
            found.append(f"pyproject.toml asks for {requirement}; {least} or newer is needed: {reason}")
    return found


def main() -> int:
    """Print what is too old. Returns 1 if anything is."""
    found = problems()
    for problem in found:
        print(problem)
    if "--online" in sys.argv:
        if importlib.util.find_spec("pip_audit") is None:
            print("pip-audit is not installed: python -m pip install pip-audit")
            return 1
        return subprocess.run([sys.executable, "-m", "pip_audit"], check=False).returncode or bool(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
