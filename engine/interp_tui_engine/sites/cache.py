"""Activations of texts, by the names of interpretability-toolkit: run once, ask for any site, keep only what was asked for.

cache = ActivationCache(load_model("builtin:tiny"))
seen = cache.run("The capital of France is")
seen.residual_stream(layer=2)                 # (pos, d_model)
seen.attention_pattern(layer=1, head=3)       # (query, key)
seen["L1.z.H3"]                               # any site, as text or as a Site
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ..errors import UserError
from ..models.given import module_of
from .hooks import activations, part
from .site import Site, parse
from .site_map import SiteMap
from .verify import checked_site_map

Inputs = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Tensor


@final
class Activations:
    """What one batch does inside the model.

    A site not seen yet is read in a forward pass that stops there, together with the same kind of site in all layers before it. For one
    text, values have no batch axis; for several they have, and positions beyond a text's own tokens (`mask` is False there) mean nothing.
    """

    def __init__(self, site_map: SiteMap, ids: Int[Tensor, "batch pos"], lengths: Sequence[int], single: bool) -> None:
        self.site_map, self.ids, self.lengths = site_map, ids, tuple(lengths)
        self._single = single
        self._held: dict[Site, Tensor] = {}

    @property
    def mask(self) -> Bool[Tensor, "batch pos"]:
        """Which positions hold a text's own tokens."""
        return torch.arange(self.ids.shape[1])[None] < torch.tensor(self.lengths)[:, None]

    def __getitem__(self, site: Site | str) -> Tensor:
        site = parse(site) if isinstance(site, str) else site
        self.site_map.check(site)
        shortest = min(self.lengths)
        if site.position is not None and not -shortest <= site.position < shortest:
            raise UserError(f"{site}: there is no position {site.position}", f"the shortest text has tokens 0 to {shortest - 1}")
        if site.whole not in self._held:
            last = 0 if site.layer is None else site.layer
            wanted = [Site(site.name)] if site.layer is None else [Site(site.name, layer) for layer in range(last + 1)]
            self._held |= activations(self.site_map, self.ids, [site_wanted for site_wanted in wanted if site_wanted not in self._held])
        value = self._held[site.whole]
        if self._single or site.position is None or site.position >= 0:
            value = part(site, value)
        else:  # from each text's own end
            ends = torch.tensor(self.lengths, device=value.device) + site.position
            rows = torch.arange(len(self.lengths), device=value.device)
            whole = part(Site(site.name, site.layer, site.head), value)
            value = whole[rows, :, ends] if site.name == "attn_pattern" and site.head is None else whole[rows, ends]
        return value[0] if self._single else value

    def residual_stream(self, layer: int) -> Tensor:
        """The stream that leaves a block: (pos, d_model)."""
        return self[Site("resid_post", layer)]

    def attention_pattern(self, layer: int, head: int | None = None) -> Tensor:
        """Attention weights: (query, key) of one head, (heads, query, key) of all."""
        return self[Site("attn_pattern", layer, head)]

    def mlp(self, layer: int) -> Tensor:
        """What the MLP adds to the stream: (pos, d_model)."""
        return self[Site("mlp_out", layer)]

    def attention(self, layer: int) -> Tensor:
        """What attention adds to the stream: (pos, d_model)."""
        return self[Site("attn_out", layer)]


@final
class ActivationCache:
    """Runs a model and hands out its activations. `model` is a LoadedModel, or a transformers model with its `tokenizer`."""

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        self._module = module_of(model)
        self.site_map = checked_site_map(model if hasattr(model, "native") else self._module)
        self.tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None) or _tokenizer_of(self._module)

    def run(self, inputs: Inputs, sites: Sequence[Site | str] = ()) -> Activations:
        """Take one text, several, or token ids; `sites` are read at once, others when they are asked for.

        Raises UserError for empty inputs, ones longer than the model reads, and tokens it does not have.
        """
        single, rows = self._rows(inputs)
        lengths = [len(row) for row in rows]
        if not lengths or min(lengths) == 0:
            raise UserError("there is nothing to run: an input is empty", "give texts or token ids of at least one token")
        if self.site_map.context is not None and max(lengths) > self.site_map.context:
            raise UserError(f"an input is {max(lengths):,} tokens, but the model reads at most {self.site_map.context:,}", "shorten it")
        ids = torch.zeros(len(rows), max(lengths), dtype=torch.long)  # padding on the right is seen by no real token
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.as_tensor(row)
        vocab = next(self.site_map.embed.parameters()).shape[0]
        if wrong := ids[(ids < 0) | (ids >= vocab)].tolist():
            raise UserError(f"there is no token {wrong[0]}", f"the model has tokens 0 to {vocab - 1:,}")
        read = Activations(self.site_map, ids.to(next(self._module.parameters()).device), lengths, single)
        for site in sites:
            read[site]
        return read

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        return [len(self._ids(text)) for text in texts]

    def _rows(self, inputs: Inputs) -> tuple[bool, list[Any]]:
        if isinstance(inputs, Tensor):
            return inputs.dim() == 1, [inputs] if inputs.dim() == 1 else list(inputs)
        if isinstance(inputs, str):
            return True, [self._ids(inputs)]
        if all(isinstance(token, int) for token in inputs):
            return True, [list(inputs)]
        return False, [self._ids(row) if isinstance(row, str) else list(row) for row in inputs]  # type: ignore[arg-type]

    def _ids(self, text: str) -> list[int]:
        if self.tokenizer is None:
            raise UserError("this model has no tokenizer, so texts cannot be run", "give ActivationCache a tokenizer, or run token ids")
        return list(self.tokenizer(text).input_ids)


def _tokenizer_of(module: Any) -> Any:
    """The tokenizer saved beside a transformers model; None where there is none on this machine."""
    name = getattr(module, "name_or_path", "")
    if not name:
        return None
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError):
        return None
