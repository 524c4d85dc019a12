"""What causal_trace may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .. import _pairs

TRACED = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "mlp_post", "q", "k", "v", "z")


class Params(_pairs.PairParams):
    """Which prompts, which activations, and what is put in whose place."""

    sites: list[str] = Field(["resid_post", "attn_out", "mlp_out"], min_length=1, description=f"kinds of site: {', '.join(TRACED)}")
    heads: bool = Field(True, description="trace each attention head (site z) too")
    corruption: Literal["interchange", "noise"] = Field("interchange", description="a second prompt, or Gaussian noise on the subject")
    subject: str | None = Field(None, description="for noise: the words of the clean prompt whose embeddings it falls on")
    noise_scale: float = Field(3.0, gt=0, description="standard deviation of the noise, in standard deviations of the embedding")
    noise_samples: int = Field(10, ge=1, description="noisy runs to average over")
    window: int = Field(1, ge=1, description="layers w patched together about l: l − ⌊w/2⌋ … l + ⌈w/2⌉ − 1, so 10 is l − 5 … l + 4")
    freeze: list[str] = Field(default_factory=list, description="sites held at the corrupt run in later layers: attn_out, mlp_out")
    rows: int = Field(256, ge=1, description="patched runs that travel in one batch; results do not depend on it beyond rounding")
    resamples: int = Field(1000, ge=10, description="resamples of the pairs, for the variance that intervals are made of")
