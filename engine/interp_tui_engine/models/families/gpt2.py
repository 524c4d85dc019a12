"""GPT-2, GPT-1 and GPT-BigCode: one `c_attn` for query, key and value."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention, Family

ATTENTION = Attention("attn", qkv="c_attn", o="c_proj", layout="concatenated", transposed=True)

GPT2 = Family(
    name="gpt2",
    model_types=("gpt-sw3", "gpt2"),
    blocks="transformer.h",
    embed=("transformer.wte",),
    unembed=("lm_head",),
    final_norm="transformer.ln_f",
    attention=(ATTENTION,),
    mlp=("mlp",),
)

OPENAI_GPT = replace(GPT2, name="openai-gpt", model_types=("openai-gpt",), embed=("transformer.tokens_embed",), final_norm="")

GPT_BIGCODE = replace(
    GPT2,
    name="gpt_bigcode",
    model_types=("gpt_bigcode",),
    attention=(replace(ATTENTION, transposed=False),),
    when=lambda config: bool(config.multi_query),
)
GPT_BIGCODE_MULTI_HEAD = replace(
    GPT_BIGCODE, attention=(replace(ATTENTION, transposed=False, layout="interleaved"),), when=lambda config: not config.multi_query
)

FAMILIES = (GPT2, OPENAI_GPT, GPT_BIGCODE, GPT_BIGCODE_MULTI_HEAD)
