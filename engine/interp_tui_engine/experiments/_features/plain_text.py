"""What changing a feature at every token costs on plain text: the loss of next tokens, with and without. Imports torch.

Legend: R rows of text, P positions, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...data.rows import load_rows
from ...models.loaded import LoadedModel
from ...sites.hooks import Edit, activations
from ...sites.site import Site
from ...sites.site_map import SiteMap
from ...specs import DataSpec

CONTEXT = 64
BATCH_TOKENS = 1024
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
        return np.concatenate([self._losses(part, layer, change).cpu().numpy() for part in self._batches()])

    def _batches(self) -> Iterator[Tensor]:
        yield from torch.split(self.ids, max(1, BATCH_TOKENS // self.ids.shape[1]))

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
