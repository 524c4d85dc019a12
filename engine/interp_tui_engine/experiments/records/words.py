"""What features say to the unembedding and to each other: promoted and suppressed tokens, nearest neighbours. Imports torch.

Legend: F features, D width of the residual stream, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...sites.row_memory import fitting_logits
from ...sites.site_map import SiteMap
from .._features.space import WRITERS
from .feature_values import Recorded

TOKENS, NEIGHBOURS = 8, 3
CHUNK = 256
SIGNATURE_NUMBERS = 4_000_000
"""Numbers of decoder rows that are told at most: they stand in one line of the records."""


def words_of(recorded: Recorded, site_map: SiteMap, tokenizer: Any) -> dict[str, dict[str, Any]]:
    """`feature_metadata` of the features that write into the residual stream, by id."""
    by_id: dict[str, dict[str, Any]] = {}
    for space in recorded.spaces:
        if space.site.name not in WRITERS:
            continue
        site, names, rows_FD = space.site, space.names, space.rows(next(site_map.head.parameters()).device)
        about = promoted(rows_FD, site_map, tokenizer)
        if not space.hidden:  # dimensions are not near each other, and their rows say nothing
            for feature, near in zip(about, nearest(rows_FD, names), strict=True):
                feature["nearest"] = near
            if rows_FD.numel() <= SIGNATURE_NUMBERS:
                for feature, row in zip(about, rows_FD.tolist(), strict=True):
                    feature["decoder_signature"] = [round(value, 6) for value in row]
        by_id |= {name: {"layer": site.layer, **feature} for name, feature in zip(names, about, strict=True)}
    for space in recorded.spaces:
        if (cosines := recorded.repeats.get(space.site)) is not None:
            for name, cosine in zip(space.names, cosines.tolist(), strict=True):
                by_id.setdefault(name, {"layer": space.layer})["repeats"] = round(cosine, 4)
    return by_id


def promoted(rows_FD: Float[Tensor, "F D"], site_map: SiteMap, tokenizer: Any) -> list[dict[str, Any]]:
    """The tokens whose logits each row raises and lowers most, by the model's own final norm and unembedding, against a row of zeros."""
    by_row = []
    with torch.no_grad():
        zero_V = site_map.unembed(torch.zeros_like(rows_FD[:1]).to(_dtype(site_map))).float()

        def extremes(some_FD: Tensor) -> list[list[list[int]]]:
            logits = site_map.unembed(some_FD.to(zero_V.device, _dtype(site_map))).float() - zero_V
            return [logits.topk(TOKENS, largest=largest).indices.tolist() for largest in (True, False)]

        for _, (ups, downs) in fitting_logits(site_map, CHUNK).each(rows_FD, extremes):
            by_row += [
                {"promotes": _texts(tokenizer, up), "suppresses": _texts(tokenizer, down)} for up, down in zip(ups, downs, strict=True)
            ]
    return by_row


def nearest(rows_FD: Float[Tensor, "F D"], names: Sequence[str]) -> list[list[str]]:
    """Each row's nearest others by cosine, as `SAE:L2:F902 0.61`; none for a row of zeros."""
    unit_FD = torch.nn.functional.normalize(rows_FD.float(), dim=1)
    count = min(NEIGHBOURS, len(names) - 1)
    by_row: list[list[str]] = []
    for start in range(0, len(names), CHUNK):
        similar = unit_FD[start : start + CHUNK] @ unit_FD.T
        places = torch.arange(len(similar), device=similar.device)
        similar[places, places + start] = -2.0
        values, indices = similar.topk(count) if count else (similar[:, :0], similar[:, :0])
        for row_values, row_indices in zip(values.tolist(), indices.tolist(), strict=True):
            by_row.append([f"{names[int(i)]} {value:.2f}" for value, i in zip(row_values, row_indices, strict=True) if value != 0.0])
    return by_row


def _texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    return [str(tokenizer.decode([i])) if tokenizer is not None else f"⟨{i}⟩" for i in ids]


def _dtype(site_map: SiteMap) -> torch.dtype:
    return next(site_map.head.parameters()).dtype
