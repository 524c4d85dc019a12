"""What a finished run says of a token, a reader a kind; None where it says nothing of it.

Headless; reads results and logs, so call it from a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interp_tui_engine import atomic
from interp_tui_engine.numbers import as_finite as finite
from interp_tui_engine.payload import read
from interp_tui_engine.runfolder import RunFolder

from ..text.numbers import number
from ..text.sanitise import clean
from .follow import Follower
from .runstate import RunState
from .token_at import KnownOfToken, TokenAt, bare, places
from .token_responses import QUANTITIES, responses

LINES = 5
READS, LEAST_READ = 2, 0.2
"""Lines on heads that write into the token what they read elsewhere, and the attention from which on one is told."""
MOST_LOG = 32 << 20
"""Bytes of a log that is read for its cells."""
LEAST_TEXT = 12
"""Characters by which a text is known again in another; fewer stand everywhere."""


def _lens(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    state = _cells(folder)
    tokens = next((cell["tokens"] for cell in state.cells.values() if isinstance(cell.get("tokens"), list)), None)
    if tokens is None or not (at := places(tokens, token)):
        return None
    place, whole = at[0]
    rows = {cell["layer"]: cell for cell in state.cells.values() if type(cell.get("layer")) is int}
    lines = []
    for layer in _spread(sorted(rows)):
        words, shares = _at(rows[layer].get("top"), place), _at(rows[layer].get("top_prob"), place)
        if isinstance(words, list) and isinstance(shares, list):
            top = ", ".join(f"{_quoted(word)} {number(finite(share), 2)}" for word, share in list(zip(words, shares, strict=False))[:3])
            lines.append(f"L{layer}  {top}")
    return KnownOfToken("logit_lens", folder, whole, (*_elsewhere(tokens, place, whole), *lines)) if lines else None


def _attention(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    state = _cells(folder)
    tokens = next((cell["tokens"] for cell in state.cells.values() if isinstance(cell.get("tokens"), list)), None)
    if tokens is None or not (at := places(tokens, token)):
        return None
    place, whole = at[0]
    named = {str(row.get("head")): str(row.get("name")) for cell in state.cells.values() for row in _rows(cell.get("named"))}
    looks: list[tuple[float, str]] = []
    reads: list[tuple[float, str]] = []
    for cell in state.cells.values():
        for head, pattern in enumerate(_list(cell.get("pattern"))):
            name = f"L{cell.get('layer')}H{head}"
            about = name + (f" ({clean(named[name], limit=24)} head)" if name in named else "")
            for query in range(place + 1, len(tokens)):
                if (weight := finite(_at(_at(pattern, query), place))) is not None:
                    looks.append((weight, f"{about} from {_quoted(tokens[query])} with {weight:.2f}"))
            for key in range(1, place):  # not the first token, on which heads rest that have nothing to read
                if (weight := finite(_at(_at(pattern, place), key))) is not None:
                    reads.append((weight, f"{about} brings it {_quoted(tokens[key])} with {weight:.2f}"))
    looks.sort(key=lambda look: -look[0])
    reads.sort(key=lambda read: -read[0])
    lines = [line for _, line in looks[: LINES - READS]] or ["it is the last token: nothing looks back at it"]
    lines += [line for weight, line in reads[:READS] if weight >= LEAST_READ]
    return KnownOfToken("attention", folder, whole, (*_elsewhere(tokens, place, whole), *lines))


def _trace(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    from interp_tui_engine.results.causal_trace import CausalTraceResult

    result = read(CausalTraceResult, folder.result())
    if not (at := places(result.tokens, token)):
        return None
    place, whole = at[0]
    lines = []
    for site, rows in result.recovery.items():
        at_layers = [(row[place], layer) for layer, row in zip(result.layers, rows, strict=False) if place < len(row)]
        values = [(value, layer) for value, layer in at_layers if value is not None]
        if values:
            value, layer = max(values, key=lambda pair: abs(pair[0]))
            lines.append(f"{clean(site, limit=20)}: most at L{layer}, which restores {number(value, 3)} of the answer")
    heads = [head for head in result.top_heads if head.position == place]
    lines += [f"head {clean(head.head, limit=12)} restores {number(head.recovery, 3)}" for head in heads[:3]]
    return KnownOfToken("causal_trace", folder, whole, (*_elsewhere(result.tokens, place, whole), *lines)) if lines else None


def _features(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    report = atomic.read_json(folder.path / "report.json")
    fires: list[tuple[float, bool, str]] = []
    for card in _rows(_table(report).get("cards")):
        label = clean(str(card.get("label") or ""), limit=48)
        for example in _rows(_table(card.get("metadata")).get("activating")):
            value, whole = _fires(token, example)
            if value:
                name = clean(str(card.get("feature_id")), limit=24)
                fires.append((value, whole, f"{name} {number(value, 3)}" + (f"  {label}" if label and label != name else "")))
                break
    fires.sort(key=lambda fire: (not fire[1], -fire[0]))
    lines = tuple(line for _, _, line in fires[:LINES])
    return KnownOfToken("inspect", folder, fires[0][1], lines) if fires else None


def _fires(token: TokenAt, example: Mapping[str, Any]) -> tuple[float | None, bool]:
    """How strongly a feature fires on the token in an example of its card, and whether that is the very text."""
    tokens, values = example.get("tokens"), example.get("values")
    if isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values):
        for place, whole in places(tokens, token):
            if value := finite(values[place]):
                return value, whole or ("".join(map(str, tokens[: place + 1])).strip() == token.text.strip())
        return None, False
    text = " ".join(str(example.get("text") or "").split())  # a text without its tokens ends in the one that it fires on
    if token.word and text.endswith(token.word):
        return finite(example.get("activation")), text == " ".join(token.text.split())
    return None, False


def _responds(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    from interp_tui_engine.results.susceptibilities import SusceptibilitiesResult

    result = read(SusceptibilitiesResult, folder.result())
    quantity = QUANTITIES.get(result.ranked_by, "χ")
    found = responses(folder.path, result.ranked_by, token)
    if found is not None:
        parts = [f"{clean(part, limit=24)}: {quantity} {number(value, 3)}" for part, value in found.by_part[: LINES - 1]]
        alike = ", ".join(f"{_quoted(word)} {value:.2f}" for word, value in found.alike)
        lines = [*parts, *([f"parts respond alike to {alike}"] if alike else [])]
        where = () if found.whole else (f"in another text: … {clean(found.text, limit=60).strip()}",)
        return KnownOfToken("susceptibilities", folder, found.whole, (*where, *lines))
    strongest: list[tuple[float, str]] = []
    for part, tokens in result.top_tokens.items():
        for row in tokens:
            if row.value is not None and bare(row.token) == token.word:
                strongest.append((abs(row.value), f"{clean(part, limit=24)}: {quantity} {_sure(row.value, row.std_error, row.clear)}"))
    strongest.sort(key=lambda response: -response[0])
    return KnownOfToken("susceptibilities", folder, False, tuple(line for _, line in strongest[:LINES])) if strongest else None


def _moves(token: TokenAt, folder: RunFolder) -> KnownOfToken | None:
    from interp_tui_engine.results.bif import BIFResult

    wanted = " ".join(token.text.split())
    exact = len(wanted) >= LEAST_TEXT
    influences: list[tuple[bool, float, str]] = []
    for pair in read(BIFResult, folder.result()).top_pairs:
        sides = [" ".join(text.split()) for text in (pair.text_1, pair.text_2)]
        for here, there in (sides, sides[::-1]):
            whole = exact and wanted in here
            if pair.value is not None and (whole or token.word in here.split()):
                influences.append((whole, abs(pair.value), f"{_sure(pair.value, pair.std_error, pair.clear)}  {clean(there, limit=72)}"))
    influences.sort(key=lambda text: (not text[0], -text[1]))
    lines = tuple(dict.fromkeys(line for _, _, line in influences))[:LINES]
    return KnownOfToken("bif", folder, influences[0][0], lines) if influences else None


def _sure(value: float, error: float | None, clear: bool | None) -> str:
    """A sampled number with its error, and whether it is clear of what chance gives."""
    bar = f" ± {number(error, 2)}" if error is not None else ""
    return f"{number(value, 3)}{bar}{', not clear of noise' if clear is False else ''}"


READERS: dict[str, Callable[[TokenAt, RunFolder], KnownOfToken | None]] = {
    "logit_lens": _lens,
    "attention": _attention,
    "causal_trace": _trace,
    "inspect": _features,
    "susceptibilities": _responds,
    "bif": _moves,
}


# -- small things


def _cells(folder: RunFolder) -> RunState:
    """What the run told of its grid; nothing of a log that is too long to be read for this."""
    follower = Follower(folder)
    try:
        if folder.events_path.stat().st_size <= MOST_LOG:
            while follower.read().more:
                pass
    except OSError:
        return RunState()
    return follower.state


def _spread(layers: Sequence[int]) -> Sequence[int]:
    """A few of many layers, the last among them."""
    if len(layers) <= LINES:
        return layers
    return [layers[round(place * (len(layers) - 1) / (LINES - 1))] for place in range(LINES)]


def _elsewhere(tokens: Sequence[Any], place: int, whole: bool) -> tuple[str, ...]:
    if whole:
        return ()
    text = "".join(map(str, tokens[max(0, place - 8) : place + 1]))
    return (f"in another text: … {clean(text, limit=60).strip()}",)


def _quoted(word: Any) -> str:
    return f"‘{clean(str(word), limit=20).strip() or '␣'}’"


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and 0 <= place < len(values) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
