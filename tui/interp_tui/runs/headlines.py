"""What a run found, as one line that answers its question: `France L0 0.85 → is L2 1.00`, `λ̂ 38.2 ± 0.9  R̂ 1.02`. Headless.

One function a kind, from the headline numbers of status.json; a kind without one shows those numbers under their names. A kind that states
its answer in words (`answer` in its headline) is taken at its word. Types of headlines are imported where a listing holds such a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from interp_tui_engine import uncertainty

from ..text.ascii_words import spelled
from ..text.numbers import headline, number
from ..text.sanitise import clean
from .headline_parts import GAP, Values, percent, read, sure, word
from .posterior_headlines import bif, calibrate, certify, development, llc, sample, susceptibilities

if TYPE_CHECKING:
    pass

Words = Callable[[Values], str]


def answer(kind: str, values: Values, *, ascii: bool = False, most: int = 3) -> str:
    """The headline of a run of `kind` in words; of a kind that is not known, its numbers, `most` of them.

    An unknown kind whose numbers hold an estimate of the LLC, such as a point of a sweep, reads as one of kind llc does.
    """
    answer_given = clean(str(values.get("answer") or ""), limit=120)
    words = WORDS.get(kind) or (llc if "llc_mean" in values and "rise" not in values else None)
    if not answer_given and words is not None:
        answer_given = words(values)
    if not answer_given:
        return headline({key: value for key, value in values.items() if key != "answer"}, ascii=ascii, most=most)
    return spelled(answer_given, ascii=ascii)


def _lens(values: Values) -> str:
    from interp_tui_engine.results.logit_lens import LogitLensHeadline

    headline = read(LogitLensHeadline, values)
    first = "never first" if headline.crossover_layer is None else f"first at L{headline.crossover_layer}"
    done = "crossover_layer" in values  # null there says that it never was
    parts = [f"answer {first}"] if done else []
    parts += (
        [f"p {sure(headline, 'answer_prob', headline.answer_prob)} {'at the end' if done else 'so far'}"]
        if headline.answer_prob is not None
        else []
    )
    return GAP.join([*parts, *([f"tuned lens: L{headline.tuned_crossover}"] if headline.tuned_crossover is not None else [])])


def _trace(values: Values) -> str:
    from interp_tui_engine.results.causal_trace import CausalTraceHeadline

    headline = read(CausalTraceHeadline, values)
    if headline.recovery is not None and headline.peak:
        return GAP.join([f"{word(headline.peak)} restores {sure(headline, 'recovery', headline.recovery)}", *_verdict(headline.verdict)])
    if headline.clean_metric is None:
        return ""
    return f"clean {number(headline.clean_metric, 3)}, corrupt {number(headline.corrupt_metric, 3)}"


def _effects(values: Values) -> str:
    from interp_tui_engine.results.part_effects import PartEffectsHeadline

    headline = read(PartEffectsHeadline, values)
    if headline.effect is None or not headline.top:
        ends = (number(headline.clean_metric, 3), number(headline.empty_metric, 3))
        return f"clean {ends[0]}, all patched {ends[1]}" if headline.clean_metric is not None else ""
    parts = [f"{word(headline.top)} carries {sure(headline, 'effect', headline.effect)}"]
    parts += [f"r {sure(headline, 'correlation', headline.correlation)} with exact effects"] if headline.correlation is not None else []
    return GAP.join([*parts, *_verdict(headline.verdict)])


def _circuit(values: Values) -> str:
    from interp_tui_engine.results.circuit import CircuitHeadline

    headline = read(CircuitHeadline, values)
    size = [f"{number(count)} {what}" for count, what in ((headline.nodes, "nodes"), (headline.edges, "edges")) if count is not None]
    shares = {"faithfulness": headline.faithfulness, "completeness": headline.completeness}
    parts = [f"{name} {sure(headline, name, value)}" for name, value in shares.items() if value is not None]
    if headline.held_out is not None:
        parts.insert(1, f"on other pairs {sure(headline, 'held_out', headline.held_out)}")
    if not size and not parts and headline.clean_metric is not None:
        parts = [f"clean {number(headline.clean_metric, 3)}, all ablated {number(headline.empty_metric, 3)}"]
    return GAP.join(part for part in [", ".join(size), *parts, *_verdict(headline.verdict)] if part)


def _attention(values: Values) -> str:
    from interp_tui_engine.results.attention import AttentionHeadline

    headline = read(AttentionHeadline, values)
    if headline.named is not None:
        return f"{number(headline.named)} of {number(headline.heads)} heads named"
    return f"{number(headline.heads)} heads" if headline.heads is not None else ""


def _probe(values: Values) -> str:
    from interp_tui_engine.results.probe import ProbeHeadline

    headline = read(ProbeHeadline, values)
    parts = [f"best at L{headline.best_layer}"] if headline.best_layer is not None else []
    parts += [f"AUROC {sure(headline, 'auroc', headline.auroc)}"] if headline.auroc is not None else []
    if headline.accuracy is not None:
        beside = f" (larger class {percent(headline.majority)})" if headline.majority is not None else ""
        parts.append(f"accuracy {percent(headline.accuracy)}{beside}")
    return GAP.join(parts)


def _records(values: Values) -> str:
    from interp_tui_engine.results.records import RecordsHeadline

    headline = read(RecordsHeadline, values)
    return f"{number(headline.rows)} rows of {number(headline.features)} features" if headline.rows is not None else ""


def _sae(values: Values) -> str:
    from interp_tui_engine.results.train_sae import TrainSAEHeadline

    headline = read(TrainSAEHeadline, values)
    kept = headline.ce_loss_recovered
    parts = [f"FVU {sure(headline, 'fvu', headline.fvu)}{' held out' if kept is not None else ''}"] if headline.fvu is not None else []
    parts += [f"L0 {number(headline.l0, 3)}"] if headline.l0 is not None else []
    if kept is not None:
        parts.append(f"loss kept {percent(kept)}")
    elif headline.dead_fraction is not None:
        parts.append(f"dead {percent(headline.dead_fraction)}")
    return GAP.join([*parts, *([f"{percent(headline.repeats)} repeat"] if headline.repeats is not None else [])])


def _inspect(values: Values) -> str:
    from interp_tui_engine.results.inspect import InspectHeadline

    headline = read(InspectHeadline, values)
    parts = [f"{word(headline.top)} AUROC {sure(headline, 'auroc', headline.auroc)}"] if headline.auroc is not None and headline.top else []
    both = headline.causal is not None and headline.associated is not None
    return GAP.join([*parts, *([f"{number(headline.causal)} causal of {number(headline.associated)} associated"] if both else [])])


def _interventions(values: Values) -> str:
    from interp_tui_engine.results.interventions import InterventionsHeadline

    headline = read(InterventionsHeadline, values)
    if headline.effect is None:
        return ""
    parts = [f"{word(headline.top)} effect {sure(headline, 'effect', headline.effect)}".strip()]
    return GAP.join([*parts, *([f"{number(headline.clear)} clear of their controls"] if headline.clear is not None else [])])


def _contrast(values: Values) -> str:
    from interp_tui_engine.results.contrast import ContrastHeadline

    headline = read(ContrastHeadline, values)
    if headline.effect is None:
        return ""
    strength = f"strength {number(headline.strength, 3)}: " if headline.strength is not None else ""
    clear = {True: ["clear of its controls"], False: ["not clear of its controls"], None: []}[headline.clear]
    bar = headline.uncertainty.get("effect")
    effect = number(headline.effect, 3) if bar is None else clean(uncertainty.describe(headline.effect, replace(bar, clear=None)), limit=80)
    return GAP.join([f"{strength}effect {effect}", *clear])


def _steer_text(values: Values) -> str:
    from interp_tui_engine.results.steer_text import SteerTextHeadline

    headline = read(SteerTextHeadline, values)
    parts = [f"{number(headline.changed)} of {number(headline.of)} texts changed"] if headline.changed is not None else []
    return GAP.join([*parts, *([f"KL {number(headline.kl, 3)} nats"] if headline.kl is not None else [])])


def _match(values: Values) -> str:
    from interp_tui_engine.results.match import MatchHeadline

    headline = read(MatchHeadline, values)
    if headline.matches is None:
        return ""
    sentence = f"{number(headline.beyond_chance)} of {number(headline.matches)} matches beyond chance"
    return GAP.join([sentence, *([f"best {sure(headline, 'best', headline.best)}"] if headline.best is not None else [])])


def _graph(values: Values) -> str:
    from interp_tui_engine.results.attribution_graph import AttributionGraphHeadline

    headline = read(AttributionGraphHeadline, values)
    if headline.nodes is None:
        return ""
    sentence = f"{number(headline.nodes)} nodes, {number(headline.edges)} edges"
    return (
        f"{sentence}, {number(headline.causal_effect)} of them effects on the criterion" if headline.causal_effect is not None else sentence
    )


def _activations(values: Values) -> str:
    from interp_tui_engine.results.activations import ActivationsHeadline

    headline = read(ActivationsHeadline, values)
    return f"{number(headline.rows)} rows at {number(headline.sites)} sites" if headline.rows is not None else ""


def _sweep(values: Values) -> str:
    from interp_tui_engine.results.sweep import SweepHeadline

    headline = read(SweepHeadline, values)
    done = headline.done if headline.done is not None else headline.ended
    return f"{number(done)} of {number(headline.points)} runs done" if headline.points is not None else ""


def _pipeline(values: Values) -> str:
    from interp_tui_engine.results.pipeline import PipelineHeadline

    headline = read(PipelineHeadline, values)
    if headline.steps is not None:
        running = f", {word(headline.running)} goes on" if headline.running else ""
        return f"{number(headline.done)} of {number(headline.steps)} steps done{running}"
    parts = [_inspect(values)]
    parts += [f"effect {sure(headline, 'effect', headline.effect)}"] if headline.effect is not None else []
    parts += [f"matched {sure(headline, 'matched', headline.matched)}"] if headline.matched is not None else []
    return GAP.join(part for part in parts if part)


WORDS: dict[str, Words] = {
    "activation_patch": _effects,
    "activations": _activations,
    "attention": _attention,
    "attribution_graph": _graph,
    "attribution_patch": _effects,
    "bif": bif,
    "calibrate": calibrate,
    "causal_trace": _trace,
    "certify": certify,
    "circuit": _circuit,
    "contrast": _contrast,
    "development": development,
    "inspect": _inspect,
    "interventions": _interventions,
    "llc": llc,
    "logit_lens": _lens,
    "match": _match,
    "path_patch": _effects,
    "pipeline": _pipeline,
    "probe": _probe,
    "records": _records,
    "sample": sample,
    "steer": _interventions,
    "steer_text": _steer_text,
    "susceptibilities": susceptibilities,
    "sweep": _sweep,
    "train_sae": _sae,
}


def _verdict(text: str) -> list[str]:
    """What speaks against a run's numbers."""
    return [clean(text, limit=80)] if text else []
