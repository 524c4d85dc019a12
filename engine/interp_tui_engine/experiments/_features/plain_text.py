"""What changing a feature at every token costs on plain text: the loss of next tokens, with and without. Imports torch.

Legend: R rows of text, P positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...data.rows import load_rows
from ...models.halving import FittingRows
from ...models.loaded import LoadedModel
from ...sites.hooks import Edit, activations
from ...sites.row_memory import fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap
from ...specs import DataSpec

CONTEXT = 64
BATCH_TOKENS = {"cpu": 1024}
"""Tokens of a pass, at most; what caches hold."""
ELSEWHERE = 16_384
Change = Callable[[Float[Tensor, "*rows D"]], Float[Tensor, "*rows D"]]
"""From a residual stream to what is added to it, at each of its positions."""


def everywhere(layer: int, change: Change) -> Edit:
    """The change at every position of the output of block `layer`."""
    return Edit(Site("resid_post", layer), lambda value: value + change(value).to(value.dtype))


@dataclass(frozen=True)
class PlainText:
    """Rows of text on one model. Loss is in nats a token, of each row."""

    site_map: SiteMap
    ids: Int[Tensor, "R P"]

    def losses(self, layer: int, change: Change | None) -> Float[np.ndarray[Any, Any], " R"]:
        """Each row's mean loss with `change` applied after `layer`, or as the model is."""
        parts = [losses for _, losses in self.together.each(self.ids, lambda some: self._losses(some, layer, change))]
        return torch.cat(parts).cpu().numpy()

    @cached_property
    def together(self) -> FittingRows:
        """How many rows pass the model at a time."""
        rows, tokens = self.ids.shape
        most = BATCH_TOKENS.get(self.ids.device.type, ELSEWHERE) // tokens
        return fitting_rows(self.site_map, tokens, min(rows, max(1, most)), logits=4 * tokens)

    def _losses(self, ids_RP: Tensor, layer: int, change: Change | None) -> Float[Tensor, " R"]:
        edits = [] if change is None else [everywhere(layer, change)]
        final = Site("resid_post", self.site_map.num_layers - 1)
        resid_RPD = activations(self.site_map, ids_RP[:, :-1], [final], edits)[final]
        with torch.no_grad():
            logits = self.site_map.unembed(resid_RPD).float()
        return F.cross_entropy(logits.transpose(1, 2), ids_RP[:, 1:], reduction="none").mean(1)


def plain_text(source: str, rows: int, model: LoadedModel, site_map: SiteMap) -> PlainText:
    """Rows of the text `source` names, held out where it is a built-in one. Raises UserError as loading data does."""
    context = min(CONTEXT, site_map.context - 1) if site_map.context is not None else CONTEXT
    split = "heldout" if source.startswith("builtin:") and source != "builtin:facts" else None
    spec = DataSpec.model_validate({"source": source, "context": context, "rows": rows, "split": split})
    token_rows = load_rows(spec, model.tokenizer, name="params.plain_text")
    return PlainText(site_map, token_rows.ids.long().to(model.device))
