"""What each command writes with --json, as types: `interp-tui schema --json-output COMMAND` prints them; a test holds real output to them.

Commands that follow a run write one event a line; the others one value. Nothing is left out of these types: a key that is not named here is
not written.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from interp_tui_engine.events import Event, type_of

Pair = Annotated[
    list[Any], Field(min_length=2, max_length=2, description="The first run's value and the second's; null where it has none.")
]


class Output(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class DoneOf(Output):
    done: float
    total: float
    unit: str


class StatusOutput(Output):
    """status.json, as `list` and `show` repeat it."""

    state: Literal["queued", "running", "paused", "stopping", "done", "failed", "interrupted", "crashed"]
    kind: str
    name: str
    model: str
    progress: DoneOf
    eta_seconds: float | None
    headline: dict[str, Any] = Field(description="As `interp-tui schema KIND --headline`.")
    device: str
    host: str | None
    boot_id: str | None
    pid: int | None
    created: float | None = Field(description="When the supervisor's process began, in seconds since the epoch.")
    worker_pid: int | None
    started: float
    updated: float
    exit: dict[str, Any] = Field(description="code, signal, reason and advice of a run that has ended otherwise than done.")
    folder: str
    shards: list[Any] = Field(default=[], description="How each worker stands, where there are several.")
    job: str = Field(default="", description="The job of a cluster.")
    clock_ahead: float = Field(default=0.0, description="Seconds by which the run's host is ahead.")
    cluster: dict[str, Any] = {}


class ListedRun(StatusOutput):
    """A run as `list` shows it."""

    path: str


class ShownRun(Output):
    """A run as `show` shows it."""

    path: str
    status: StatusOutput
    result: dict[str, Any] | None = Field(description="As `interp-tui schema KIND --result`; null before there is one.")
    provenance: dict[str, Any]
    sha256: dict[str, Any] = Field(description="Digest of each array.")
    damage: str = Field(description="What is wrong with the manifest; empty where nothing is.")
    result_damage: str = Field(default="", description="What is wrong with result.json.")


class Compared(Output):
    first: str
    second: str
    manifest: dict[str, Pair] = Field(description="Settings that differ, by dotted key.")
    result: dict[str, Pair] = Field(description="All numbers, by dotted key.")


class RunUse(Output):
    path: str
    bytes: int
    stores: int = Field(description="Bytes of that in arrays and checkpoints, which --prune drops of a run that is done.")


class DiskUse(Output):
    runs: list[RunUse]
    prunable: list[str]
    freeable: int
    freed: int | None = Field(description="null without --prune.")


class DoctorFinding(Output):
    ok: bool
    name: str
    found: str
    advice: str
    free_bytes: int | None = None


class Bytes(Output):
    bytes: int
    human: str


class Shards(Output):
    count: int
    target_bytes: int
    dense_bytes_per_shard: int
    sparse_bytes_per_shard: int


class Planned(Output):
    """A study's plan."""

    schema_version: int
    inputs: dict[str, Any]
    profile: str
    profile_reason: str
    format: str
    estimates: dict[str, Bytes]
    causal_forward_passes: int
    shards: Shards
    machine: dict[str, Any] | None
    risks: list[dict[str, str]]
    next: list[str]


class PlannedRun(Output):
    """A manifest's own estimate."""

    schema_version: int
    manifest: str
    kind: str
    seconds: float | None
    seconds_low: float | None
    seconds_high: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    notes: list[str]


class Selected(Output):
    selected: int
    total: int
    parameters: dict[str, Annotated[list[int], Field(min_length=2, max_length=2)]] = Field(description="Selected and all, by name.")
    notes: list[str] = Field(description="What to be warned of.")
    remarks: list[str] = Field(description="What the selection means for shared weights.")


class Valid(Output):
    source: str
    ok: Literal[True]
    sha256: str
    resolved: dict[str, Any] = Field(default={}, description="With --resolved: the manifest with every default.")


class Line(Output):
    """What every line of events has."""

    v: Literal[1]
    seq: int = Field(description="Place in the run's log, from 1; 0 for lines that the command itself adds.")
    t: float = Field(description="Seconds since the epoch.")


class RunFolderLine(Line):
    """Where the run is: the first line of a run that starts, the last of one that is detached or reused."""

    type: Literal["run_folder"]
    path: str
    reused: bool = False


class EstimateLine(Line):
    """What --dry-run says."""

    type: Literal["estimate"]
    seconds: float | None
    seconds_low: float | None
    seconds_high: float | None
    memory_bytes: int | None
    disk_bytes: int | None
    disk_free_bytes: int
    notes: list[str]
    path: str
    digest: str
    cluster: dict[str, Any] = {}


class ReplayLine(Line):
    """What `replay --check` finds."""

    type: Literal["replay_check"]
    equal: bool
    arrays: dict[str, str]
    path: str


class ManifestProblem(Output):
    path: str
    message: str
    line: int | None
    value: Any
    suggestion: str | None


class ErrorLine(Line):
    """Why a command failed: of any command with --json, in place of its value. The exit code is the process's own."""

    type: Literal["error"]
    what: str
    hint: str
    exit_code: int
    problems: list[ManifestProblem] = []


WRITTEN: dict[str, Any] = {
    "str": str,
    "bool": bool,
    "int": int,
    "int | None": int | None,
    "float": float | None,  # null stands for a number that was not finite
    "float | None": float | None,
    "Mapping[str, Any]": dict[str, Any],
    "tuple[str, ...]": list[str],
    "tuple[int, ...]": list[int],
}
"""What an event's field is in JSON, by its annotation."""


def _line_of(cls: type[Event]) -> type[Line]:
    """The line that an event of a run becomes."""
    own: dict[str, Any] = {"type": (Literal[cls.type], ...), "shard": (int | None, None), "shard_seq": (int | None, None)}
    for field in fields(cls):
        required = field.default is MISSING and field.default_factory is MISSING
        own[field.name] = (WRITTEN[str(field.type)], ... if required else None)
    line: type[Line] = create_model(cls.__name__, __base__=Line, __doc__=cls.__doc__, **own)
    return line


EVENT_LINES = tuple(_line_of(cls) for cls in type_of.values())
FOLLOWS: Any = Annotated[Union[(RunFolderLine, EstimateLine, ReplayLine, ErrorLine, *EVENT_LINES)], Field(discriminator="type")]
OUTPUTS: dict[str, Any] = {
    "list": list[ListedRun],
    "show": ShownRun,
    "compare": Compared,
    "gc": DiskUse,
    "doctor": list[DoctorFinding],
    "plan": Planned | PlannedRun,
    "restrict": Selected,
    "validate": Valid | ErrorLine,
    "locate": dict[str, str],
    "batch": FOLLOWS,
    "attach": FOLLOWS,
    "resume": FOLLOWS,
    "replay": FOLLOWS,
    "demo": FOLLOWS,
    "error": ErrorLine,
}
"""By command (`batch` is `--batch`): one value, or of `validate` and of those that follow a run the type of each line."""


def adapter(command: str) -> TypeAdapter[Any]:
    """What checks a command's output. Raises KeyError where it has none."""
    return TypeAdapter(OUTPUTS[command])
