"""The report of a susceptibilities run: the ranked quantity first, then what sampling adds to the first order. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

from ...manifest import Manifest
from ...markdown import code
from ...numbers import short
from ...results.susceptibilities import SusceptibilitiesResult, TopToken
from ...uncertainty import plus_minus

MOSTLY_SHIFT = 0.9
"""Share of the shift (see the estimator) from which whole responses differ in size more than in kind."""
AGREES, APART = 0.6, 0.2
"""Correlation over tokens of two samplings of a part from which a ranking holds, and by how much it must exceed that between parts."""
FAR = 0.3
"""Curvature, as a share of the pull to w0, from which first order is only a first guess."""
NAMES = {
    "covariance": "sampled covariance Cov(L, L − l)",
    "first_order": "first order s (‖∇L‖² − ⟨∇L, ∇l⟩)",
    "shift": "shift E[φ] (E[L − l] − E_full[L − l])",
    "mean": "susceptibility χ, covariance and shift together",
}
TABLE = {"susceptibility": "mean"}


def report(manifest: Manifest, values: SusceptibilitiesResult) -> str:
    """Markdown for report.md."""
    assert manifest.model is not None
    revision = f" at `{manifest.model.revision}`" if manifest.model.revision else ""
    sampling, ranked = manifest.params.sampling_data, TABLE.get(values.ranked_by, values.ranked_by)
    order = [ranked, *(name for name in NAMES if name != ranked)]
    lines = [
        f"# susceptibilities · {manifest.name}",
        "",
        f"How parts of `{manifest.model.source}`{revision} respond to data, relative to `{sampling}`: means over tokens, in nats². "
        "Negative: the data's loss moves with the part more than the sampling data's does."
        + (f" `{sampling}` itself is 0 on average, by definition; its tokens are not." if sampling in values.observables else ""),
        "",
        "**" + verdict(values) + "**",
        "",
        "± is one standard error; in brackets: not clear of what as many rows of all data, drawn at random, respond by.",
        "",
    ]
    for name in order:
        lines += _table(values, name)
    lines += ["![susceptibility of each part to each data set](figures/susceptibilities.svg)", "", *_agreement(values)]
    lines += ["", f"Tokens that respond most, by {NAMES[ranked]} (* clear of the floor, see above):", ""]
    for part, tokens in list(values.top_tokens.items())[:40]:
        lines.append(f"- {part}: {', '.join(map(_token, tokens[:5]))}")
    lines += ["", *_remarks(values)]
    lines += ["", "Make it again: `interp-tui replay --check` on this folder, or `interp-tui --batch` on its manifest.toml.", ""]
    return "\n".join(lines)


def verdict(values: SusceptibilitiesResult) -> str:
    """Whether sampled covariances can be ranked, and what sampling adds to the first order."""
    agreements = list(values.agreement.values())
    seeds, others = _median(row.seeds for row in agreements), _median(row.others for row in agreements)
    if seeds is None:
        return "Whether two samplings would agree is not known."
    across = "" if others is None else f", {others:.2f} between parts"
    sentence = f"Two samplings of this size agree at r = {seeds:.2f} over tokens{across}"
    departure = _median(row.departure for row in agreements)
    if holds(values):
        sentence += ": sampled covariances can be ranked."
    else:
        more = _draws_needed(_median(row.halves for row in agreements))
        sentence += f": token by token, sampled covariances are mostly noise{more}. The first order has none."
    if departure is not None:
        by = "no more than their noise" if departure < 1.3 else "more than noise: sampling sees curvature"
        sentence += f" They depart from the first order by {by} (mean square {departure:.2f} standard errors², 1 for noise)."
    return sentence


def holds(values: SusceptibilitiesResult) -> bool:
    """Whether a ranking by sampled covariance would come out alike with another seed."""
    agreements = list(values.agreement.values())
    seeds, others = _median(row.seeds for row in agreements), _median(row.others for row in agreements)
    return seeds is not None and seeds >= AGREES and (others is None or seeds - others >= APART)


def first_order_holds(values: SusceptibilitiesResult, part: str) -> bool:
    """Whether localization prevails over curvature along a part's gradient, so that its first order is one."""
    agreement = values.agreement.get(part)
    return agreement is not None and agreement.curvature is not None and abs(agreement.curvature) <= FAR


