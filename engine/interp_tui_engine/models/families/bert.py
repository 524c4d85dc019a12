"""BERT and RoBERTa: blocks under `<prefix>.encoder.layer`. The prefix is the one thing that differs."""

from __future__ import annotations

from dataclasses import replace

from .family import Attention, Family

ATTENTION = Attention("attention", q="self.query", k="self.key", v="self.value", o="output.dense", idle=("self.key.bias",))
TURNED = replace(ATTENTION, idle=())
"""RoFormer turns keys by position, so their bias counts."""


def _bert(prefix: str, *model_types: str) -> Family:
    return Family(
        name=model_types[0],
        model_types=model_types,
        blocks=f"{prefix}.encoder.layer",
        embed=(f"{prefix}.embeddings.word_embeddings",),
        unembed=("cls.predictions.decoder", "lm_head.decoder", "generator_lm_head"),
        final_norm="",
        attention=(ATTENTION,),
        mlp=("intermediate", "output"),
    )


ROBERTA_TYPES = ("roberta", "camembert", "xlm-roberta", "xlm-roberta-xl", "xmod")

FAMILIES = (
    _bert("bert", "bert", "bert-generation", "big_bird"),
    replace(_bert("bert", "megatron-bert"), final_norm="bert.encoder.ln"),
    _bert("roberta", *ROBERTA_TYPES),
    *(_bert(t, t) for t in ("electra", "ernie", "rembert", "roc_bert")),
    replace(_bert("roformer", "roformer"), attention=(TURNED,)),
    _bert("data2vec_text", "data2vec-text"),
    replace(_bert("roberta_prelayernorm", "roberta-prelayernorm"), final_norm="roberta_prelayernorm.LayerNorm"),
)
