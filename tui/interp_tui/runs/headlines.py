"""What a run found, as one line that answers its question: `France L0 0.85 → is L2 1.00`, `λ̂ 38.2 ± 0.9  R̂ 1.02`. Headless.

One function a kind, from the headline numbers of status.json; a kind without one shows those numbers under their names. A kind that states
its answer in words (`answer` in its headline) is taken at its word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from interp_tui_engine import uncertainty
from interp_tui_engine.numbers import as_finite as finite

from ..text.ascii_words import spelled
from ..text.numbers import headline, number, with_error
from ..text.sanitise import clean
from .mixing_diagnosis import FEW_DRAWS, verdict

Values = Mapping[str, Any]
Words = Callable[[Values], str]
GAP = "  "


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
    mean, error, rhat = (finite(values.get(name)) for name in ("llc_mean", "llc_std_error", "rhat"))
    if mean is None:
        return ""
    parts = [f"λ̂ {sure(values, 'llc_mean') if 'llc_mean' in uncertainty.read(values) else with_error(mean, error)}"]
    if (doubt := llc_doubt(values)) != "":
        parts.append(doubt)
    elif rhat is not None:
        parts.append(f"R̂ {number(rhat, 3)}")
    if (accuracy := finite(values.get("fact_accuracy"))) is not None:
        parts.append(f"facts {percent(accuracy)}")
    return GAP.join(parts)


def llc_doubt(values: Values) -> str:
    """Why an estimate of the LLC is not to be trusted as it stands; empty where nothing speaks against it."""
    mean, error, rhat, ess = (finite(values.get(name)) for name in ("llc_mean", "llc_std_error", "rhat", "ess"))
    if mean is not None and mean < 0 and (error is None or mean < -2 * error):
        return "below 0: the weights are no minimum"
    if rhat is None and ess is None:
        return ""
    said, tone = verdict(draws=FEW_DRAWS, rhat=rhat, ess=ess, moving=None)
    return "" if tone == "good" else said


def _sample(values: Values) -> str:
    loss, rhat = finite(values.get("loss_mean")), finite(values.get("rhat"))
    said = [f"loss {number(loss)}"] if loss is not None else []
    doubt = llc_doubt({key: values.get(key) for key in ("rhat", "ess")})
    return GAP.join([*said, *([doubt] if doubt else [f"R̂ {number(rhat, 3)}"] if rhat is not None else [])])


def _susceptibilities(values: Values) -> str:
    chi = finite(values.get("chi"))
    return f"{_word(values, 'strongest')}: χ {sure(values, 'chi')}" if chi is not None and values.get("strongest") else ""


def _bif(values: Values) -> str:
    influence = finite(values.get("influence"))
    return f"{_word(values, 'strongest')}: influence {sure(values, 'influence')}" if influence is not None else ""


def _certify(values: Values) -> str:
    return f"{number(values.get('passed'))} of {number(values.get('cases'))} known answers met" if "passed" in values else ""


def _lens(values: Values) -> str:
    prob, layer = finite(values.get("answer_prob")), values.get("crossover_layer")
    parts = [f"answer first at L{layer}" if isinstance(layer, int) else "answer never first"] if "crossover_layer" in values else []
    parts += [f"p {sure(values, 'answer_prob')} at the end"] if prob is not None else []
    tuned = values.get("tuned_crossover")
    return GAP.join([*parts, *([f"tuned lens: L{tuned}"] if isinstance(tuned, int) else [])])


def _trace(values: Values) -> str:
    recovery = finite(values.get("recovery"))
    if recovery is not None and values.get("peak"):
        return f"{_word(values, 'peak')} restores {sure(values, 'recovery')}"
    clean_metric, corrupt = finite(values.get("clean_metric")), finite(values.get("corrupt_metric"))
    return f"clean {number(clean_metric, 3)}, corrupt {number(corrupt, 3)}" if clean_metric is not None else ""


def _effects(values: Values) -> str:
    effect, r = finite(values.get("effect")), finite(values.get("correlation"))
    parts = [f"{_word(values, 'top')} carries {sure(values, 'effect')}"] if effect is not None and values.get("top") else []
    return GAP.join([*parts, *([f"r {sure(values, 'correlation')} with exact effects"] if r is not None else [])])


def _circuit(values: Values) -> str:
    parts = [f"{number(values.get('nodes'))} nodes"] if "nodes" in values else []
    parts += [f"{number(values['edges'])} edges"] if "edges" in values else []
    found = [(name, finite(values.get(name))) for name in ("faithfulness", "completeness")]
    return GAP.join([", ".join(parts), *(f"{name} {sure(values, name)}" for name, value in found if value is not None)]).strip()


def _attention(values: Values) -> str:
    named = values.get("named")
    heads = number(values.get("heads"))
    return f"{number(named)} of {heads} heads named" if isinstance(named, int) else f"{heads} heads" if "heads" in values else ""


def _probe(values: Values) -> str:
    auroc, accuracy, layer = finite(values.get("auroc")), finite(values.get("accuracy")), values.get("best_layer")
    parts = [f"AUROC {sure(values, 'auroc')}"] if auroc is not None else []
    parts += [f"accuracy {percent(accuracy)}"] if accuracy is not None else []
    return GAP.join([*([f"best at L{layer}"] if isinstance(layer, int) else []), *parts])


def _records(values: Values) -> str:
    return f"{number(values.get('rows'))} rows of {number(values.get('features'))} features" if "rows" in values else ""


def _sae(values: Values) -> str:
    fvu, sparse, dead, kept = (finite(values.get(name)) for name in ("fvu", "l0", "dead_fraction", "ce_loss_recovered"))
    where = "held out" if kept is not None else ""
    parts = [f"FVU {sure(values, 'fvu')} {where}".strip()] if fvu is not None else []
    parts += [f"L0 {number(sparse, 3)}"] if sparse is not None else []
    parts += [f"loss kept {percent(kept)}"] if kept is not None else [f"dead {percent(dead)}"] if dead is not None else []
    return GAP.join(parts)


def _inspect(values: Values) -> str:
    auroc, causal, all_ = finite(values.get("auroc")), values.get("causal"), values.get("associated")
    parts = [f"{_word(values, 'top')} AUROC {sure(values, 'auroc')}"] if auroc is not None and values.get("top") else []
    parts += [f"{number(causal)} causal of {number(all_)} associated"] if isinstance(causal, int) and isinstance(all_, int) else []
    return GAP.join(parts)


def _interventions(values: Values) -> str:
    effect, clear = finite(values.get("effect")), values.get("clear")
    if effect is None:
        return ""
    strength = f"strength {number(values['strength'])}: " if "strength" in values else ""
    top = f"{_word(values, 'top')} " if values.get("top") else strength
    said = ["clear of its controls" if clear else "not clear of its controls"] if isinstance(clear, bool) else []
    said = [f"{number(clear)} clear of their controls"] if isinstance(clear, int) and not isinstance(clear, bool) else said
    return GAP.join([f"{top}effect {sure(values, 'effect')}", *said])


def _steer_text(values: Values) -> str:
    kl = finite(values.get("kl"))
    parts = [f"{number(values['changed'])} of {number(values.get('of'))} texts changed"] if "changed" in values else []
    return GAP.join([*parts, *([f"KL {number(kl, 3)} nats"] if kl is not None else [])])


def _match(values: Values) -> str:
    best = finite(values.get("best"))
    if "matches" not in values:
        return ""
    said = f"{number(values.get('beyond_chance'))} of {number(values['matches'])} matches beyond chance"
    return GAP.join([said, *([f"best {sure(values, 'best')}"] if best is not None else [])])


def _graph(values: Values) -> str:
    return f"{number(values.get('nodes'))} nodes, {number(values.get('edges'))} edges" if "nodes" in values else ""


def _activations(values: Values) -> str:
    return f"{number(values.get('rows'))} rows at {number(values.get('sites'))} sites" if "rows" in values else ""


def _calibrate(values: Values) -> str:
    if "settings" not in values:
        return ""
    said = f"{number(values.get('usable'))} of {number(values['settings'])} settings usable"
    lr, temperature = finite(values.get("lr")), finite(values.get("n_beta"))
    return said if lr is None else f"lr {number(lr, 2)}, nβ {number(temperature, 3)}; {said}"


def _sweep(values: Values) -> str:
    ended = values.get("done", values.get("ended"))
    return f"{number(ended)} of {number(values.get('points'))} runs done" if "points" in values else ""


def _pipeline(values: Values) -> str:
    if "steps" in values:
        running = f", {_word(values, 'running')} goes on" if values.get("running") else ""
        return f"{number(values.get('done'))} of {number(values['steps'])} steps done{running}"
    effect, matched = finite(values.get("effect")), finite(values.get("matched"))
    parts = [_inspect(values), *([f"effect {sure(values, 'effect')}"] if effect is not None else [])]
    return GAP.join(part for part in [*parts, *([f"matched {sure(values, 'matched')}"] if matched is not None else [])] if part)


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
    "contrast": _interventions,
    "development": _llc,
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


def sure(values: Values, name: str) -> str:
    """A number with the uncertainty that the headline states for it, where it states one."""
    value, bar = finite(values.get(name)), uncertainty.read(values).get(name)
    return clean(uncertainty.describe(value, bar), limit=80) if bar is not None and value is not None else number(value, 3)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 1 else f"{100 * share:.0f} %"


def _word(values: Values, name: str) -> str:
    return clean(str(values.get(name)), limit=60)