def _draws_needed(half: float | None) -> str:
    if half is None or half < 0.02:
        return ""
    return f" (about {max(1.0, AGREES * (1 - half) / (half * (1 - AGREES)) / 2):.0f} × the draws would settle them)"


def _median(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return median(defined) if defined else None


def _table(values: SusceptibilitiesResult, name: str) -> list[str]:
    data = values.observables
    if not any(value is not None for row in values.means(name).values() for value in row.values()):
        return []
    lines = [f"| {NAMES[name]} | parameters | {' | '.join(data)} |", f"|---|---:|{'---:|' * len(data)}"]
    for part in values.restrictions:
        errors = values.errors(name).get(part, {})
        cells = [
            _bracketed(values, name, part, data_name, _with_error(values.means(name)[part][data_name], errors.get(data_name)))
            for data_name in data
        ]
        lines.append(f"| {part} | {values.parameters[part]:,} | {' | '.join(cells)} |")
    return [*lines, ""]


def _bracketed(values: SusceptibilitiesResult, name: str, part: str, data: str, text: str) -> str:
    clear = values.clear.get(name, {}).get(part, {}).get(data)
    return f"({text})" if clear is False and text != "–" else text


def _agreement(values: SusceptibilitiesResult) -> list[str]:
    """A row a part: does its covariance repeat, and does it follow its own first order?"""
    lines = [
        "| part | two samplings | other parts | own first order | others' first order | slope | departure | tokens clear | curvature |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for part, row in values.agreement.items():
        numbers = (row.seeds, row.others, row.with_first_order, row.with_other_parts, row.slope, row.departure)
        cells = [*("–" if number is None else f"{number:.2f}" for number in numbers), f"{row.clear_tokens:,}"]
        cells.append("–" if row.curvature is None else short(row.curvature, 2))
        lines.append(f"| {part} | {' | '.join(cells)} |")
    note = (
        "Correlations over tokens: of the covariances of two samplings of this size (from both halves of the chains), with those of other "
        "parts; of the covariance with the first order of its own part and of others. slope: of the covariance on its first order, 1 where "
        "they agree. departure: mean square of their difference in standard errors, 1 for noise. tokens clear: whose loss covaries "
        "with φ more than any does with another chain's φ. curvature: nβ uᵀHu / γ along the gradient; first order holds where it is small."
    )
    return [*lines, "", note]


def _remarks(values: SusceptibilitiesResult) -> list[str]:
    lines = []
    if values.ranked_by == "covariance" and not holds(values):
        lines.append('- the ranking above would come out otherwise with another seed: take more draws, or rank_by = "first_order"')
    shifted = [part for part, share in values.shift_share.items() if share is not None and share > MOSTLY_SHIFT]
    if shifted:
        start = f"- {len(shifted)} of {len(values.restrictions)} parts: χ is mostly shift, alike for all"
        lines.append(f"{start}: the whole model's samples lie farther out than theirs; raise localization, or read the covariance")
    bent = [part for part, row in values.agreement.items() if row.curvature is not None and not first_order_holds(values, part)]
    if bent:
        lines.append(f"- curvature is no longer small in {', '.join(bent[:12])}: their first order is a first guess; raise localization")
    missing = [why for part in values.no_error.values() for why in part.values()]
    if missing:
        lines.append(f"- no error bar in {len(missing)} places, as: {', '.join(dict.fromkeys(missing[:3]))}")
    unmixed = [part for part, rhat in values.rhat.items() if rhat is not None and rhat > 1.1]
    lines += [f"- R̂ above 1.1 in {', '.join(unmixed[:12])}: more draws or burn-in would settle them"] if unmixed else []
    if not values.paired:
        lines.append("- L(w₀) is that of other rows than φ's: the shift holds their difference")
    return lines + [
        f"- {part}: chain {chain} failed at {why}; left out"
        for part, failed in values.failed_chains.items()
        for chain, why in failed.items()
    ]


def _token(token: TopToken) -> str:
    return f"`{code(token.token, 40)}` {_with_error(token.value, token.std_error)}{' *' if token.clear else ''}"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return short(value) if not error or not math.isfinite(error) else plus_minus(value, error)
