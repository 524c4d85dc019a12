"""`export`: a run's result and traces in a format that other programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ..text.sanitise import cell
from .output import out_json, out_path, out_text
from .shared import RunArgument, RunsOption, find

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder

FORMATS = ("html", "csv", "json", "parquet", "svg", "hub")


def export(
    run: RunArgument,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="html, csv, json, parquet, svg or hub.")],
    file: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to this new file instead of stdout.")] = None,
    what: Annotated[
        str | None, typer.Option("--what", metavar="NAME", help="Which table (csv, parquet) or figure (svg) of the run; csv: all numbers.")
    ] = None,
    repo: Annotated[str | None, typer.Option("--repo", metavar="OWNER/NAME", help="With --to hub: the repository.")] = None,
    upload: Annotated[bool, typer.Option("--upload", help="With --to hub: send it. Without, only say what would be sent.")] = False,
    public: Annotated[bool, typer.Option("--public", help="With --to hub: a new repository is open to all.")] = False,
    runs: RunsOption = None,
) -> int:
    """Write a run's report as a page, or its numbers, tables and figures for other programs."""
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.validation_errors import nearest

    if to not in FORMATS:
        guess = nearest(to, FORMATS)
        raise UserError(f"--to {to}: one of {', '.join(FORMATS)}", f"Did you mean {guess!r}?" if guess else "")
    if to != "hub" and (repo is not None or upload or public):
        raise UserError("--repo, --upload and --public: only with --to hub", f"interp-tui export {run} --to hub --repo OWNER/NAME")
    folder = find(run, runs)
    if to == "hub":
        return _to_hub(folder, repo, upload=upload, public=public)
    if to == "parquet":
        if file is None:
            raise UserError("Parquet is no text for a terminal or a pipe", f"name a file: -o {folder.path.name}.parquet")
        return _parquet(folder, file, what)
    if to == "html":
        from ..export.html import page

        return _written(page(folder), file)
    if to == "svg" or (to == "csv" and what is not None):
        text = _figure(folder, what) if to == "svg" else _table_csv(folder, str(what))
        return _written(text, file)
    if file is None:
        if to == "json":
            out_json(as_tables(folder))
        else:
            out_text(as_csv(folder))
        return 0
    return _written(as_csv(folder) if to == "csv" else as_json(folder), file)


def _to_hub(folder: RunFolder, repo: str | None, *, upload: bool, public: bool) -> int:
    """List what goes to the hub, and, where asked to, send it."""
    from ..export import hub as hub_export
    from ..terminal import host
    from .output import columns, out, say, warn

    name, files = hub_export.checked(repo, upload=upload), hub_export.bundle(folder)
    total = sum(map(files.size, files.files))
    for line in columns((file, host.size(files.size(file))) for file in files.files):
        out(line)
    kind = "public" if public else "private"
    say(f"{len(files.files)} files, {host.size(total)}, to the {kind} {files.repo_type} repository {name}")
    if named := hub_export.local_paths(files):
        warn(f"{', '.join(named)}: names places on this machine")
    if not upload:
        say("nothing was sent; --upload sends it")
        return 0
    out(hub_export.publish(name, files, private=not public, message=f"{folder.path.name} from interp-tui"))
    return 0


def _written(text: str, file: Path | None) -> int:
    """The text to a new file, whose path then stands on stdout; to stdout without one."""
    if file is None:
        out_text(text)
        return 0
    with _new(file) as handle:
        handle.write(text.encode("utf-8"))
    out_path(file)
    return 0


@contextmanager
def _new(file: Path) -> Iterator[BinaryIO]:
    """A file that is not there yet. Raises UserError if it is, or cannot be written; a file cut short is removed."""
    from interp_tui_engine.errors import UserError

    path = file.expanduser()
    try:
        handle = path.open("xb")
    except FileExistsError:
        raise UserError(f"file exists: {file}", "give another name to -o; nothing has been overwritten") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from None
    try:
        with handle:
            yield handle
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"cannot write {file}: {error.strerror}") from None
        raise


