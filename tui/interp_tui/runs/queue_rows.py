"""What waits and runs as rows of the Queue screen, and one of them in full. Headless."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from ..terminal import themes
from ..text.sanitise import clean
from ..widgets.list_table import Cell, Column, Row
from .queue_look import QueueItem, QueueNow
from .session import RUN_NAME
from .strip_facts import gpu_text

COLUMNS = (
    Column("", 2),
    Column("queue", 10, grow=1, most=16),
    Column("run", 16, grow=3, most=44),
    Column("task", 9, grow=1, most=16, drop=1),
    Column("on", 7, grow=1, most=18),
    Column("waits for", 13, grow=5, most=40),
    Column("elapsed", 8, right=True),
    Column("left", 9, grow=1, most=12, right=True),
)
GPU_LOOKS = 30
"""Looks at a GPU, two seconds apart, that the lower part draws."""
SHOWN_AS = {"held": "paused"}
"""States that no run has, and the one whose glyph and colour they are drawn in."""
NOTHING = (
    "Nothing waits and nothing runs.",
    "",
    "New run (n) has a box that lets a run wait here for a free device; so does",
    "  interp-tui queue add M.toml",
    "On a login node of a cluster, a run's tasks wait in Slurm:",
    "  interp-tui --batch M.toml --set compute.executor=slurm --detach",
)


def row(item: QueueItem, *, ascii: bool) -> Row:
    """The run or task as one line."""
    state = SHOWN_AS.get(item.state, item.state)
    waits = item.why + (f", starts {item.starts[5:]}" if item.why and item.starts else "")
    place = f"here {item.position}." if item.position else "here" if item.scheduler == "here" else f"slurm {item.partition}"
    cells = (
        Cell(themes.glyph(state, ascii), themes.colour_name(state)),
        Cell(clean(place, limit=40), "muted"),
        Cell(run_name(item.name)),
        Cell(clean(item.task, limit=40), "muted"),
        Cell(clean(item.where, limit=40)),
        Cell(clean(waits, limit=80), "warn" if item.state == "held" else "foreground"),
        Cell(clean(item.elapsed, limit=20)),
        Cell(clean(item.left, limit=20), "muted"),
    )
    return Row(item.key, cells)


def run_name(folder: str) -> str:
    """A run's kind and name, from what its folder is called."""
    match = RUN_NAME.fullmatch(folder)
    return clean(f"{match['kind']} {match['name']}" if match else folder, limit=80)


def title(now: QueueNow) -> str:
    """How many run and wait, in a line."""
    counts = {"run": 0, "wait": 0}
    for item in now.items:
        counts["wait" if item.state in ("queued", "held") else "run"] += 1
    parts = [f"{count:,} {word}{'s' if count == 1 else ''}" for word, count in counts.items() if count]
    parts += ["starts no more here: p goes on"] if now.paused else []
    return " · ".join(["Queue", *parts])


def detail(item: QueueItem | None, log: Sequence[str], *, ascii: bool) -> Content:
    """One run or task in full, over the end of its log."""
    if item is None:
        return Content("")
    state = SHOWN_AS.get(item.state, item.state)
    job = f"job {item.job}" if item.job else ""
    when = f"{'starts' if item.state in ('queued', 'held') else 'since'} {item.starts}" if item.starts else ""
    spent = f"{item.elapsed} so far" if item.elapsed else ""
    left = f"{item.left} left" if item.left and item.state not in ("queued", "held") else ""
    facts = (item.task, job, f"partition {item.partition}" if item.partition else "", item.where, item.why, when, spent, left)
    words = clean(" · ".join(fact for fact in facts if fact), limit=400)
    head = Content.assemble((f"{themes.glyph(state, ascii)} {item.state}", f"${themes.colour_name(state)}"), f"  {words}")
    gpus = [Content.styled(gpu_text(gpu, ascii=ascii, looks=GPU_LOOKS), "$accent") for gpu in item.gpus]
    end = [Content(clean(line, limit=400)) for line in log] or [Content.styled("nothing in its log yet", "$muted")]
    return Content("\n").join([head, *gpus, *end])
