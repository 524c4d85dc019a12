"""`list` and `show`: the runs there are, and one of them in full."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .output import columns, out, out_json, say, width
from .shared import JsonOption, RunArgument, RunsOption, find

if TYPE_CHECKING:
    from interp_tui_engine.runfolder import RunFolder, Status

    from ..runs.runstate import RunState

RESULT_ROWS = 60
"""Lines of a result that `show` prints."""


def list_(
    runs: RunsOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only runs in this state, such as done or running.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only runs of this kind.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="Only runs with this tag.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Archived runs too.")] = False,
    json: JsonOption = False,
) -> int:
    """List the runs, newest first."""
    from interp_tui_engine.runfolder import runs_root

    from ..runs.run_index import RunIndex
    from ..terminal import host

    root = runs_root(runs)
    _check_state(state)
    everything = RunIndex(root).refresh()
    found = [
        run
        for run in everything
        if state in (None, run.status.state)
        and kind in (None, run.status.kind)
        and (archived or not run.labels.archived)
        and (tag is None or tag.removeprefix("#") in run.labels.tags)
    ]
    if kind is not None and not any(run.status.kind == kind for run in everything):
        _check_kind(kind)
    if json:
        out_json([{"path": str(run.folder.path), **run.status.to_json()} for run in found])
        return 0
    rows: list[tuple[str, ...]] = [("", "state", "kind", "name", "model", "progress", "headline", "age", "folder")]
    rows += [(*_row(run.status), host.age(host.now() - run.started), run.key) for run in found]
    if not found and everything:
        wanted = " and ".join(f"{name} {value}" for name, value in (("kind", kind), ("state", state), ("tag", tag)) if value is not None)
        say(f"none of the {len(everything)} runs under {host.short_path(root)} has {wanted}")
        return 0
    if not found:
        say(f"no runs under {host.short_path(root)}; interp-tui new llc -o llc.toml writes a first manifest")
        return 0
    for line in fitted(rows, shutil.get_terminal_size().columns if sys.stdout.isatty() else None):
        out(line)
    return 0


STATE, MODEL, PROGRESS, HEADLINE, AGE, FOLDER = 1, 4, 5, 6, 7, 8
DROPPED = ((), (MODEL,), (MODEL, PROGRESS), (MODEL, PROGRESS, STATE), (MODEL, PROGRESS, STATE, AGE), (MODEL, PROGRESS, STATE, FOLDER))
"""Columns left out, the least telling first."""
NARROW = 16
"""Cells of a headline below which another column goes first."""


def fitted(rows: list[tuple[str, ...]], room: int | None) -> list[str]:
    """The table's lines. On a terminal too narrow for them columns go (the state's sign stays), the headline is cut, and last the folder
    goes, since `show` takes a part of a name; no line is ever wider than the terminal."""
    from rich.cells import set_cell_size

    for dropped in DROPPED:
        kept = [index for index in range(len(rows[0])) if index not in dropped]
        right = [kept.index(AGE)] if AGE in kept else []

        def table(of: list[tuple[str, ...]], kept: list[int] = kept, right: list[int] = right) -> list[str]:
            return columns(([row[index] for index in kept] for row in of), right=right)

        lines = table(rows)
        if room is None or (widest := max(map(width, lines))) <= room:
            return lines
        headline = max(width(row[HEADLINE]) for row in rows) - (widest - room)
        if headline >= NARROW:
            return table([_with_headline(row, headline) for row in rows])
    assert room is not None
    return [set_cell_size(line, room - 1) + "…" if width(line) > room else line for line in lines]


def _with_headline(row: tuple[str, ...], room: int) -> tuple[str, ...]:
    from rich.cells import set_cell_size

    headline = row[HEADLINE]
    cut = set_cell_size(headline, room - 1) + "…" if width(headline) > room else headline
    return (*row[:HEADLINE], cut, *row[HEADLINE + 1 :])


def _check_kind(kind: str) -> None:
    from interp_tui_engine import catalog
    from interp_tui_engine.errors import UserError
    from interp_tui_engine.validation_errors import nearest

    names = [*dict.fromkeys([*catalog.kind_names(), "sweep", "pipeline"])]
    if kind not in names:
        guess = nearest(kind, names)
        raise UserError(f"--kind {kind}: there is no such kind", f"Did you mean {guess!r}?" if guess else f"kinds: {', '.join(names)}")


def _check_state(state: str | None) -> None:
    from typing import get_args

    from interp_tui_engine.errors import UserError
    from interp_tui_engine.runfolder import State
    from interp_tui_engine.validation_errors import nearest

    states = get_args(State)
    if state is not None and state not in states:
        guess = nearest(state, states)
        raise UserError(f"--state {state}: one of {', '.join(states)}", f"Did you mean {guess!r}?" if guess else "")


def _row(status: Status) -> tuple[str, ...]:
    from ..runs.headlines import answer
    from ..terminal.themes import glyph
    from ..text.numbers import percent_done
    from ..text.sanitise import clean

    share = percent_done(status.fraction) if status.total else ""
    said = answer(status.kind, status.headline) or str(status.exit.get("reason") or "")
    return (
        glyph(status.state),
        status.state,
        status.kind,
        clean(status.name, limit=24),
        clean(status.model, limit=24),
        share,
        clean(said, limit=120),
    )


def show(
    run: RunArgument,
    runs: RunsOption = None,
    json: JsonOption = False,
    screen: Annotated[
        str | None, typer.Option("--screen", metavar="TAB", help="As the app draws it: live, result, manifest or log.")
    ] = None,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="With --screen: its width and height.")] = "120x40",
) -> int:
    """Show a run: state, results, chains, why it failed."""
    if screen is not None:
        return _mirror(find(run, runs), screen, size)
    from ..runs import session
    from .progress_display import replayed

    folder = find(run, runs)
    status = folder.status()
    tables, damage = _tables(folder)
    digests = session.flat(_table(_table(tables, "result"), "sha256"))
    if json:
        recorded = {"provenance": _table(tables, "provenance"), "sha256": digests, "damage": damage}
        damaged = {"result_damage": worn} if (worn := session.result_damage(folder, folder.result())) else {}
        out_json({"path": str(folder.path), "status": status.to_json(), "result": folder.result(), **recorded, **damaged})
        return 0
    out(" ".join(part for part in _row(status)[:4] if part))
    state = replayed(folder)
    facts = [("folder", str(folder.path)), ("model", status.model), ("device", status.device), *_times(status, state)]
    if damage:
        facts.append(("manifest", damage))
    if worn := session.result_damage(folder, folder.result()):
        facts.append(("result", worn))
    facts += [(key, str(status.exit[key])) for key in ("reason", "advice") if status.exit.get(key)]
    _section("", facts)
    found = _result(folder)
    rest = [("…", f"{len(found) - RESULT_ROWS:,} more in result.json; --json prints them")] if len(found) > RESULT_ROWS else []
    _section("result", [*found[:RESULT_ROWS], *rest])
    _section("took", _took(folder))
    _workers(status)
    _chains(state)
    _section("sha256", digests.items())
    return 0


def _mirror(folder: RunFolder, tab: str, size: str) -> int:
    """The app's screen as plain lines."""
    import re

    from interp_tui_engine.errors import UserError

    from . import text_render

    if tab not in text_render.TABS:
        raise UserError(f"--screen {tab}: one of {', '.join(text_render.TABS)}")
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", size)
    if found is None:
        raise UserError(f"--size {size}: width and height in cells, such as 120x40")
    ascii = "utf" not in (sys.stdout.encoding or "").lower()
    for line in text_render.lines(folder.path, tab, (int(found[1]), int(found[2])), ascii=ascii):
        out(line)
    return 0


