"""Labels of an inspect run's cards from an endpoint; one that fails costs the labels, never the run."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from ...errors import RunFailed
from ...events import Event, Progress, Warned
from ...features import cards
from ...features.card_example import CardExample
from ...features.explain import Explainer
from ...features.fingerprint import fingerprint
from ...features.ranking import Ranking
from ...runtime.context import Context
from ...runtime.pause import sleep_unless_stopped, wait_while_paused
from .evidence import EvidenceAtHand
from .params import Params

TEXTS = 10
"""Firing texts a label is made from and tested on, half of them each; and silent ones at most."""


def labelled(
    context: Context, params: Params, given: EvidenceAtHand, ranked: Ranking, made: Sequence[dict[str, Any]]
) -> Generator[Event, None, None]:
    """Give the cards their labels, and the ranking's table too; `metadata.detection` of a card is its label's score on held-out texts."""
    assert params.labeller is not None
    cache = context.checkpoint_path / "labels.jsonl"
    explainer = Explainer(params.labeller, params.labeller_model, cache, most=params.labeller_calls, sleep=sleep_unless_stopped(context))
    rng = np.random.default_rng([context.manifest.seed, 0x1ABE])
    for place, (card, feature) in enumerate(zip(made, ranked.order, strict=False)):
        wait_while_paused(context)
        column = given.spool.column(feature)
        examples = cards.examples_of(column, cards.top_rows(column, 8 * TEXTS), TEXTS, given.texts.get, given.scores)
        firing = {example.text for example in examples}
        some = rng.choice(len(given.scores), min(len(given.scores), 20 * TEXTS), replace=False).tolist()
        quiet = np.quantile(np.abs(column.values.astype(np.float64) + column.offset), 0.5) if len(column.values) else 0.0
        silent = [text for row in some if abs(cards.value_at(column, row)) <= quiet and (text := given.texts.get(row).text) not in firing]
        try:
            shown, held = [marked(example) for example in examples[::2]], [example.text for example in examples[1::2]]
            label = explainer.label(shown, held, list(dict.fromkeys(silent)), card["metadata"].get("promotes", ()), place)
        except RunFailed as error:
            yield Warned(f"{error}; {len(made) - place} features keep the labels made from their tokens")
            return
        if label is None:
            yield Warned(
                f"the labeller was asked {explainer.chat.calls} times, which is all it may be; {len(made) - place} features keep theirs"
            )
            return
        card["label"] = ranked.table["label"][place] = label.text
        card["metadata"]["detection"] = label.score
        kept = card["fingerprint"]
        card["fingerprint"] = kept | fingerprint(
            card, params.criterion, kept["activation_signature"], kept["decoder_signature"], kept.get("activation_rows", "")
        )
        yield Progress(place + 1, len(made), "labels", None)


def marked(example: CardExample) -> str:
    """The text with its strongest token between « and »."""
    if not example.tokens:
        return example.text
    peak = max(range(len(example.tokens)), key=lambda i: abs(example.values[i]))
    return "".join(f"«{token}»" if place == peak else token for place, token in enumerate(example.tokens))
