"""One feature's card: what it fires on, how often and how strongly, what it promotes, and the evidence that it matters. Headless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from interp_tui.text.numbers import number, spark
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import rich_style
from interp_tui_engine.numbers import as_finite as finite

NUMBER_WIDTH = 8


def card_text(
    row: Mapping[str, Any], card: Mapping[str, Any] | None, width: int, height: int, colours: Mapping[str, str], *, ascii: bool
) -> Text:
    """The card, `width` cells wide and at most `height` lines: the evidence first, then examples as far as they fit."""
    muted, accent, good = (rich_style(colours.get(name, "")) for name in ("muted", "accent", "good"))
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    label = clean(str(row.get("label") or (card or {}).get("label") or ""), limit=width)
    name = clean(str(row.get("feature_id", "")), limit=width)
    text.append(name, rich_style(colours.get("accent", ""), bold=True))
    text.append(f"  {label}" if label and label != name else "", "")
    for sign, said, style in _evidence(row, accent, good):
        text.append(f"\n{sign:<9}", muted)
        text.append(_plain(said, ascii), style)
    if (value := finite(row.get("effect"))) is not None and width >= 34:
        low, high = finite(row.get("effect_low")), finite(row.get("effect_high"))
        limit = max(abs(v) for v in (value, low or 0.0, high or 0.0, 1e-9)) * 1.15
        half = (high - low) / 2 if low is not None and high is not None else 0.0
        drawn = on_axis(value, min(41, width - 10), limit=limit, mark=0.0, error=half)
        text.append(f"\n{'':<9}{_plain(drawn, ascii)}", good if row.get("clear") else muted)
    metadata = (card or {}).get("metadata")
    if not isinstance(metadata, Mapping):
        text.append("\nno card: only the first features get one (params.cards)", muted)
        return text
    for line in _distribution(metadata, width, ascii=ascii):
        text.append(f"\n{line[0]:<9}", muted)
        text.append(line[1])
    for key, sign in (("promotes", "promotes"), ("suppresses", "suppress"), ("nearest", "nearest")):
        tokens = metadata.get(key)
        if isinstance(tokens, Sequence) and not isinstance(tokens, str) and tokens:
            text.append(f"\n{sign:<9}", muted)
            blank, limit = ("_" if ascii else "␣"), 28 if key == "nearest" else 16
            text.append("  ".join(clean(str(token).strip(" "), limit=limit) or blank for token in tokens[:8]))
    detection = finite(metadata.get("detection"))
    if detection is not None:
        text.append(f"\n{'label':<9}", muted)
        text.append(f"told from silent texts {detection:.0%} of the time".replace("%", " %"))
    room = height - text.plain.count("\n") - 1
    _examples(text, metadata.get("activating"), width, room, muted, accent, ascii=ascii)
    return text


def _evidence(row: Mapping[str, Any], accent: str, good: str) -> list[tuple[str, str, str]]:
    area, low, high = (finite(row.get(name)) for name in ("auroc", "auroc_low", "auroc_high"))
    found = []
    if area is not None and low is not None and high is not None:
        word = "rises" if row.get("direction") == 1 else "falls"
        fitted = number(finite(row.get("auroc_fitted")), 3)
        found.append(("AUROC", f"{area:.3f} [{low:.3f}, {high:.3f}] {word}   fitted {fitted}", ""))
        q, family, r = (finite(row.get(name)) for name in ("q", "family_p", "correlation"))
        found.append(("q", f"{number(q, 2)}   family-wise p {number(family, 2)}   r {number(r, 2)}", ""))
        stable, specific = finite(row.get("stability")), finite(row.get("specificity"))
        more = f"   specificity {number(specific, 2)}" if specific is not None else ""
        found.append(("stable", f"{number(stable, 2)}{more}", ""))
    if (again := finite(row.get("repeats"))) is not None:
        found.append(("repeats", f"cosine {again:.2f} with its like from another start", "" if again >= 0.7 else accent))
    effect = finite(row.get("effect"))
    if effect is not None:
        ends = [finite(row.get("effect_low")), finite(row.get("effect_high"))]
        said = number(effect, 3) + (f" [{number(ends[0], 3)}, {number(ends[1], 3)}]" if None not in ends else " (one row: no interval)")
        clear = row.get("clear") is True
        side = finite(row.get("side_effect"))
        found.append(("effect", said + ("  ◆" if clear else ""), good if clear else ""))
        control = finite(row.get("control"))
        found.append(("side", f"{number(side, 2)}   controls {number(control, 2)}", ""))
    return found


def _distribution(metadata: Mapping[str, Any], width: int, *, ascii: bool) -> list[tuple[str, str]]:
    bins = metadata.get("histogram")
    if not isinstance(bins, Mapping) or not isinstance(bins.get("counts"), list):
        return []
    counts = [float(c) for c in bins["counts"] if isinstance(c, (int, float))]
    fires, silent = sum(counts), finite(bins.get("silent")) or 0.0
    share = fires / (fires + silent) if fires + silent else 0.0
    ends = f"{number(finite(bins.get('low')), 3)} … {number(finite(bins.get('high')), 3)}"
    return [("values", f"{spark(counts, 12, ascii=ascii)}  {_plain(ends, ascii)}   fires on {share:.0%}".replace("%", " %"))]


def _examples(text: Text, found: Any, width: int, room: int, muted: str, accent: str, *, ascii: bool) -> None:
    """The texts it fires on most, cut to one line each; the end of a text is what it fired at, so that is what is kept."""
    if not isinstance(found, list) or room < 2:
        return
    text.append("\nfires most on", muted)
    for example in found[: room - 1]:
        if not isinstance(example, Mapping):
            continue
        value = number(finite(example.get("activation")), 3).rjust(NUMBER_WIDTH)
        space = max(8, width - NUMBER_WIDTH - 3)
        text.append(f"\n{value}  ", accent)
        for said, style in _marked(example, space, muted, accent, ascii=ascii):
            text.append(said, style)


def _marked(example: Mapping[str, Any], space: int, muted: str, accent: str, *, ascii: bool) -> list[tuple[str, str]]:
    """An example in `space` cells: the token it fires on most between bars, others by how strongly it fires on them, the end kept."""
    tokens, values = example.get("tokens"), example.get("values")
    if not isinstance(tokens, list) or not isinstance(values, list) or not tokens or len(tokens) != len(values):
        said = clean(" ".join(str(example.get("text", "")).split()), limit=2000)
        return [(_last(said, space), "")]
    sizes = [abs(finite(value) or 0.0) for value in values]
    peak = max(range(len(sizes)), key=sizes.__getitem__)
    left, right = ("[", "]") if ascii else ("▐", "▌")
    pieces = []
    for place, token in enumerate(tokens):
        word = clean(" ".join(str(token).split()), limit=200)
        before = " " if str(token)[:1].isspace() and place else ""
        if place == peak:
            pieces.append((f"{before}{left}{word}{right}", f"bold {accent}"))
        else:
            pieces.append((before + word, accent if sizes[place] >= sizes[peak] / 2 > 0 else "" if sizes[place] else muted))
    while len(pieces) > peak + 1 and sum(cell_len(said) for said, _ in pieces[peak:]) > max(space // 2, cell_len(pieces[peak][0])):
        pieces.pop()
    room, shown = space, []
    for said, style in reversed(pieces):
        shown.append((_last(said, room), style))
        room -= cell_len(shown[-1][0])
        if room <= 0 or shown[-1][0] != said:
            break
    return shown[::-1]


def _last(said: str, space: int) -> str:
    """The end of a text, in at most `space` cells."""
    if cell_len(said) <= space:
        return said
    said = "…" + said[-max(0, space - 1) :] if space > 1 else "…"[:space]
    return set_cell_size(said, space) if cell_len(said) > space else said


def _plain(text: str, ascii: bool) -> str:
    """In a terminal of ASCII only: signs that have one."""
    return text.translate(str.maketrans("◆├┤─│┊▶◀—…", "*[]-|:><-.")) if ascii else text
