"""What a run's Result tab says, and what stands in its Live tab before there is anything to show. Headless."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.text import Text

from interp_tui_engine.runfolder import ACTIVE, Status

from ..text.sanitise import clean
from ..widgets.facts import rich_style
from .certainty import section
from .follow import Documents
from .headlines import answer
from .runstate import RunState

ResultText = Callable[..., Text]


def result_texts(
    documents: Documents, state: RunState, status: Status, said: ResultText, colours: Mapping[str, str], *, ascii: bool, wide: bool
) -> tuple[Text, Text]:
    """The numbers as the kind's view words them (`said`), and the digests of the arrays they came from."""
    muted = rich_style(colours.get("muted", ""))
    digests = Text(end="")
    if documents.result is None:
        active = status.state in ACTIVE
        if documents.damage:
            digests.append(documents.damage, rich_style(colours.get("bad", "")))
            return digests, Text(end="")
        numbers = Text("no result yet: it is written when the run is done" if active else "this run has no result", muted, end="")
        so_far = answer(state.kind, state.latest.get("headline", {}), ascii=ascii)
        numbers.append(f"\n\nso far  {so_far}" if so_far else "", "")
        return numbers, digests
    if documents.digests:
        digests.append("sha256", muted)
    for name, value in documents.digests.items():
        digests.append(f"\n{clean(name, limit=36):<36} ")
        digests.append(clean(str(value), limit=64 if wide else 32), muted)
    numbers = said(documents.result, colours, ascii=ascii)
    return numbers.append_text(section(documents.result, colours, ascii=ascii)), digests


def waiting_for(state: RunState, status: Status) -> str:
    """What a run without anything to show is doing."""
    if status.state not in ACTIVE:
        return f"this run ended before its first draw: {status.state}"
    if status.state == "queued" or not state.phase:
        return "waiting for the worker"
    if state.phase != "sampling":
        return clean(f"{state.phase}: {state.phase_detail}" if state.phase_detail else state.phase, limit=70)
    row = next(iter(state.chains()), None)
    if row is not None and row.step < state.burnin:
        return f"burn-in, step {row.step:,} of {state.burnin:,}"
    return "no draws yet"
