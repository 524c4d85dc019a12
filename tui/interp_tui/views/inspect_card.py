"""One feature's card: what it fires on, how often and how strongly, what it promotes, and the evidence that it matters. Headless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from interp_tui.runs.feature_table import REPEATS
from interp_tui.text.numbers import number, spark
from interp_tui.text.sanitise import clean
from interp_tui.widgets.axisbar import on_axis
from interp_tui.widgets.facts import rich_style
from interp_tui_engine.results.inspect import Activating, FeatureCard, RankedFeature, ValueHistogram

NUMBER_WIDTH = 8


def card_text(row: RankedFeature, card: FeatureCard | None, width: int, height: int, colours: Mapping[str, str], *, ascii: bool) -> Text:
    """The card, `width` cells wide and at most `height` lines: the evidence first, then examples as far as they fit."""
    muted, accent, good = (rich_style(colours.get(name, "")) for name in ("muted", "accent", "good"))
    text = Text(end="", no_wrap=True, overflow="ellipsis")
    label = clean(row.label or (card.label if card is not None else None) or "", limit=width)
    name = clean(row.feature_id, limit=width)
    text.append(name, rich_style(colours.get("accent", ""), bold=True))
    text.append(f"  {label}" if label and label != name else "", "")
    for sign, wording, style in _evidence(row, accent, good):
        text.append(f"\n{sign:<9}", muted)
        text.append(_plain(wording, ascii), style)
    if (value := row.effect) is not None and width >= 34:
        low, high = row.effect_low, row.effect_high
        limit = max(abs(v) for v in (value, low or 0.0, high or 0.0, 1e-9)) * 1.15
        half = (high - low) / 2 if low is not None and high is not None else 0.0
        drawn = on_axis(value, min(41, width - 10), limit=limit, mark=0.0, error=half)
        text.append(f"\n{'':<9}{_plain(drawn, ascii)}", good if row.clear else muted)
    evidence = card.metadata if card is not None else None
    if evidence is None:
        text.append("\nno card: only the first features get one (params.cards)", muted)
        return text
    for line in _distribution(evidence.histogram, width, ascii=ascii):
        text.append(f"\n{line[0]:<9}", muted)
        text.append(line[1])
    for sign, tokens, limit in (
        ("promotes", evidence.promotes, 16),
        ("suppress", evidence.suppresses, 16),
        ("nearest", evidence.nearest, 28),
    ):
        if tokens:
            text.append(f"\n{sign:<9}", muted)
            text.append("  ".join(clean(token.strip(" "), limit=limit) or ("_" if ascii else "␣") for token in tokens[:8]))
    if evidence.detection is not None:
        text.append(f"\n{'label':<9}", muted)
        text.append(f"told from silent texts {evidence.detection:.0%} of the time".replace("%", " %"))
    room = height - text.plain.count("\n") - 1
    _examples(text, evidence.activating, width, room, muted, accent, ascii=ascii)
    return text


def _evidence(row: RankedFeature, accent: str, good: str) -> list[tuple[str, str, str]]:
    area, low, high = row.auroc, row.auroc_low, row.auroc_high
    signs = []
    if area is not None and low is not None and high is not None:
        word = "rises" if row.direction == 1 else "falls"
        fitted = number(row.auroc_fitted, 3)
        signs.append(("AUROC", f"{area:.3f} [{low:.3f}, {high:.3f}] {word}   fitted {fitted}", ""))
        signs.append(("q", f"{number(row.q, 2)}   family-wise p {number(row.family_p, 2)}   r {number(row.correlation, 2)}", ""))
        more = f"   specificity {number(row.specificity, 2)}" if row.specificity is not None else ""
        signs.append(("stable", f"{number(row.stability, 2)}{more}", ""))
    if (again := row.repeats) is not None:
        signs.append(("repeats", f"cosine {again:.2f} with its like from another start", "" if again >= REPEATS else accent))
    if row.effect is not None:
        ends = [row.effect_low, row.effect_high]
        ends_text = number(row.effect, 3) + (
            f" [{number(ends[0], 3)}, {number(ends[1], 3)}]" if None not in ends else " (one row: no interval)"
        )
        clear = row.clear is True
        signs.append(("effect", ends_text + ("  ◆" if clear else ""), good if clear else ""))
        signs.append(("side", f"{number(row.side_effect, 2)}   controls {number(row.control, 2)}", ""))
    return signs


def _distribution(bins: ValueHistogram, width: int, *, ascii: bool) -> list[tuple[str, str]]:
    counts = [float(count) for count in bins.counts if count is not None and count >= 0]
    if not counts:
        return []
    fires, silent = sum(counts), max(0, bins.silent or 0)
    share = fires / (fires + silent) if fires + silent else 0.0
    ends = f"{number(bins.low, 3)} … {number(bins.high, 3)}"
    return [("values", f"{spark(counts, 12, ascii=ascii)}  {_plain(ends, ascii)}   fires on {share:.0%}".replace("%", " %"))]


def _examples(text: Text, examples: Sequence[Activating], width: int, room: int, muted: str, accent: str, *, ascii: bool) -> None:
    """The texts it fires on most, cut to one line each; the end of a text is what it fired at, so that is what is kept."""
    if not examples or room < 2:
        return
    text.append("\nfires most on", muted)
    for example in examples[: room - 1]:
        value = number(example.activation, 3).rjust(NUMBER_WIDTH)
        space = max(8, width - NUMBER_WIDTH - 3)
        text.append(f"\n{value}  ", accent)
        for piece, style in _marked(example, space, muted, accent, ascii=ascii):
            text.append(piece, style)


def _marked(example: Activating, space: int, muted: str, accent: str, *, ascii: bool) -> list[tuple[str, str]]:
    """An example in `space` cells: the token it fires on most between bars, others by how strongly it fires on them, the end kept."""
    tokens, values = example.tokens, example.values
    if not tokens or len(tokens) != len(values):
        return [(_last(clean(" ".join(example.text.split()), limit=2000), space), "")]
    sizes = [abs(value or 0.0) for value in values]
    peak = max(range(len(sizes)), key=sizes.__getitem__)
    left, right = ("[", "]") if ascii else ("▐", "▌")
    pieces = []
    for place, token in enumerate(tokens):
        word = clean(" ".join(token.split()), limit=200)
        before = " " if token[:1].isspace() and place else ""
        if place == peak:
            pieces.append((f"{before}{left}{word}{right}", f"bold {accent}"))
        else:
            pieces.append((before + word, accent if sizes[place] >= sizes[peak] / 2 > 0 else "" if sizes[place] else muted))
    while len(pieces) > peak + 1 and sum(cell_len(piece) for piece, _ in pieces[peak:]) > max(space // 2, cell_len(pieces[peak][0])):
        pieces.pop()
    room, shown = space, []
    for piece, style in reversed(pieces):
        shown.append((_last(piece, room), style))
        room -= cell_len(shown[-1][0])
        if room <= 0 or shown[-1][0] != piece:
            break
    return shown[::-1]


def _last(piece: str, space: int) -> str:
    """The end of a text, in at most `space` cells."""
    if cell_len(piece) <= space:
        return piece
    piece = "…" + piece[-max(0, space - 1) :] if space > 1 else "…"[:space]
    return set_cell_size(piece, space) if cell_len(piece) > space else piece


def _plain(text: str, ascii: bool) -> str:
    """In a terminal of ASCII only: signs that have one."""
    return text.translate(str.maketrans("◆├┤─│┊▶◀—…", "*[]-|:><-.")) if ascii else text


def strongest(card: FeatureCard) -> tuple[str, ...]:
    """The tokens of a card's first example up to the one that the feature fires on most; empty where the card shows no tokens."""
    examples = card.metadata.activating if card.metadata is not None else ()
    if not examples or not examples[0].tokens or len(examples[0].tokens) != len(examples[0].values):
        return ()
    tokens, values = examples[0].tokens, examples[0].values
    peak = max(range(len(values)), key=lambda place: abs(values[place] or 0.0))
    return tuple(token[:200] for token in tokens[: peak + 1])
