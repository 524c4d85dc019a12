"""Features as Neuronpedia describes them: labels, top activating texts, promoted tokens, decoder rows; by its public feature endpoint."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from ..errors import UserError
from . import ids
from .evidence import Evidence
from .fetch import Service

BASE, KEY = "NEURONPEDIA_BASE_URL", "NEURONPEDIA_API_KEY"
PUBLIC = "https://www.neuronpedia.org"
EXAMPLES, TOKENS = 5, 8
_REF = re.compile(r"(?:https?://[^/\s]+/(?:api/feature/)?)?(?P<model>[\w.-]+)[@/](?P<source>[\w.-]+)[:/](?P<index>\d+)/?")


class Reference(NamedTuple):
    """One feature of one source (a layer's SAE) of one model."""

    model: str
    source: str
    number: int


def parse(text: str) -> Reference:
    """`gpt2-small@6-res_scefr-ajt:650`, or the address of its page or of its JSON. Raises UserError."""
    match = _REF.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r:.80} names no Neuronpedia feature", "such as gpt2-small@6-res_scefr-ajt:650, or its page's address")
    return Reference(match["model"], match["source"], int(match["index"]))


def service(**options: Any) -> Service:
    """Neuronpedia, or what $NEURONPEDIA_BASE_URL names; with the key in $NEURONPEDIA_API_KEY, if there is one."""
    key = os.environ.get(KEY)
    return Service("Neuronpedia", os.environ.get(BASE) or PUBLIC, {"X-Api-Key": key} if key else {}, KEY, **options)


def fetch(references: Sequence[str], source: Service, before: Callable[[], None] = lambda: None) -> Iterator[Evidence]:
    """The features one by one; `before` is called before each, and may stop it. Raises RunFailed as `Service.ask` does."""
    wanted = [parse(reference) for reference in references]
    models = list(dict.fromkeys(reference.model for reference in wanted))
    if len(models) > 1:
        raise UserError(f"the features are of {len(models)} models: {', '.join(models[:6])}", "name those of one model")
    for reference in wanted:
        before()
        path = f"/api/feature/{quote(reference.model)}/{quote(reference.source)}/{reference.number}"
        yield source.ask(path, read=partial(read, reference=reference))


def read(answer: Any, reference: Reference) -> Evidence:
    """The endpoint's JSON as evidence. Raises ValueError for an answer that is of another feature, or of none."""
    if not isinstance(answer, dict) or str(answer.get("index")) != str(reference.number):
        raise ValueError(f"not feature {reference.number} of {reference.source}: {str(answer)[:100]}")
    labels = [item for item in _list(answer, "explanations") if isinstance(item, dict) and str(item.get("description") or "").strip()]
    promotes = [str(token) for token in _list(answer, "pos_str")[:TOKENS]]
    label = str(labels[0]["description"]).strip() if labels else ", ".join(token.strip() for token in promotes[:5])
    source = str(answer.get("layer") or reference.source)
    layer = re.match(r"(\d+)-", source)
    share = answer.get("frac_nonzero")
    return Evidence(
        feature_id=f"{reference.model}@{source}:{reference.number}",
        model=str(answer.get("modelId") or reference.model),
        layer=int(layer[1]) if layer else ids.layer_of(source),
        label=label,
        examples=tuple(_examples(answer)),
        activation_signature=(),
        decoder_signature=tuple(_numbers(answer.get("vector"))),
        source="neuronpedia",
        metadata={
            "promotes": promotes,
            "suppresses": [str(token) for token in _list(answer, "neg_str")[:TOKENS]],
            "density": float(share) if isinstance(share, (int, float)) and math.isfinite(share) else None,
            "explanations": [str(item["description"]) for item in labels[:3]],
        },
    )


def _examples(answer: dict[str, Any]) -> Iterator[str]:
    """Texts on which it fires most, with their greatest activation."""
    for item in _list(answer, "activations")[:EXAMPLES]:
        if isinstance(item, dict) and isinstance(item.get("tokens"), list):
            values = _numbers(item.get("values"))
            top = f"activation={max(values):.3f} | " if values else ""
            yield top + "".join(str(token) for token in item["tokens"]).strip()[:1000]


def _list(answer: dict[str, Any], name: str) -> list[Any]:
    values = answer.get(name)
    return values if isinstance(values, list) else []


def _numbers(values: Any) -> list[float]:
    items = values if isinstance(values, list) else []
    return [float(value) for value in items if isinstance(value, (int, float)) and math.isfinite(value)]
