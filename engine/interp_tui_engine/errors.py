"""Errors that are the user's to mend: each says what is wrong, where, and what would be right."""

from __future__ import annotations

from dataclasses import dataclass


class UserError(Exception):
    """Something the user gave cannot be used. Shown without a traceback; exit code 2.

    `what` is one sentence naming the thing and its value; `hint` says what to do about it.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(f"{what}\n  {hint}" if hint else what)
        self.what = what
        self.hint = hint


class WrongType(UserError, TypeError):
    """A value of a type that cannot be used: a TypeError too."""


class MissingName(UserError, KeyError, ValueError):
    """A name that is not among those there are: a KeyError and a ValueError too, and shown as its sentence, not as a key."""

    __str__ = Exception.__str__


class OtherContents(UserError, RuntimeError):
    """A place that holds something else than what would be written there: a RuntimeError too."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a manifest: where it stands, what it says, and what it may say."""

    path: str
    message: str
    line: int | None = None
    value: object = None
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        hint = f". Did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"{where}{self.path}: {self.message.removesuffix('.') if hint else self.message}{hint}"


class ManifestError(UserError):
    """Every problem found in one manifest, together."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {p}" for p in problems)]))
        self.source = source
        self.problems = problems


class RunFailed(Exception):
    """The run could not go on for a reason known by name; exit code 1, no traceback."""

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(f"{reason}. {advice}" if advice else reason)
        self.reason = reason
        self.advice = advice


OUT_OF_MEMORY = (
    "can't allocate memory",  # the CPU's allocator
    "Cannot allocate memory",  # the operating system
    "not enough memory",  # the same on Windows
    "out of memory",  # CUDA, HIP and MPS, with and without a type of its own
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUSPARSE_STATUS_INSUFFICIENT_RESOURCES",
)
"""What the back ends that raise a plain RuntimeError call an allocation that failed."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python's or torch's, says that an allocation failed."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(error) for words in OUT_OF_MEMORY)
