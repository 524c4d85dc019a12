"""What a run found, as one line that answers its question: `France L0 0.85 → is L2 1.00`, `λ̂ 38.2 ± 0.9  R̂ 1.02`. Headless.

One function a kind, from the headline numbers of status.json; a kind without one shows those numbers under their names. A kind that states
its answer in words (`answer` in its headline) is taken at its word. Types of headlines are imported where a listing holds such a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from interp_tui_engine import uncertainty
from interp_tui_engine.payload import Headline, read

from ..text.ascii_words import spelled
from ..text.numbers import headline, number, with_error
from ..text.sanitise import clean
from .mixing_diagnosis import FEW_DRAWS, verdict

if TYPE_CHECKING:
    from interp_tui_engine.results.sampling import SamplingHeadline

Values = Mapping[str, Any]
Words = Callable[[Values], str]
GAP = "  "
SHORT_NOTE = 24
"""Characters that a line has room for to say why there is no error bar."""


def answer(kind: str, values: Values, *, ascii: bool = False, most: int = 3) -> str:
    """The headline of a run of `kind` in words; of a kind that is not known, its numbers, `most` of them.

    An unknown kind whose numbers hold an estimate of the LLC, such as a point of a sweep, reads as one of kind llc does.
    """
    said = clean(str(values.get("answer") or ""), limit=120)
    words = WORDS.get(kind) or (_llc if "llc_mean" in values and "rise" not in values else None)
    if not said and words is not None:
        said = words(values)
    if not said:
        return headline({key: value for key, value in values.items() if key != "answer"}, ascii=ascii, most=most)
    return spelled(said, ascii=ascii)


def _llc(values: Values) -> str:
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    if found.llc_mean is None:
        return ""
    parts = [f"λ̂ {_with_spread(found)}"]
    bar = found.uncertainty.get("llc_mean")
    if (doubt := llc_doubt(values)) != "":
        parts.append(doubt)
    elif bar is not None and bar.clear is False:
        parts.append(f"no clearer than noise alone{'' if bar.control is None else f': {number(bar.control, 3)}'}")
    elif found.rhat is not None:
        parts.append(f"R̂ {number(found.rhat, 3)}")
    return GAP.join(parts)


def _development(values: Values) -> str:
    from interp_tui_engine.results.development import DevelopmentHeadline

    accuracy = read(DevelopmentHeadline, values).fact_accuracy
    return GAP.join(part for part in [_llc(values), *([f"facts {percent(accuracy)}"] if accuracy is not None else [])] if part)


def _with_spread(found: SamplingHeadline) -> str:
    """λ̂ with its standard error; where there is none, with how far chains spread."""
    mean, bar = found.llc_mean, found.uncertainty.get("llc_mean")
    assert mean is not None
    if bar is not None:
        return clean(uncertainty.describe(mean, replace(bar, clear=None)), limit=80)
    if found.llc_std_error is None and found.llc_std is not None:
        return f"{number(mean, 3)}, chains spread by {number(found.llc_std, 2)}"
    return with_error(mean, found.llc_std_error)


def llc_doubt(values: Values) -> str:
    """Why an estimate of the LLC is not to be trusted as it stands; empty where nothing speaks against it."""
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    mean, error = found.llc_mean, found.llc_std_error
    if mean is not None and mean < 0 and (error is None or mean < -2 * error):
        return "below 0: the weights are no minimum"
    return _unmixed(found)


def _unmixed(found: SamplingHeadline) -> str:
    if found.rhat is None and found.ess is None:
        return ""
    said, tone = verdict(draws=FEW_DRAWS, rhat=found.rhat, ess=found.ess, moving=None)
    return "" if tone == "good" else said


def _sample(values: Values) -> str:
    from interp_tui_engine.results.sampling import SamplingHeadline

    found = read(SamplingHeadline, values)
    parts = [f"loss {number(found.loss_mean)}"] if found.loss_mean is not None else []
    doubt = _unmixed(found)
    return GAP.join([*parts, *([doubt] if doubt else [f"R̂ {number(found.rhat, 3)}"] if found.rhat is not None else [])])


def _susceptibilities(values: Values) -> str:
    from interp_tui_engine.results.susceptibilities import SusceptibilitiesHeadline

    found = read(SusceptibilitiesHeadline, values)
    ranked = (
        ("covariance", found.covariance_mean, found.covariance_std_error),
        ("first order", found.first_order_mean, found.first_order_std_error),
        ("χ", found.mean_mean, found.mean_std_error),
    )
    sign, value, error = next((each for each in ranked if each[1] is not None), ("", None, None))
    if value is None or not found.strongest:
        return ""
    parts = f"  strongest of {number(found.parts)} parts" if (found.parts or 0) > 1 else ""
    return f"{_word(found.strongest)}: {sign} {with_error(value, error)}{parts}"


def _bif(values: Values) -> str:
    from interp_tui_engine.results.bif import BIFHeadline

    found = read(BIFHeadline, values)
    if found.influence_mean is None or not found.strongest:
        return _llc(values)  # while its chains run
    how = "moves with" if found.influence_mean > 0 else "moves against"
    pair = _word(found.strongest).replace(" with ", f" {how} ")
    parts = [f"{pair}: influence {with_error(found.influence_mean, found.influence_std_error)}"]
    return GAP.join([*parts, *([f"{number(found.clear)} pairs clear of chance"] if found.clear is not None else [])])


def _certify(values: Values) -> str:
    from interp_tui_engine.results.certify import CertifyHeadline

    found = read(CertifyHeadline, values)
    return f"{number(found.passed)} of {number(found.cases)} known answers met" if found.passed is not None else ""


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
        return GAP.join([f"{_word(found.peak)} restores {sure(found, 'recovery', found.recovery)}", *_verdict(found.verdict)])
    if found.clean_metric is None:
        return ""
    return f"clean {number(found.clean_metric, 3)}, corrupt {number(found.corrupt_metric, 3)}"


def _effects(values: Values) -> str:
    from interp_tui_engine.results.part_effects import PartEffectsHeadline

    found = read(PartEffectsHeadline, values)
    if found.effect is None or not found.top:
        ends = (number(found.clean_metric, 3), number(found.empty_metric, 3))
        return f"clean {ends[0]}, all patched {ends[1]}" if found.clean_metric is not None else ""
    parts = [f"{_word(found.top)} carries {sure(found, 'effect', found.effect)}"]
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
    parts = [f"{_word(found.top)} AUROC {sure(found, 'auroc', found.auroc)}"] if found.auroc is not None and found.top else []
    both = found.causal is not None and found.associated is not None
    return GAP.join([*parts, *([f"{number(found.causal)} causal of {number(found.associated)} associated"] if both else [])])


def _interventions(values: Values) -> str:
    from interp_tui_engine.results.interventions import InterventionsHeadline

    found = read(InterventionsHeadline, values)
    if found.effect is None:
        return ""
    parts = [f"{_word(found.top)} effect {sure(found, 'effect', found.effect)}".strip()]
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


def _calibrate(values: Values) -> str:
    from interp_tui_engine.results.calibrate import CalibrateHeadline

    found = read(CalibrateHeadline, values)
    if found.settings is None:
        return ""
    said = f"{number(found.usable)} of {number(found.settings)} settings usable"
    return said if found.lr is None else f"lr {number(found.lr, 2)}, nβ {number(found.n_beta, 3)}; {said}"


def _sweep(values: Values) -> str:
    from interp_tui_engine.results.sweep import SweepHeadline

    found = read(SweepHeadline, values)
    done = found.done if found.done is not None else found.ended
    return f"{number(done)} of {number(found.points)} runs done" if found.points is not None else ""


def _pipeline(values: Values) -> str:
    from interp_tui_engine.results.pipeline import PipelineHeadline

    found = read(PipelineHeadline, values)
    if found.steps is not None:
        running = f", {_word(found.running)} goes on" if found.running else ""
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
    "bif": _bif,
    "calibrate": _calibrate,
    "causal_trace": _trace,
    "certify": _certify,
    "circuit": _circuit,
    "contrast": _contrast,
    "development": _development,
    "inspect": _inspect,
    "interventions": _interventions,
    "llc": _llc,
    "logit_lens": _lens,
    "match": _match,
    "path_patch": _effects,
    "pipeline": _pipeline,
    "probe": _probe,
    "records": _records,
    "sample": _sample,
    "steer": _interventions,
    "steer_text": _steer_text,
    "susceptibilities": _susceptibilities,
    "sweep": _sweep,
    "train_sae": _sae,
}


def sure(found: Headline, name: str, value: float | None) -> str:
    """A number with the uncertainty that the headline states under its name, where it states one; a line has room for few words."""
    bar = found.uncertainty.get(name)
    if bar is None or value is None:
        return number(value, 3)
    bare = not bar.has_bar and len(bar.note) > SHORT_NOTE  # then the result says it
    text = number(value, 3) if bare else uncertainty.describe(value, replace(bar, clear=None))
    if bar.clear is False:
        text += " (like its control)" if bar.control is None else f" (like control {number(bar.control, 3)})"
    return clean(text, limit=80)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 1 else f"{100 * share:.0f} %"


def _verdict(text: str) -> list[str]:
    """What speaks against a run's numbers."""
    return [clean(text, limit=80)] if text else []


def _word(text: str) -> str:
    return clean(text, limit=60)
