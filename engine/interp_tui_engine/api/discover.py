"""interp-lab's `inspect` and `match` on this engine: each is a run, whose folder holds report.json, the whole table and the manifest.

found = inspect("my/model", "the model is aware of a test", records="records.jsonl", out="runs/left")
other = inspect("my/other", "the model is aware of a test", records="other.jsonl", out="runs/right")
pairs = match(found, other).matches
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import atomic
from ..events import Stamped
from .sampling import run

OnEvent = Callable[[Stamped], None]


@dataclass(frozen=True)
class Inspection:
    """A finished inspect run: its folder, and the file of its cards."""

    folder: Path

    @property
    def report(self) -> Path:
        """report.json, as interp-lab reads it too."""
        return self.folder / "report.json"

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The cards, best first."""
        return list(atomic.read_json(self.report)["cards"])

    @property
    def table(self) -> Mapping[str, Sequence[Any]]:
        """Every feature by column, in ranked order."""
        import pyarrow.parquet as pq  # type: ignore[import-untyped]

        columns: dict[str, list[Any]] = pq.read_table(self.folder / "features.parquet").to_pydict()
        return columns


@dataclass(frozen=True)
class Matching:
    """A finished match run."""

    folder: Path

    @property
    def matches(self) -> list[dict[str, Any]]:
        """The pairs, best first: left, right, score, components, null_quantile."""
        return list(atomic.read_json(self.folder / "result.json")["matches"])


def inspect(
    model: str | None,
    criterion: str,
    *,
    backend: str | None = None,
    records: str | Path | Sequence[str | Path] = (),
    features: str | Path | None = None,
    interventions: str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 100,
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> Inspection:
    """Rank features by their evidence for a criterion; further keywords are the kind's params (`interp-tui schema inspect`).

    Without a backend it is `features` where those are given, else `records`; interp-lab's `jsonl` is `features`.

    Raises UserError for evidence that cannot be used, RunFailed if the run ends otherwise than done.
    """
    backend = {None: "records" if features is None else "features", "jsonl": "features"}.get(backend, backend)
    files = [records] if isinstance(records, (str, Path)) else list(records)
    given: dict[str, Any] = {"criterion": criterion, "backend": backend, "records": [str(Path(file).absolute()) for file in files]}
    given |= {} if model is None or backend == "toy" else {"model": model}
    for name, file in (("features", features), ("interventions", interventions)):
        given |= {name: str(Path(file).absolute())} if file is not None else {}
    return Inspection(run({"kind": "inspect", "seed": seed, "params": given | params}, out=out, on_event=on_event).path)


def match(
    left: Inspection | str | Path,
    right: Inspection | str | Path,
    *,
    out: str | Path | None = None,
    seed: int = 100,
    on_event: OnEvent = lambda stamped: None,
    **params: Any,
) -> Matching:
    """Match the features of two inspect runs (or report files) one to one; further keywords are the kind's params."""
    sides = [side.folder if isinstance(side, Inspection) else Path(side) for side in (left, right)]
    given = {"left": str(sides[0].absolute()), "right": str(sides[1].absolute())}
    return Matching(run({"kind": "match", "seed": seed, "params": given | params}, out=out, on_event=on_event).path)


def compare(left: Inspection | str | Path, right: Inspection | str | Path, *, out: str | Path | None = None, **params: Any) -> Matching:
    """interp-lab's name for `match`; where `out` is a .json file it gets the matches, and the run stands in a folder beside it."""
    if out is None or Path(out).suffix != ".json":
        return match(left, right, out=out, **params)
    matching = match(left, right, out=Path(out).with_suffix(""), **params)
    atomic.write_json(Path(out), {"matches": matching.matches})
    return matching
