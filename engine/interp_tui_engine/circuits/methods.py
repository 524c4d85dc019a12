"""By what names circuits are searched for, and which metrics those searches can follow. Torch-free."""

from __future__ import annotations

from typing import Literal

Ablation = Literal["interchange", "mean", "zero"]
Estimate = Literal["eap", "eap_ig", "eap_ig_activations"]
Method = Literal["acdc", "eap", "eap_ig", "eap_ig_activations"]
Scope = Literal["nodes", "all"]


def no_gradient(method: str, metric: str) -> str | None:
    """What is wrong with estimating this metric by this method, if anything."""
    if method != "acdc" and metric == "rank":
        return "'rank' has no gradient to estimate from"
    if method == "eap" and metric == "kl":
        return "the gradient of 'kl' is 0 in the clean run, from which eap takes it"
    return None