def _parquet(folder: RunFolder, file: Path, what: str | None) -> int:
    """A table of the run, or, for a kind that has none, its numbers in long form."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    from ..export.tables import table_of

    table = table_of(folder, what)
    blocks = iter([_long(folder)]) if table is None else table.blocks()
    with _new(file) as handle:
        writer = None
        for block in blocks:
            made = pa.table(dict(block))
            writer = writer or pq.ParquetWriter(handle, made.schema)
            writer.write_table(made)
        if writer is not None:
            writer.close()
    out_path(file)
    return 0


def _long(folder: RunFolder) -> dict[str, list[Any]]:
    """The rows of `as_csv` as columns; a value that is no number stands in `text`."""
    rows = list(csv.reader(io.StringIO(_as_csv(folder, lambda value: value))))[1:]
    columns: dict[str, list[Any]] = {name: [] for name in ("series", "step", "key", "index", "value", "text")}
    for series, step, key, index, value in rows:
        number = _number(value)
        cells = (series, _number(step), key, _number(index), number, None if number is not None else value)
        for name, item in zip(columns, cells, strict=True):
            columns[name].append(item)
    return columns


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _table_csv(folder: RunFolder, what: str) -> str:
    from ..export.tables import table_of

    table = table_of(folder, what)
    assert table is not None, "a table asked for by name is there, or an error was raised"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for index, block in enumerate(table.blocks()):
        if index == 0:
            writer.writerow([cell(name) for name in block])
        columns = [column if isinstance(column, list) else column.tolist() for column in block.values()]
        writer.writerows(zip(*([cell(value) for value in column] for column in columns), strict=True))
    return text.getvalue()


def _figure(folder: RunFolder, what: str | None) -> str:
    """One of the figures that the run's report shows. Raises UserError naming them where it is not clear which."""
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.validation_errors import nearest

    figures = {path.stem: path for path in sorted((folder.path / "figures").glob("*.svg"))}
    if not figures:
        raise UserError(f"{folder.path.name} has no figures", "they are drawn when the run is done")
    if what is None and len(figures) == 1:
        (what,) = figures
    if what is None:
        raise UserError(f"{folder.path.name} has {len(figures)} figures: {', '.join(figures)}", "name one with --what")
    if what not in figures:
        guess = nearest(what, list(figures))
        raise UserError(f"{folder.path.name} has no figure {what!r}: {', '.join(figures)}", f"Did you mean {guess!r}?" if guess else "")
    from interp_tui_engine.untrusted import text_or_empty

    return text_or_empty(figures[what], 64 << 20)


def as_tables(folder: RunFolder) -> dict[str, Any]:
    """The run as one JSON value: manifest, result, and each series with its steps."""
    from ..runs import session

    series: dict[str, list[dict[str, Any]]] = {}
    for name, step, values in metrics(folder):
        series.setdefault(name, []).append({"step": step, **values})
    return {"path": folder.path.name, "manifest": session.tables(folder), "result": folder.result(), "series": series}


def as_json(folder: RunFolder) -> str:
    """`as_tables` as text."""
    import json

    from interp_tui_engine.numbers import finite

    return json.dumps(finite(as_tables(folder)), indent=1, default=str, allow_nan=False) + "\n"


def as_csv(folder: RunFolder) -> str:
    """The run in long form, one number a row: the result first, then every series by step. `index` is the place in a list."""
    return _as_csv(folder, cell)


def _as_csv(folder: RunFolder, cell: Callable[[object], object]) -> str:
    from ..runs.session import flat

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("series", "step", "key", "index", "value"))
    for key, value in flat(folder.result() or {}).items():
        table.writerows(("result", "", cell(key), index, cell(item)) for index, item in _cells(value))
    for name, step, values in metrics(folder):
        for key, value in flat(values).items():
            table.writerows((cell(name), step, cell(key), index, cell(item)) for index, item in _cells(value))
    return text.getvalue()


def metrics(folder: RunFolder) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Every Metrics event of the run: series, step, values."""
    from interp_tui_engine.events import Metrics

    from .progress_display import all_events

    for stamped in all_events(folder):
        event = stamped.event
        if isinstance(event, Metrics) and isinstance(event.values, Mapping):
            yield str(event.series), event.step, dict(event.values)


def _cells(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, list):
        yield from enumerate(value)
    else:
        yield "", value
