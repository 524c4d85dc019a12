"""The peers' own tests, with our functions under the peers' names (`shims/`): how many pass, and which differ for what reason.

interp-lab's come with its source release. devinterp's tests of version 2 are in no release: DEVINTERP_TESTS names the `tests` folder of a
checkout of them. interp's are of its helpers, or fetch GPT-2: none is run. Tests that fetch models from a hub, and those of a peer's inner parts, which a shim of documented names does not have, are
not run; the rows restate them, or say why not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .environments import ROOT, SCRATCH

SHIMS = Path(__file__).with_name("shims")
NO_COUNTERPART = "a command without a counterpart: the shim says what to do instead"


@dataclass(frozen=True)
class Suite:
    """Test files of a peer, and by test's name why ours differs."""

    peer: str
    files: tuple[str, ...]
    differs: Mapping[str, str]


SUITES = (
    Suite(
        "devinterp 2.0.1",
        ("integration/test_custom_model.py",),
        {
            **dict.fromkeys(
                ("test_rmsprop_arg_rejected_for_non_rmsprop_sampler", "test_rmsprop_arg_rejects_duplicate"),
                "the same ValueError in other words",
            ),
            "test_llc_scaling_invariance": "equal to rounding, not bit for bit",
            "test_susceptibilities": "the full model is the baseline, not a line of the result; so it is in the release 2.0.1 (row susceptibilities)",
        },
    ),
    Suite(
        "interp-lab 3.1.0",
        ("test_public_api.py", "test_api_ergonomics.py"),
        {
            **dict.fromkeys(
                (
                    "test_explanation_report_public_apis_accept_paths",
                    "test_validate_matches_public_api_accepts_report_and_path",
                    "test_build_prompts_public_api_accepts_files_and_inline_prompts",
                    "test_prepare_sae_prompts_public_api_writes_manifest",
                    "test_intervene_public_api_can_plan_without_model_load",
                    "test_scaffold_run_public_api_writes_records_workflow",
                    "test_scaffold_run_public_api_writes_sae_path_workflow",
                    "test_criterion_lab_public_api_writes_overconfidence_workflow",
                    "test_criterion_lab_public_api_lists_presets",
                    "test_validate_criterion_assay_public_api",
                    "test_run_and_doctor_api",
                    "test_release_check_public_api_reports_not_ready",
                    "test_graph_publish_and_scale_public_apis",
                    "test_validate_attribution_graph_public_api",
                    "test_validate_hf_sae_paths_public_api",
                    "test_written_results_chain_through_the_api",
                    "test_analysis_subcommands_help_works",
                ),
                NO_COUNTERPART,
            ),
            "test_reprs_are_compact_and_hide_vectors": "cards are dictionaries, which print what they hold",
            "test_package_ships_py_typed_marker": "the marker is our package's, not the shim's",
            "test_writing_a_report_does_not_mutate_the_in_memory_report": "a report is a run's file: it says what made it from the start",
        },
    ),
)


def tests_of(suite: Suite) -> Path | None:
    """The folder of a suite's tests; None where there are none to be had."""
    if suite.peer.startswith("devinterp"):
        given = os.environ.get("DEVINTERP_TESTS")
        return Path(given) if given else None
    name, version = suite.peer.split()
    folder = SCRATCH / "sources"
    unpacked = folder / f"{name.replace('-', '_')}-{version}"
    if not unpacked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = ["--no-deps", "--no-binary", name, f"{name}=={version}", "--dest", str(folder)]
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", *wanted], check=True)
        with tarfile.open(next(folder.glob(f"{unpacked.name}.tar.gz"))) as archive:
            archive.extractall(folder, filter="data")
    return unpacked / "tests"


def run(suite: Suite) -> dict[str, str] | None:
    """Each test with 'passed', 'differs' for its stated reason, or 'failed'; None where its tests are not to be had."""
    folder = tests_of(suite)
    if folder is None:
        return None
    report = SCRATCH / f"{suite.peer.split()[0]}.own.xml"
    paths = [str(SHIMS), str(ROOT), *(str(ROOT / name) for name in ("engine", "tui", "tests"))]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "runs_here",
        "-c",
        os.devnull,
        "--rootdir",
        str(folder),
    ]
    files = [str(folder / name) for name in suite.files]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    report.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, f"--junitxml={report}", *files], env=environment, stdout=sys.stderr, check=False)
    return {name: _state(suite, name, passed) for name, passed in _outcomes(report).items()}


def _outcomes(report: Path) -> dict[str, bool]:
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return {str(case.get("name")): all(case.find(end) is None for end in ("failure", "error", "skipped")) for case in cases}


def _state(suite: Suite, name: str, passed: bool) -> str:
    if passed:
        return "passed"
    return "differs" if name.partition("[")[0] in suite.differs else "failed"
