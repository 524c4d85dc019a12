"""What a logit_lens run says in words: its figure, its report, and how sure its numbers are. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...events import Event
from ...figures.lines import Curve, lines_svg
from ...markdown import code
from ...results.logit_lens import Domain, LensLayers, LogitLensResult
from ...runtime.context import Context
from ...runtime.steps import write_figure
from ...uncertainty import Uncertainty

SMALLEST_KL = 1e-3
"""Nats by which a lens must be further from the end to be called worse on one prompt."""


def figure(context: Context, answer: str, plain: LensLayers, tuned: LensLayers | None) -> Event:
    """The probability of the answer by layer, through each lens."""
    name = "".join(c if c.isprintable() else "·" for c in answer)
    curves = [Curve(name, range(len(plain.answer_prob)), plain.answer_prob)]
    if tuned is not None:
        curves.append(Curve(f"{name}, tuned lens", range(len(tuned.answer_prob)), tuned.answer_prob))
    title = "probability of the answer by layer"
    return write_figure(context.folder.path, "answer", lines_svg(title, "layer", "probability", curves), title)


def report(prompt: str, values: LogitLensResult) -> str:
    """report.md of a run on this prompt."""
    lines = [
        "# Logit lens",
        "",
        f"`{code(prompt)}` → `{code(values.answer)}`: {_first(values)}.",
        "",
        "![probability of the answer](figures/answer.svg)",
    ]
    lines += ["", *_table(values.layers, values)]
    if (tuned := values.tuned) is not None:
        lines += ["", "# Tuned lens", "", f"Through a map fitted for each layer, {_first(tuned)}.", "", *_table(values.layers, tuned)]
        lines += ["", *_here(values, tuned)]
    if (held := values.held_out) is not None:
        same = ", ".join(f"L{layer}" for layer in held.identity_layers)
        lines += [
            "",
            f"On {held.tokens:,} held-out tokens, in blocks across the text it was fitted to, mean KL to the end in nats a token:",
            "",
        ]
        lines += ["| layer | logit lens | tuned lens |", "|---:|---:|---:|"]
        lines += [f"| {i} | {a:.4f} | {b:.4f} |" for i, (a, b) in enumerate(zip(held.logit_kl, held.tuned_kl, strict=True))]
        lines += ["", f"Fitting did not help {same}: read as by the logit lens."] if same else []
    lines += _elsewhere(values.layers, values.domains)
    return "\n".join([*lines, ""])


def _here(plain: LensLayers, tuned: LensLayers) -> list[str]:
    """Whether the tuned lens does worse than the logit lens on the very prompt that is read."""
    both = zip(plain.kl_to_end, tuned.kl_to_end, strict=True)
    worse = ", ".join(f"L{i}" for i, (kl, other) in enumerate(both) if (other or 0.0) > (kl or 0.0) + SMALLEST_KL)
    return [f"**Worse than the logit lens here**: further from the end on this prompt at {worse}."] if worse else []


def _elsewhere(layers: Sequence[int], domains: Mapping[str, Domain]) -> list[str]:
    """Both lenses on texts that the tuned one was not fitted to."""
    if not domains:
        return []
    lines = ["", "On other texts, mean KL to the end in nats a token, logit lens → tuned lens:", ""]
    lines += ["| layer | " + " | ".join(f"`{code(name)}`" for name in domains) + " |", "|---:|" + "---:|" * len(domains)]
    for layer in layers:
        cells = [f"{row.logit_kl[layer]:.4f} → {row.tuned_kl[layer]:.4f}" for row in domains.values()]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    for name, row in domains.items():
        if row.worse_layers:
            worse = ", ".join(_by_how_much(row, layer) for layer in row.worse_layers)
            lines += ["", f"**Worse than the logit lens here**, on `{code(name)}`: {worse} nats, with the standard error over its rows."]
    return lines


def _by_how_much(row: Domain, layer: int) -> str:
    return f"L{layer} by {row.further(layer):.3f} ± {row.std_error[layer]:.3f}"


def uncertainty(values: LogitLensResult) -> dict[str, Uncertainty]:
    """By text: how much further from the end the tuned lens is, over the layers but the last; the logit lens is its control, at 0."""
    return {
        f"domains.{name}.difference": Uncertainty(
            f"{row.rows} rows of text", row.difference_std_error, control=0.0, clear=_clear(row.difference, row.difference_std_error)
        )
        for name, row in values.domains.items()
    }


def _clear(difference: float | None, error: float | None) -> bool | None:
    return None if difference is None or error is None else abs(difference) > 2 * error


def _first(values: LensLayers) -> str:
    first = values.crossover_layer
    return "the answer is the likeliest token first " + (f"at layer **{first}**" if first is not None else "at **no** layer")


def _table(layers: Sequence[int], values: LensLayers) -> list[str]:
    rows = zip(layers, values.answer_prob, values.answer_rank, values.top_token, values.kl_to_end, strict=True)
    head = ["| layer | P(answer) | rank | likeliest | KL to the end, nats |", "|---:|---:|---:|---|---:|"]
    return [*head, *(f"| {layer} | {p:.4f} | {r} | {token!r} | {far:.3f} |" for layer, p, r, token, far in rows)]