def _tables(folder: RunFolder) -> tuple[dict[str, Any], str]:
    """The manifest's tables, and what is wrong with the file if they cannot be read."""
    from interp_tui_engine.errors import UserError

    from ..runs import session

    try:
        return session.tables(folder), ""
    except UserError as error:
        return {}, error.what


def _table(tables: dict[str, Any], name: str) -> dict[str, Any]:
    found = tables.get(name)
    return found if isinstance(found, dict) else {}


def _times(status: Status, state: RunState) -> list[tuple[str, str]]:
    from datetime import datetime

    from ..terminal import host

    progress = f"{status.done:,.0f} of {status.total:,.0f} {status.unit}" if status.total else ""
    try:
        started = f"{datetime.fromtimestamp(status.started):%Y-%m-%d %H:%M:%S}" if status.started else ""
    except (OSError, OverflowError, ValueError):  # a time beyond all calendars, from a damaged file
        started = ""
    if state.ending is not None:  # the last stretch of a run that was resumed
        return [("progress", progress), ("started", started), ("took", host.duration(state.ending.seconds))]
    return [("progress", progress), ("started", started), ("ETA", host.duration(status.eta_seconds) if status.eta_seconds else "")]


def _result(folder: RunFolder) -> list[tuple[str, str]]:
    """The result's numbers: the headline's first, then what states how sure it is, for a long result is cut."""
    from ..runs.certainty import flat_numbers, worded
    from ..text.numbers import number

    result = folder.result() or {}
    sure, headline = worded(result), folder.status().headline
    texts = {key: sure.get(key, number(value)) for key, value in flat_numbers(result).items()} | sure
    shown = [key for key in texts if key not in ("kind", "name", "schema_version")]
    return [(key, texts[key]) for key in sorted(shown, key=lambda key: (key not in headline, key not in sure))]


def _took(folder: RunFolder) -> list[tuple[str, str]]:
    """Time, memory and disk beside what had been estimated."""
    from interp_tui_engine import resource_use
    from interp_tui_engine.payload import Use, read

    return resource_use.words(read(Use, (folder.result() or {}).get(resource_use.TABLE)))


def _workers(status: Status) -> None:
    """How each worker's share stands, of a run that several share."""
    if status.shards:
        out()
        rows = [("worker", "device", "state", "done", "what")]
        for row in status.shards:
            done = "/".join(f"{n:,.0f}" if isinstance(n := row.get(key), (int, float)) else "-" for key in ("done", "total"))
            rows.append((str(row.get("shard")), str(row.get("device")), str(row.get("state")), done, str(row.get("what"))))
        for line in columns(rows, right=(0, 3)):
            out(line)


def _chains(state: RunState) -> None:
    from ..text.numbers import number

    chains = state.chains()
    if chains:
        out()
        rows = [("chain", "draws", "loss", "λ̂", "")]
        for chain in chains:
            fate = f"failed at step {chain.failure.step}: {chain.failure.cause}" if chain.failure else ""
            rows.append((str(chain.chain), f"{chain.draws}/{chain.draws_total}", number(chain.loss), number(chain.llc), fate))
        for line in columns(rows, right=(0, 1, 2, 3)):
            out(line)
    for message in list(state.warnings)[-5:]:
        out(f"warning: {message}")


def _section(title: str, pairs: Any) -> None:
    rows = [(f"  {name}", str(value)) for name, value in pairs if value not in ("", None)]
    if not rows:
        return
    if title:
        out()
        out(title)
    for line in columns(rows):
        out(line)
