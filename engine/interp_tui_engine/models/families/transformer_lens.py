"""TransformerLens' HookedTransformer: every weight is a parameter whose first axis counts heads, W_Q (head, d, d_head)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .family import Attention, Family

MODEL_TYPE = "hooked_transformer"
"""Not a `model_type` of transformers: these models have a `cfg` in place of a `config`."""


def _shares_keys(config: Any) -> bool:
    return getattr(config, "n_key_value_heads", None) is not None


MULTI_HEAD = Family(
    name=MODEL_TYPE,
    model_types=(MODEL_TYPE,),
    blocks="blocks",
    embed=("embed",),
    unembed=("unembed",),
    final_norm="ln_final",
    attention=(Attention("attn", q="W_Q", k="W_K", v="W_V", o="W_O", per_head=("b_Q",), per_group=("b_K", "b_V")),),
    mlp=("mlp",),
    when=lambda config: not _shares_keys(config),
)
GROUPED = replace(
    MULTI_HEAD,
    attention=(Attention("attn", q="W_Q", k="_W_K", v="_W_V", o="W_O", per_head=("b_Q",), per_group=("_b_K", "_b_V")),),
    when=_shares_keys,
)
"""With fewer key-value heads the stored parameters get an underscore; the plain names are expanded copies."""

FAMILIES = (MULTI_HEAD, GROUPED)
