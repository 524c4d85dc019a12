"""All that the runs there are know of one token: what each layer would say next, what fires on it, what looks at it, what moves it.

Headless; reads results and logs of finished runs of the same model, newest first, so call it from a thread. A run of the very text up to
the token counts most; else one in which the same word stands, and then it says where.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder, find_runs

from . import session
from .token_at import KnownOfToken, TokenAt
from .token_readers import READERS

LOOKED_AT = 60
"""Runs of one kind that are looked at, newest first."""


@dataclass(frozen=True)
class TokenPart:
    """One question about a token, the kind of run that answers it, and the answer of the run that knows best."""

    title: str
    kind: str
    known: KnownOfToken | None = None


TITLES = {
    "logit_lens": "Said next, layer by layer",
    "attention": "Heads that look at it, and that write into it",
    "causal_trace": "What depends on it",
    "inspect": "Features that fire on it",
    "susceptibilities": "Parts that respond to it",
    "bif": "Texts that move with it",
}
PROMPTED = ("logit_lens", "attention")
"""Kinds that can be started from the text alone."""


def facts(token: TokenAt, runs: Iterable[RunFolder]) -> list[TokenPart]:
    """A part for each of `TITLES`, answered by the newest run that read the text, else by the newest in which the word stands."""
    kept: dict[str, KnownOfToken] = {}
    tried: dict[str, int] = {}
    for folder in _with_steps(runs):
        kind = folder.status().kind
        if kind not in TITLES or (kind in kept and kept[kind].whole) or tried.get(kind, 0) >= LOOKED_AT or not _same_model(folder, token):
            continue
        tried[kind] = tried.get(kind, 0) + 1
        known = READERS[kind](token, folder)
        if known is not None and (kind not in kept or known.whole):
            kept[kind] = known
    return [TokenPart(title, kind, kept.get(kind)) for kind, title in TITLES.items()]


def _with_steps(runs: Iterable[RunFolder]) -> Iterator[RunFolder]:
    """Finished runs, and the finished steps of pipelines."""
    for folder in runs:
        status = folder.status()
        if status.kind == "pipeline":
            yield from (step for step in find_runs(folder.path / "steps") if step.status().state == "done")
        elif status.state == "done":
            yield folder


def _same_model(folder: RunFolder, token: TokenAt) -> bool:
    if not token.model:
        return True
    try:
        model = session.tables(folder).get("model")
    except UserError:
        return False
    model = model if isinstance(model, dict) else {}
    return model.get("source", token.model) == token.model and str(model.get("revision") or "") in ("", token.revision or "")
