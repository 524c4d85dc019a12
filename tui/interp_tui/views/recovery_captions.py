"""The lines over the grids of a recovery view: the two prompts where they differ, and which site and pair are shown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from interp_tui.text.numbers import number

from .recovery_cells import PairGrid


def prompts(shown: PairGrid, muted: str, accent: str, *, ascii: bool) -> Text:
    """Both prompts of a pair with their answers and metrics, the tokens in which they differ marked."""
    text = Text(end="", overflow="ellipsis", no_wrap=True)
    for label, tokens, answer, value in (
        ("clean  ", shown.tokens, shown.answer, shown.clean_metric),
        ("corrupt", shown.corrupt_tokens, shown.counterfactual, shown.corrupt_metric),
    ):
        text.append("\n" if text.plain else "")
        text.append(f"{label} ", muted)
        for place, token in enumerate(tokens[: shown.last + 1]):
            other = shown.corrupt_tokens[place : place + 1] != shown.tokens[place : place + 1]
            text.append(f"{' ' if place else ''}{token}", f"bold {accent}" if other else "")
        text.append(f" {'->' if ascii else '→'} {answer or '?'}", muted)
        text.append(f"   {shown.metric} {number(value, 4)}", muted)
    return text


def sites(names: Sequence[str], index: int, note: str, note_style: str, which: str, muted: str, accent: str, *, ascii: bool) -> Text:
    """The kinds of site, that at `index` marked; a note on it; and which pair."""
    text = Text("site ", muted, end="", overflow="ellipsis", no_wrap=True)
    left, right = ("<", ">") if ascii else ("‹", "›")
    for place, name in enumerate(names):
        text.append(f"{left}{name}{right}" if place == index else f" {name} ", f"bold {accent}" if place == index else muted)
    text.append(note, note_style)
    text.append(f"   {which}" if which else "", muted)
    return text
