"""The executor that a manifest names. Torch-free."""

from __future__ import annotations

from ...manifest import Manifest
from ...runfolder import RunFolder
from .executor import TaskExecutor
from .local import LocalExecutor


def executor_of(folder: RunFolder, request: Manifest) -> TaskExecutor:
    """Where the tasks of this run are started. Raises UserError where that cannot be used here."""
    if request.compute.executor == "slurm":
        from .slurm import SlurmExecutor

        return SlurmExecutor(folder, request)
    return LocalExecutor()
