"""What the steps of a pipeline found together: the feature, the evidence for it, its match, the dictionary it is of. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Done = tuple[str, str, Mapping[str, Any]]
"""A step that is done: id, kind, result.json."""
OF_CARD = ("feature_id", "label", "auroc", "auroc_low", "auroc_high", "q", "stability", "effect", "effect_low", "effect_high", "clear")
OF_SAE = ("fvu", "l0", "dead_fraction", "ce_loss_recovered", "latents", "architecture")


BEYOND_CHANCE = 0.95
"""Share of the null's scores that a match must lie above, as `match` counts it."""


@dataclass(frozen=True)
class Findings:
    """`values` go to result.json, `headline` to listings, `sentences` to the report and to whoever asked for the run."""

    values: dict[str, Any] = field(default_factory=dict)
    headline: dict[str, Any] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)


def findings(steps: Sequence[Done]) -> Findings:
    """Gather what the steps say of the feature that the last ranking puts first among those with clear causal evidence, else first."""
    values: dict[str, Any] = {}
    sentences: list[str] = []
    if (sae := _last(steps, "train_sae")) is not None and all(isinstance(sae[1].get(key), (int, float)) for key in OF_SAE[:3]):
        values["dictionary"] = {"step": sae[0], **{key: sae[1].get(key) for key in OF_SAE}}
        sentences.append(_of_dictionary(values["dictionary"]))
    card = None
    if (ranked := _last(steps, "inspect")) is not None and (cards := ranked[1].get("cards")):
        card = next((candidate for candidate in cards if candidate.get("clear")), cards[0])
        values["found"] = {"step": ranked[0], "criterion": ranked[1].get("criterion"), **{key: card.get(key) for key in OF_CARD}}
        moved = _effect(steps, card["feature_id"])
        values["found"] |= moved
        sentences += _of_feature(values["found"])
    if (matched := _last(steps, "match")) is not None:
        values["match"] = _match(matched, card)
        sentences.append(_of_match(values["match"]))
    feature = values.get("found", {})
    headline = {"top": feature.get("feature_id"), "auroc": feature.get("auroc"), "effect": feature.get("effect")}
    headline |= {"side_effect": feature.get("side_effect"), "matched": values.get("match", {}).get("score")}
    return Findings(values, {key: value for key, value in headline.items() if value is not None}, sentences)


def _last(steps: Sequence[Done], kind: str) -> tuple[str, Mapping[str, Any]] | None:
    """The step of this kind that reads the most of what came before: for dictionaries the first, for all else the last."""
    of_kind = [(name, result) for name, its_kind, result in steps if its_kind == kind]
    return (of_kind[0] if kind == "train_sae" else of_kind[-1]) if of_kind else None


def _effect(steps: Sequence[Done], feature: str) -> dict[str, Any]:
    """What changing the feature did, from the last step that changed it."""
    for name, kind, result in reversed(steps):
        lines = result.get("effects") if kind == "interventions" else None
        for line in lines if isinstance(lines, list) else ():
            if line.get("feature_id") == feature:
                keys = (
                    "verb",
                    "effect",
                    "side_effect",
                    "control",
                    "control_low",
                    "control_high",
                    "controls",
                    "rows",
                    "clear",
                    "loss_change",
                )
                # of the one chosen among several the step states an interval that holds for all of them, as its headline does
                own = result if result.get("chosen") == feature else {"effect_low": line.get("low"), "effect_high": line.get("high")}
                ends = {key: own.get(key) for key in ("effect_low", "effect_high")} | {"effect_q": line.get("q")}
                return {"interventions": name, "metric": result.get("metric"), **{key: line.get(key) for key in keys}, **ends}
    return {}


def _match(step: tuple[str, Mapping[str, Any]], card: Mapping[str, Any] | None) -> dict[str, Any]:
    """The pair that the found feature is in, on whichever side; else the best pair."""
    name, result = step
    pairs = result.get("matches") or []
    feature = card["feature_id"] if card else None
    own = next((pair for pair in pairs if feature is not None and feature in (pair.get("left"), pair.get("right"))), None)
    pair = own or (pairs[0] if pairs else {})
    keys = ("left", "right", "score", "null_quantile", "components")
    about = {"step": name, "pairs": len(pairs), "beyond_chance": result.get("beyond_chance"), "of_found": own is not None}
    return about | {key: pair.get(key) for key in keys}


def _of_dictionary(sae: Mapping[str, Any]) -> str:
    recovered = sae.get("ce_loss_recovered")
    tail = f" It keeps {recovered:.1%} of what the layer does for the model's loss." if isinstance(recovered, float) else ""
    return (
        f"The dictionary ({sae['architecture']}, {sae['latents']} latents) leaves {sae['fvu']:.1%} of the variance unexplained with "
        f"{sae['l0']:.1f} latents a token; {sae['dead_fraction']:.1%} of its latents are dead.{tail}"
    )


UNITS = {"prob": "of probability", "logprob": "nats", "log_odds": "nats of log-odds", "logit_diff": "nats"}


def _of_feature(card: Mapping[str, Any]) -> list[str]:
    name = card["feature_id"]
    sentences = []
    if card.get("auroc") is not None:
        low, high = (f"{card[key]:.3f}" if card.get(key) is not None else "?" for key in ("auroc_low", "auroc_high"))
        sentences.append(
            f"{name} tells where “{card['criterion']}” holds: AUROC {card['auroc']:.3f} [{low}, {high}] on texts it was not chosen on."
        )
    if card.get("effect") is not None and card.get("effect_low") is not None:
        unit = UNITS.get(str(card.get("metric")), "")
        verb = {"ablate": "Taking it away lowers", "clamp": "Clamping it raises"}.get(str(card.get("verb")), "Changing it moves")
        text = f"{verb} the right answer by {card['effect']:.2f} {unit} [{card['effect_low']:.2f}, {card['effect_high']:.2f}]"
        if card.get("control") is not None:
            text += f"; controls of the same kind by {card['control']:.2f}"
            if card.get("control_low") is not None:
                text += f" [{card['control_low']:.2f}, {card['control_high']:.2f}]"
        if card.get("side_effect") is not None:
            text += f"; other prompts by {card['side_effect']:.2f}"
        if card.get("loss_change") is not None:
            text += f"; the loss on plain text changes by {card['loss_change']:+.4f} nats a token"
        clear = "That is clear of 0 and of the controls." if card.get("clear") else "That is not clear of 0 and of the controls."
        sentences.append(f"{text}. {clear}")
    elif card.get("auroc") is not None:
        sentences.append("Whether it causes anything is not known: no step changed it.")
    return sentences


def _of_match(match: Mapping[str, Any]) -> str:
    if match.get("left") is None or match.get("score") is None:
        return "Nothing could be matched."
    chance = match.get("null_quantile")
    beyond = f", above {chance:.1%} of the scores of pairs that are not the same feature" if isinstance(chance, float) else ""
    beyond += ": no better than chance" if isinstance(chance, float) and chance < BEYOND_CHANCE else ""
    decoder = (match.get("components") or {}).get("decoder")
    alike = f"; their directions have cosine {2 * decoder - 1:.2f}" if isinstance(decoder, float) else ""
    return f"Its match on the other side is {match['right']} (score {match['score']:.2f}{beyond}){alike}."
