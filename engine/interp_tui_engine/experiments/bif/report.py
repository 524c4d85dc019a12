"""The report of an influence run: what is clear of the floor first, then the pairs. Torch-free."""

from __future__ import annotations

from ...manifest import Manifest
from ...markdown import code
from ...numbers import short
from ...results.bif import BIFResult, InfluencePair
from ...uncertainty import plus_minus

AGREES = 0.6
"""Correlation over pairs of two samplings from which their ranking holds."""


def report(manifest: Manifest, values: BIFResult, draws: int) -> str:
    """Markdown for report.md; draws: of each chain."""
    assert manifest.model is not None
    kinds, chains = values.observables, len(values.healthy_chains)
    unit = "covariance in nats²" if values.covariance else "correlation"
    over = ", mean over pairs of tokens" if values.method == "token" else ""
    lines = [
        f"# bif · {manifest.name}",
        "",
        f"How losses move together over {chains} × {draws} draws around `{manifest.model.source}`: {unit} between "
        f"{sum(values.rows)} sequences{over}.",
        "",
        f"**{verdict(values)}**",
        "",
        f"| mean | {' | '.join(kinds)} |",
        f"|---|{'---:|' * len(kinds)}",
        *(f"| {a} | {' | '.join(_with_error(values.between[a][b], values.between_std_error[a][b]) for b in kinds)} |" for a in kinds),
        "",
        "![influence between sequences](figures/influence.svg)",
        "",
        "Pairs that move together, or against each other, most (* clear of the floor; first order: cosine of the texts' gradients"
        + (", as a covariance):" if values.covariance else "):"),
        "",
    ]
    lines += [f"- {_pair(pair)}" for pair in values.top_pairs[:12]]
    return "\n".join([*lines, "", *_remarks(values), *_last()])


def verdict(values: BIFResult) -> str:
    """How many pairs are more than chance, and whether the ranking would come out alike with another seed."""
    level, agreement = values.floor, values.agreement
    parts = []
    if level is None:
        parts.append("There is no floor: chains are too short, or too few, for nineteen exchanges of one with another.")
    else:
        parts.append(
            f"{level.clear_pairs:,} of {level.pairs:,} pairs are clear of the floor ({level.standard_errors:.1f} standard errors: "
            "the largest pair of exchanged chains)."
        )
    if (seeds := agreement["seeds"]) is not None:
        word = "can be ranked" if seeds >= AGREES else "are mostly noise: read the first order, or take more draws"
        parts.append(f"Two samplings of this size agree at r = {seeds:.2f} over pairs, so they {word}.")
    if agreement["with_first_order"] is not None:
        parts.append(f"With the first order they agree at r = {agreement['with_first_order']:.2f}.")
    tokens = values.token_floor
    if tokens is not None:
        clear, pairs = tokens.clear_pairs or 0, tokens.pairs or 0
        parts.append(f"Of single tokens, {clear:,} of {pairs:,} pairs are clear ({clear / max(1, pairs):.2%}).")
        if (alike := agreement["tokens"]) is not None:
            word = "" if alike >= AGREES else ": token by token this is mostly noise"
            parts.append(f"Two samplings agree at r = {alike:.2f} over pairs of tokens{word}.")
    return " ".join(parts)


def _pair(pair: InfluencePair) -> str:
    error = "" if pair.std_error is None else f" ± {pair.std_error:.3f}"
    exact = "" if pair.first_order is None else f" (first order {pair.first_order:+.3f})"
    sides = ((pair.data_1, pair.row_1, pair.text_1), (pair.data_2, pair.row_2, pair.text_2))
    texts = ", ".join(f"{data} {row} `{code(text, 70)}`" for data, row, text in sides)
    return f"{pair.value:+.3f}{error}{' *' if pair.clear else ''}{exact}  {texts}"


def _remarks(values: BIFResult) -> list[str]:
    lines = []
    if values.no_error:
        lines.append(f"- no error bar: {values.no_error}")
    elif values.effective_draws is not None:
        lines.append(f"- a pair has about {values.effective_draws:.0f} effective draws; ± is one standard error")
    if len(values.healthy_chains) == 1 and values.floor is not None:
        lines.append("- one chain: the floor is that of the chain set against itself at other times")
    if values.constant_count:
        lines.append(f"- {values.constant_count} losses never vary over the draws: their influences are null")
    return lines + [f"- chain {chain} failed at {why}; left out" for chain, why in values.failed_chains.items()]


def _last() -> list[str]:
    return ["", "Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]


def _with_error(value: float | None, error: float | None) -> str:
    return short(value) if value is None or error is None else plus_minus(value, error)
