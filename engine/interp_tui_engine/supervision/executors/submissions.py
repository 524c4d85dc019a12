"""What a run has submitted to its scheduler, kept so that a supervisor killed at any moment neither loses a task nor starts it twice.

An entry is written before sbatch is called, with a comment that no other submission has, and completed with the job's id after. Where the
id is missing, the scheduler is asked for the job with that comment. Torch-free.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from ... import atomic
from ...errors import UserError
from . import slurm_commands

FILE = "submissions.json"


@final
class Submissions:
    """The submissions of one run, in `place`."""

    def __init__(self, place: Path) -> None:
        self._place = place
        record = atomic.read_json(place / FILE)
        entries = record.get("submissions") if isinstance(record, dict) else None
        self._entries: list[dict[str, Any]] = [entry for entry in entries or [] if isinstance(entry, dict)]
        self._newest: dict[str, str] = {}
        if self._entries and not self._entries[-1].get("job"):
            self._complete(self._entries[-1])
        for entry in self._entries:
            self._note(entry)

    @property
    def jobs(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        return [str(entry["job"]) for entry in self._entries if entry.get("job")]

    def begin(self, names: Sequence[str]) -> tuple[int, str]:
        """Note that these tasks are about to be submitted; returns the submission's number and the comment to give it."""
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        comment = f"{slurm_commands.COMMENT}{uuid.uuid4().hex}"
        self._entries.append({"comment": comment, "tasks": list(names), "job": None, "at": time.time()})
        self._write()
        return len(self._entries) - 1, comment

    def submitted(self, number: int, job: str) -> None:
        """Note the id that the scheduler gave."""
        self._entries[number]["job"] = job
        self._note(self._entries[number])
        self._write()

    def job_of(self, name: str) -> str | None:
        """The newest array task that does the task of this name."""
        return self._newest.get(name)

    def _note(self, entry: dict[str, Any]) -> None:
        if entry.get("job"):
            self._newest |= {name: f"{entry['job']}_{index}" for index, name in enumerate(entry.get("tasks", []))}

    def _complete(self, entry: dict[str, Any]) -> None:
        """Find the job of a submission whose supervisor was killed before it could note the id. Raises UserError without an answer."""
        try:
            rows = slurm_commands.of_user(str(entry.get("comment")))
        except slurm_commands.Unreachable as error:
            raise UserError(
                f"tasks of this run may be waiting in Slurm, which does not answer: {error}", "resume it when it does"
            ) from None
        if rows:
            entry["job"] = next(iter(rows)).partition("_")[0]
            self._write()

    def _write(self) -> None:
        atomic.write_json(self._place / FILE, {"v": 1, "submissions": self._entries})
