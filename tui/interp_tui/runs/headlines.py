"""What a run found, as one line that answers its question: `France L0 0.85 → is L2 1.00`, `λ̂ 38.2 ± 0.9  R̂ 1.02`. Headless.

One function a kind, from the headline numbers of status.json; a kind without one shows those numbers under their names. A kind that states
its answer in words (`answer` in its headline) is taken at its word. Types of headlines are imported where a listing holds such a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from interp_tui_engine import uncertainty
from interp_tui_engine.payload import read

from ..text.ascii_words import spelled
from ..text.numbers import headline, number
from ..text.sanitise import clean
from .headline_parts import GAP, Values, percent, sure, word
from .posterior_headlines import bif, calibrate, certify, development, llc, sample, susceptibilities

if TYPE_CHECKING:
    pass

Words = Callable[[Values], str]


def answer(kind: str, values: Values, *, ascii: bool = False, most: int = 3) -> str:
    """The headline of a run of `kind` in words; of a kind that is not known, its numbers, `most` of them.

    An unknown kind whose numbers hold an estimate of the LLC, such as a point of a sweep, reads as one of kind llc does.
    """
    said = clean(str(values.get("answer") or ""), limit=120)
    words = WORDS.get(kind) or (llc if "llc_mean" in values and "rise" not in values else None)
    if not said and words is not None:
        said = words(values)
    if not said:
        return headline({key: value for key, value in values.items() if key != "answer"}, ascii=ascii, most=most)
    return spelled(said, ascii=ascii)


def _lens(values: Values) -> str:
    from interp_tui_engine.results.logit_lens import LogitLensHeadline

    found = read(LogitLensHeadline, values)
    first = "never first" if found.crossover_layer is None else f"first at L{found.crossover_layer}"
    done = "crossover_layer" in values  # null there says that it never was
    parts = [f"answer {first}"] if done else []
    parts += (
        [f"p {sure(found, 'answer_prob', found.answer_prob)} {'at the end' if done else 'so far'}"] if found.answer_prob is not None else []
    )
    return GAP.join([*parts, *([f"tuned lens: L{found.tuned_crossover}"] if found.tuned_crossover is not None else [])])


def _trace(values: Values) -> str:
    from interp_tui_engine.results.causal_trace import CausalTraceHeadline

    found = read(CausalTraceHeadline, values)
    if found.recovery is not None and found.peak:
        return GAP.join([f"{word(found.peak)} restores {sure(found, 'recovery', found.recovery)}", *_verdict(found.verdict)])
    if found.clean_metric is None:
        return ""
    return f"clean {number(found.clean_metric, 3)}, corrupt {number(found.corrupt_metric, 3)}"


def _effects(values: Values) -> str:
    from interp_tui_engine.results.part_effects import PartEffectsHeadline

    found = read(PartEffectsHeadline, values)
    if found.effect is None or not found.top:
        ends = (number(found.clean_metric, 3), number(found.empty_metric, 3))
        return f"clean {ends[0]}, all patched {ends[1]}" if found.clean_metric is not None else ""
    parts = [f"{word(found.top)} carries {sure(found, 'effect', found.effect)}"]
    parts += [f"r {sure(found, 'correlation', found.correlation)} with exact effects"] if found.correlation is not None else []
    return GAP.join([*parts, *_verdict(found.verdict)])


def _circuit(values: Values) -> str:
    from interp_tui_engine.results.circuit import CircuitHeadline

    found = read(CircuitHeadline, values)
    size = [f"{number(count)} {what}" for count, what in ((found.nodes, "nodes"), (found.edges, "edges")) if count is not None]
    shares = {"faithfulness": found.faithfulness, "completeness": found.completeness}
    parts = [f"{name} {sure(found, name, value)}" for name, value in shares.items() if value is not None]
    if found.held_out is not None:
        parts.insert(1, f"on other pairs {sure(found, 'held_out', found.held_out)}")
    if not size and not parts and found.clean_metric is not None:
        parts = [f"clean {number(found.clean_metric, 3)}, all ablated {number(found.empty_metric, 3)}"]
    return GAP.join(part for part in [", ".join(size), *parts, *_verdict(found.verdict)] if part)


def _attention(values: Values) -> str:
    from interp_tui_engine.results.attention import AttentionHeadline

    found = read(AttentionHeadline, values)
    if found.named is not None:
        return f"{number(found.named)} of {number(found.heads)} heads named"
    return f"{number(found.heads)} heads" if found.heads is not None else ""


def _probe(values: Values) -> str:
    from interp_tui_engine.results.probe import ProbeHeadline

    found = read(ProbeHeadline, values)
    parts = [f"best at L{found.best_layer}"] if found.best_layer is not None else []
    parts += [f"AUROC {sure(found, 'auroc', found.auroc)}"] if found.auroc is not None else []
    if found.accuracy is not None:
        beside = f" (larger class {percent(found.majority)})" if found.majority is not None else ""
        parts.append(f"accuracy {percent(found.accuracy)}{beside}")
    return GAP.join(parts)


def _records(values: Values) -> str:
    from interp_tui_engine.results.records import RecordsHeadline

    found = read(RecordsHeadline, values)
    return f"{number(found.rows)} rows of {number(found.features)} features" if found.rows is not None else ""


def _sae(values: Values) -> str:
    from interp_tui_engine.results.train_sae import TrainSAEHeadline

    found = read(TrainSAEHeadline, values)
    kept = found.ce_loss_recovered
    parts = [f"FVU {sure(found, 'fvu', found.fvu)}{' held out' if kept is not None else ''}"] if found.fvu is not None else []
    parts += [f"L0 {number(found.l0, 3)}"] if found.l0 is not None else []
    if kept is not None:
        parts.append(f"loss kept {percent(kept)}")
    elif found.dead_fraction is not None:
        parts.append(f"dead {percent(found.dead_fraction)}")
    return GAP.join([*parts, *([f"{percent(found.repeats)} repeat"] if found.repeats is not None else [])])


def _inspect(values: Values) -> str:
    from interp_tui_engine.results.inspect import InspectHeadline

    found = read(InspectHeadline, values)
    parts = [f"{word(found.top)} AUROC {sure(found, 'auroc', found.auroc)}"] if found.auroc is not None and found.top else []
    both = found.causal is not None and found.associated is not None
    return GAP.join([*parts, *([f"{number(found.causal)} causal of {number(found.associated)} associated"] if both else [])])


def _interventions(values: Values) -> str:
    from interp_tui_engine.results.interventions import InterventionsHeadline

    found = read(InterventionsHeadline, values)
    if found.effect is None:
        return ""
    parts = [f"{word(found.top)} effect {sure(found, 'effect', found.effect)}".strip()]
    return GAP.join([*parts, *([f"{number(found.clear)} clear of their controls"] if found.clear is not None else [])])


def _contrast(values: Values) -> str:
    from interp_tui_engine.results.contrast import ContrastHeadline

    found = read(ContrastHeadline, values)
    if found.effect is None:
        return ""
    strength = f"strength {number(found.strength, 3)}: " if found.strength is not None else ""
    clear = {True: ["clear of its controls"], False: ["not clear of its controls"], None: []}[found.clear]
    bar = found.uncertainty.get("effect")
    effect = number(found.effect, 3) if bar is None else clean(uncertainty.describe(found.effect, replace(bar, clear=None)), limit=80)
    return GAP.join([f"{strength}effect {effect}", *clear])


def _steer_text(values: Values) -> str:
    from interp_tui_engine.results.steer_text import SteerTextHeadline

    found = read(SteerTextHeadline, values)
    parts = [f"{number(found.changed)} of {number(found.of)} texts changed"] if found.changed is not None else []
    return GAP.join([*parts, *([f"KL {number(found.kl, 3)} nats"] if found.kl is not None else [])])


def _match(values: Values) -> str:
    from interp_tui_engine.results.match import MatchHeadline

    found = read(MatchHeadline, values)
    if found.matches is None:
        return ""
    said = f"{number(found.beyond_chance)} of {number(found.matches)} matches beyond chance"
    return GAP.join([said, *([f"best {sure(found, 'best', found.best)}"] if found.best is not None else [])])


def _graph(values: Values) -> str:
    from interp_tui_engine.results.attribution_graph import AttributionGraphHeadline

    found = read(AttributionGraphHeadline, values)
    if found.nodes is None:
        return ""
    said = f"{number(found.nodes)} nodes, {number(found.edges)} edges"
    return f"{said}, {number(found.causal_effect)} of them effects on the criterion" if found.causal_effect is not None else said


def _activations(values: Values) -> str:
    from interp_tui_engine.results.activations import ActivationsHeadline

    found = read(ActivationsHeadline, values)
    return f"{number(found.rows)} rows at {number(found.sites)} sites" if found.rows is not None else ""


def _sweep(values: Values) -> str:
    from interp_tui_engine.results.sweep import SweepHeadline

    found = read(SweepHeadline, values)
    done = found.done if found.done is not None else found.ended
    return f"{number(done)} of {number(found.points)} runs done" if found.points is not None else ""


def _pipeline(values: Values) -> str:
    from interp_tui_engine.results.pipeline import PipelineHeadline

    found = read(PipelineHeadline, values)
    if found.steps is not None:
        running = f", {word(found.running)} goes on" if found.running else ""
        return f"{number(found.done)} of {number(found.steps)} steps done{running}"
    parts = [_inspect(values)]
    parts += [f"effect {sure(found, 'effect', found.effect)}"] if found.effect is not None else []
    parts += [f"matched {sure(found, 'matched', found.matched)}"] if found.matched is not None else []
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
