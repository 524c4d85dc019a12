"""Whether models may run code of their own here: only where `--trust` stood on the command line. Torch-free.

No manifest and no run folder can say it. It goes from the command to the processes that it starts, and to theirs, by an environment
variable that every command sets or takes away, so that one left over in a shell grants nothing.
"""

from __future__ import annotations

import os

VARIABLE = "INTERP_TUI_TRUST"
HINT = "--trust (beside --batch, resume or replay) or, in Python, load_model(..., trust=True)"
"""How a user says it, for the words of a refusal."""


def set_allowed(allowed: bool) -> None:
    """Say for this process, and those that it will start, whether models may run code."""
    if allowed:
        os.environ[VARIABLE] = "1"
    else:
        os.environ.pop(VARIABLE, None)


def allowed() -> bool:
    """Whether the command that this process comes from was given `--trust`."""
    return os.environ.get(VARIABLE) == "1"
