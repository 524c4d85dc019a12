"""`python -P -m interp_tui_engine.lenses.token_look`: a short look at a model over one text, as one JSON object on stdout.

Reads {"source", "revision", "text"} as JSON from stdin. The answer holds what the residual stream of each layer would say after the text's
last token (the logit lens), and where each head looks from there. The terminal program imports no torch, so it asks this process; nothing
of it is kept. On the CPU, whatever else the machine has: a device may be busy with the run that is being watched.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from interp_tui_engine.errors import UserError

TOP = 3
"""Likeliest tokens of each layer."""
HEADS = 8
"""Heads that are named, those that look at one token the hardest."""
MOST_TOKENS = 512
MOST_REQUEST = 1 << 20


def look(source: str, revision: str | None, text: str) -> dict[str, Any]:
    """{tokens, layers: [{layer, top, top_prob}], heads: [{head, position, token, weight}]}; weights are attention after the softmax.

    Looks at the end of a long text only. A model whose attention cannot be read (fused kernels) has no heads here. Raises UserError for a
    model that cannot be loaded and a text without tokens.
    """
    import torch

    from ..data.prompts import encode, need_tokenizer, texts_of
    from ..models.load import load_model
    from ..sites.answers import top_tokens
    from ..sites.hooks import activations
    from ..sites.site import Site
    from ..sites.verify import checked_site_map
    from .logit_lens import streams

    model = load_model(source, revision=revision, device="cpu")
    site_map = checked_site_map(model)
    tokenizer = need_tokenizer(model.tokenizer, model.source)
    ids = encode(tokenizer, text, context=None, name="text")[-min(MOST_TOKENS, site_map.context or MOST_TOKENS) :]
    tokens, row = texts_of(tokenizer, ids), torch.tensor([ids])
    layers = []
    with torch.no_grad():
        for layer, stream in enumerate(streams(site_map, row)):
            probs, best = top_tokens(site_map.unembed(stream[-1:]).float(), TOP)
            said = texts_of(tokenizer, best[0].tolist())
            layers.append({"layer": layer, "top": said, "top_prob": [round(float(p), 4) for p in probs[0]]})
        heads: list[dict[str, Any]] = []
        for layer in range(site_map.num_layers):
            site = Site("attn_pattern", layer)
            try:
                site_map.check(site)
            except UserError:
                break
            for head, weights in enumerate(activations(site_map, row, [site])[site][0, :, -1].float()):
                place = int(weights.argmax())
                about = {"position": place, "token": tokens[place], "weight": round(float(weights[place]), 4)}
                heads.append({"head": f"L{layer}H{head}", **about})
    heads.sort(key=lambda one: (one["position"] == 0, -one["weight"]))  # the first token is where heads rest that look at nothing
    return {"tokens": tokens, "layers": layers, "heads": heads[:HEADS]}


def main() -> int:
    """Exit code 0 with what `look` gives, or 2 with {error, hint}."""
    try:
        asked = json.loads(sys.stdin.read(MOST_REQUEST))
        answer = look(str(asked["source"]), asked.get("revision") or None, str(asked["text"]))
    except UserError as error:
        sys.stdout.write(json.dumps({"error": error.what, "hint": error.hint}) + "\n")
        return 2
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
