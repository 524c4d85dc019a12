"""A manifest as text on a screen: its problems beside the lines and fields they are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from textual.content import Content

from interp_tui_engine.catalog import Estimate
from interp_tui_engine.errors import ManifestError
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import new_run_path

from .numbers import duration_range, short_path, size
from .sanitise import clean


def by_field(problems: ManifestError | None) -> dict[tuple[str, ...], str]:
    """Each problem's sentence under the path of the field it is about; a table inside a field counts for that field."""
    changed: dict[tuple[str, ...], str] = {}
    for problem in problems.problems if problems else ():
        path = tuple(problem.path.split("."))
        depth = {"data": 3, "params": 2, "model": 2, "compute": 2}.get(path[0], 1)
        hint = f" Did you mean {problem.suggestion!r}?" if problem.suggestion else ""
        changed.setdefault(path[:depth], clean(problem.message + hint, limit=400))
    return changed


def drawn(text: str, problems: ManifestError | None = None) -> Content:
    """TOML with its tables set off, and a line that is wrong in the colour that says so."""
    wrong = {problem.line for problem in problems.problems} if problems else set()
    lines: list[Content] = []
    for number, line in enumerate(text.splitlines(), 1):
        shown = clean(line, limit=500)
        if number in wrong:
            lines.append(Content.styled(shown, "$bad"))
        elif shown.startswith("["):
            lines.append(Content.styled(shown, "$accent"))
        elif " = " in shown:
            key, _, value = shown.partition(" = ")
            lines.append(Content.assemble(key, (" = ", "$muted"), value))
        else:
            lines.append(Content(shown))
    return Content("\n").join(lines)


def verdict(
    problems: ManifestError | None, cost: Estimate | None, glyph: Callable[[str], str], *, starting: bool = False
) -> Content | None:
    """One line: what is wrong first, or else what the run will cost; None while neither is known."""
    if starting:
        return Content.styled("starting …", "$accent")
    if problems is not None:
        first, *others = problems.problems
        more = f"  and {len(others)} more" if others else ""
        return Content.assemble((f"{glyph('failed')} {clean(str(first), limit=200)}", "$bad"), (more, "$muted"))
    if cost is None:
        return None
    parts = (
        f"~ {duration_range(cost.seconds, cost.low, cost.high)}",
        f"{size(cost.memory_bytes)} memory",
        f"{size(cost.disk_bytes)} on disk",
    )
    notes = "; ".join(clean(note, limit=200) for note in cost.notes)
    # a tick says that nothing is left to find out
    mark = ("? ", "$warn") if cost.seconds is None and cost.memory_bytes is None else (f"{glyph('done')} ", "$good")
    return Content.assemble(mark, " · ".join(parts), (f"  {notes}" if notes else "", "$muted"))


def dry_run(request: Manifest, cost: Estimate, root: Path) -> Content:
    """What would be made, where, and at what cost; then the manifest with every default filled in."""
    folder = short_path(new_run_path(root, request.kind, request.name))
    rows = [
        ("time", duration_range(cost.seconds, cost.low, cost.high)),
        ("memory", size(cost.memory_bytes)),
        ("disk", size(cost.disk_bytes)),
        ("folder", folder),
        ("request", f"{request.digest()[:16]}  (equal requests have equal digests)"),
    ]
    lines = [Content.assemble((f"{name:>8}  ", "$muted"), value) for name, value in rows]
    lines += [Content.assemble((f"{'note':>8}  ", "$muted"), clean(note, limit=200)) for note in cost.notes]
    lines += [Content(""), Content.styled("The manifest, every default filled in", "bold"), Content("")]
    return Content("\n").join([*lines, drawn(request.to_toml())])
