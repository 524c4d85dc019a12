"""`export`: a run's result and traces in a format that other programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import out_json, out_path, out_text
from .shared import RunArgument, RunsOption, find

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder

FORMATS = ("csv", "json")
LATER = {
    "html": "an HTML report: no kind offers one yet; report.md in the run folder is the report there is",
    "parquet": "Parquet: no kind offers tables yet; the arrays are Zarr, read by xarray.open_datatree",
    "svg": "SVG: the figures a kind has drawn are in the run folder's figures/",
    "hub": "the hub: no kind offers an artifact to publish yet",
}


def export(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="csv or json (html, parquet, svg, hub: where a kind offers them).")],
    file: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this new file instead of stdout.")] = None,
    runs: RunsOption = None,
) -> int:
    """Write a run's result and traces as CSV or JSON."""
    from interp_tui_engine.complaints import nearest
    from interp_tui_engine.errors import UserError

    if to in LATER:
        raise UserError(f"cannot export to {LATER[to]}", "--to csv and --to json work for every kind")
    if to not in FORMATS:
        guess = nearest(to, [*FORMATS, *LATER])
        raise UserError(f"--to {to}: one of {', '.join([*FORMATS, *LATER])}", f"Did you mean {guess!r}?" if guess else "")
    folder = find(run, runs)
    if file is None:
        if to == "json":
            out_json(as_tables(folder))
        else:
            out_text(as_csv(folder))
        return 0
    try:
        with file.expanduser().open("x", encoding="utf-8", newline="") as handle:
            handle.write(as_csv(folder) if to == "csv" else as_json(folder))
    except FileExistsError:
        raise UserError(f"file exists: {file}", "give another name to -o; nothing has been overwritten") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    out_path(file)
    return 0


def as_tables(folder: RunFolder) -> dict[str, Any]:
    """The run as one JSON value: manifest, result, and each series with its steps."""
    from .. import session

    series: dict[str, list[dict[str, Any]]] = {}
    for name, step, values in metrics(folder):
        series.setdefault(name, []).append({"step": step, **values})
    return {"path": folder.path.name, "manifest": session.tables(folder), "result": folder.result(), "series": series}


def as_json(folder: RunFolder) -> str:
    """`as_tables` as text."""
    import json

    from interp_tui_engine.events import finite

    return json.dumps(finite(as_tables(folder)), indent=1, default=str, allow_nan=False) + "\n"


def as_csv(folder: RunFolder) -> str:
    """The run in long form, one number a row: the result first, then every series by step. `index` is the place in a list."""
    from ..session import flat

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("series", "step", "key", "index", "value"))
    for key, value in flat(folder.result() or {}).items():
        table.writerows(("result", "", key, *cell) for cell in _cells(value))
    for name, step, values in metrics(folder):
        for key, value in flat(values).items():
            table.writerows((name, step, key, *cell) for cell in _cells(value))
    return text.getvalue()


def metrics(folder: RunFolder) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every Metrics event of the run: series, step, values."""
    from interp_tui_engine.events import Metrics

    from ..batch import all_events

    for stamped in all_events(folder):
        event = stamped.event
        if isinstance(event, Metrics) and isinstance(event.values, Mapping):
            yield str(event.series), event.step, dict(event.values)


def _cells(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, list):
        yield from ((index, item) for index, item in enumerate(value))
    else:
        yield "", value
