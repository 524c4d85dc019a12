"""Many patched copies of one run, from where they differ: the fast path of activation patching.

A patched run is the base run up to the block of its first patch, so it starts there, from the base run's cached residual stream; all
patched runs then travel through the later blocks in one growing batch. Positions before a patch are those of the base run in every
block (attention is causal), so they are not computed again: blocks see only the later positions, with the base run's keys and values
before them.

The results are those of one full forward pass a patch (tests/references/patch_loop.py), to rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..models.device import sent
from .hooks import Edit, eager_attention, edited, reading
from .key_cache import cache_argument
from .site import Site
from .site_map import SiteMap


class Patch(NamedTuple):
    """One site's value put in place: `site` names layer and kind, its head or all of them, its position or all of them.

    value: what stands there then; (...,) for one position and head, (heads, ...) for all heads, (pos, ...) for all positions, heads too.
    """

    site: Site
    value: Tensor


Job = tuple[Patch, ...]
"""All patches of one run."""


@dataclass(frozen=True)
class BranchedRun:
    """A finished base run, from which patched runs branch off."""

    site_map: SiteMap
    resid_pre: tuple[Float[Tensor, "batch pos d_model"], ...]
    """The stream that enters each block, and at the end the one that leaves the last."""
    calls: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...]
    """What each block was given besides."""
    keys: tuple[tuple[Tensor, Tensor] | None, ...]
    """Each block's keys and values, as its attention cached them."""

    @property
    def length(self) -> int:
        """Tokens in a row."""
        return int(self.resid_pre[0].shape[1])

    def logits(self, positions: Sequence[int]) -> Float[Tensor, "positions vocab"]:
        """The base run's logits."""
        return self.site_map.unembed(self.resid_pre[-1][0, sent(positions, self.resid_pre[-1].device)])

    def run(
        self, jobs: Sequence[Job], positions: Sequence[int], *, first: int = 0, bases: Sequence[int] | None = None
    ) -> Float[Tensor, "jobs positions vocab"]:
        """Logits of each patched run at the given positions, in the order of the jobs.

        `first`: patches of all positions put back, before this one, what is there already. `bases`: of runs put together, the row from
        which each job branches off.
        """
        entry = [min(_layer(patch.site) for patch in job) for job in jobs]
        order = sorted(range(len(jobs)), key=entry.__getitem__)
        placed = [[p.site.position for p in job if p.site.position is not None] for job in jobs]
        start = min(min(at, default=first) for at in placed)
        if not self.can_skip:
            start = 0
        assert start <= min(positions), "logits before every patch are the base run's"
        hidden = self.resid_pre[0].new_empty(0, self.length - start, self.site_map.d_model)
        rows = None if bases is None else sent([bases[job] for job in order], hidden.device)
        taken = 0
        with eager_attention(self.site_map):
            for layer in range(entry[order[0]], self.site_map.num_layers):
                new = taken
                while new < len(order) and entry[order[new]] == layer:
                    new += 1
                stream = self.resid_pre[layer][:, start:]
                fresh = stream.expand(new - taken, -1, -1) if rows is None else stream[rows[taken:new]]
                hidden, taken = torch.cat([hidden, fresh]), new
                here = [(row, patch) for row, job in enumerate(order[:taken]) for patch in jobs[job] if _layer(patch.site) == layer]
                with ExitStack() as stack:
                    if here:
                        stack.enter_context(edited(self.site_map, _edits(here, start)))
                    hidden = self.block(layer, hidden, start, None if rows is None else rows[:taken])
        logits = self.site_map.unembed(hidden[:, sent([position - start for position in positions], hidden.device)])
        return logits[sent(sorted(range(len(order)), key=order.__getitem__), logits.device)]

    @property
    def can_skip(self) -> bool:
        """Whether blocks can be given the later positions only: their masks are there to be cut, and all else they are given can be."""
        given = [value for args, kwargs in self.calls for value in (*args, *kwargs.values())]
        tensors = [value for value in given if not _is_cache(value) and not _plain(value)]
        masks = sum(isinstance(value, Tensor) and value.dim() == 4 for value in tensors)
        cached = all(keys is not None and keys[0].shape[2] == self.length for keys in self.keys)
        return cached and masks == len(self.calls) and all(_later(value, self.length, 1) is not None for value in tensors)

    def read(
        self, layer: int, hidden: Float[Tensor, "rows pos d_model"], names: Sequence[str], start: int = 0
    ) -> dict[str, Float[Tensor, "rows pos ..."]]:
        """Kinds of site inside one block on other streams than the base run's; what comes after the last of them is not run."""
        sites = [Site(name, layer) for name in names]
        with reading(self.site_map, sites) as seen:
            self.block(layer, hidden, start)
        return {site.name: seen[site] for site in sites}

    def block(
        self, layer: int, hidden: Float[Tensor, "rows pos d_model"], start: int = 0, bases: Int[Tensor, " rows"] | None = None
    ) -> Float[Tensor, "rows pos d_model"]:
        """One block on other streams than the base run's, at the positions from `start` on; sites inside can be captured and edited.

        Of runs put together, `bases` says which one each row branches off; without it the rows are so many of the first, second, … in
        turn, again and again.
        """
        args, kwargs = self.calls[layer]
        before = _Before(self.keys, start, hidden.shape[0] // self.resid_pre[0].shape[0], bases) if start else None

        def given(value: Any) -> Any:
            if _is_cache(value):
                return before
            if isinstance(value, Tensor) and value.shape == (self.site_map.num_heads, 1, self.length):
                return value.repeat(hidden.shape[0], 1, 1)  # a bias by distance, its batch and heads folded into one axis
            return value if _plain(value) or not start else _later(value, self.length, start)

        output = self.site_map.blocks[layer].module(hidden, *map(given, args), **{name: given(value) for name, value in kwargs.items()})
        stream: Tensor = output[0] if isinstance(output, tuple) else output
        return stream


def record(site_map: SiteMap, ids: Int[Tensor, "1 pos"], edits: Sequence[Edit] = ()) -> BranchedRun:
    """Run the model once on one row of ids, under edits if any (noise on the embedding), and keep what patched runs start from."""
    from transformers import DynamicCache

    streams: list[Tensor] = []
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    cache = DynamicCache()  # without a configuration: it keeps every key, those beyond a sliding window too

    def look(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stream = args[0] if args else kwargs["hidden_states"]
        streams.append(stream.clone())
        calls.append((args[1:], {name: value for name, value in kwargs.items() if name != "hidden_states"}))

    def leave(_: Any, args: Any, output: Any) -> None:
        streams[site_map.num_layers :] = [output[0] if isinstance(output, tuple) else output]

    with torch.no_grad(), eager_attention(site_map), edited(site_map, edits), ExitStack() as stack:
        for block in site_map.blocks:
            stack.callback(block.module.register_forward_pre_hook(look, with_kwargs=True).remove)
        stack.callback(site_map.blocks[-1].module.register_forward_hook(leave).remove)
        site_map.body(input_ids=ids, use_cache=True, **{cache_argument(site_map.body): cache})
    return BranchedRun(site_map, tuple(streams), tuple(calls), tuple(_keys_of(cache, layer) for layer in range(site_map.num_layers)))


def together(forks: Sequence[BranchedRun]) -> BranchedRun | None:
    """Base runs as the rows of one, whose blocks then run on all of them at once; None where their blocks were not given the same."""
    first = forks[0]
    if any(fork.length != first.length or not fork.can_skip or not _same(fork.calls, first.calls) for fork in forks):
        return None
    keys = []
    for held in zip(*(fork.keys for fork in forks), strict=True):
        present = [cached for cached in held if cached is not None]
        keys.append((torch.cat([k for k, _ in present]), torch.cat([v for _, v in present])))
    streams = tuple(torch.cat(rows) for rows in zip(*(fork.resid_pre for fork in forks), strict=True))
    return BranchedRun(first.site_map, streams, first.calls, tuple(keys))


def _same(left: Any, right: Any) -> bool:
    """Whether what blocks were given is equal, caches aside."""
    if isinstance(left, (tuple, list)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    return _is_cache(left) or bool(left == right)


class _Before:
    """Stands in for a cache: what attention computes for the later positions is put after the base run's earlier ones."""

    def __init__(self, keys: Sequence[tuple[Tensor, Tensor] | None], start: int, times: int, bases: Tensor | None) -> None:
        self._keys, self._start, self._times, self._bases = keys, start, times, bases

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        before = self._keys[layer]
        assert before is not None
        olds = [self._of_rows(old[:, :, : self._start]) for old in before]
        joined = [torch.cat([old, new], dim=2) for old, new in zip(olds, (keys, values), strict=True)]
        return joined[0], joined[1]

    def _of_rows(self, old: Tensor) -> Tensor:
        if self._bases is not None:
            return old[self._bases]
        return old.expand(self._times, -1, -1, -1) if len(old) == 1 else old.repeat(self._times, 1, 1, 1)

    def get_seq_length(self, *_: Any) -> int:
        return self._start


def _layer(site: Site) -> int:
    return 0 if site.layer is None else site.layer


def _keys_of(cache: Any, layer: int) -> tuple[Tensor, Tensor] | None:
    if layer >= len(cache.layers) or not isinstance(getattr(cache.layers[layer], "keys", None), Tensor):
        return None
    return cache.layers[layer].keys, cache.layers[layer].values


def _is_cache(value: Any) -> bool:
    from transformers import Cache

    return isinstance(value, Cache)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, torch.dtype))


def _later(value: Any, length: int, start: int) -> Any:
    """A block's argument for the positions from `start` on; None for one whose positions are not known."""
    if isinstance(value, (tuple, list)):
        parts = [_later(item, length, start) for item in value]
        return None if any(part is None for part in parts) else tuple(parts)
    if not isinstance(value, Tensor):
        return None
    if value.dim() == 3 and value.shape[1:] == (1, length):  # a bias by distance: of keys, which are all there
        return value
    if value.dim() == 4 and value.shape[-2:] == (length, length):  # an attention mask (batch, heads, query, key)
        return value[..., start:, :]
    if value.dim() in (2, 3) and value.shape[1] == length and value.shape[0] == 1:  # position ids; cosines and sines of rotations
        return value[:, start:]
    if value.dim() == 1 and value.shape[0] == length:
        return value[start:]
    return None


def _edits(patches: Sequence[tuple[int, Patch]], start: int) -> list[Edit]:
    """One edit a kind of site, which puts every row's values in their places at once."""
    grouped: dict[tuple[Site, bool, bool], list[tuple[int, Patch]]] = defaultdict(list)
    for row, patch in patches:
        whole = Site("resid_pre", 0) if patch.site.name == "embed" else patch.site.whole
        grouped[whole, patch.site.head is None, patch.site.position is None].append((row, patch))
    return [Edit(key[0], partial(_put, *key, group, start)) for key, group in grouped.items()]


def _put(site: Site, all_heads: bool, everywhere: bool, group: Sequence[tuple[int, Patch]], start: int, value: Tensor) -> Tensor:
    device, pattern = value.device, site.name == "attn_pattern"
    rows = sent([row for row, _ in group], device)
    if everywhere:
        result = value.clone()
        heads = sent([patch.site.head or 0 for _, patch in group], device)
        if pattern:
            new = torch.stack([patch.value[..., start:, :] for _, patch in group]).to(value.dtype)
            result[(rows,) if all_heads else (rows, heads)] = new
        else:
            new = torch.stack([patch.value[start:] for _, patch in group]).to(value.dtype)
            result[(rows,) if all_heads else (rows, slice(None), heads)] = new
        return result
    positions = sent([(patch.site.position or 0) - start for _, patch in group], device)
    new = torch.stack([patch.value for _, patch in group]).to(value.dtype)
    result = value.clone()
    if all_heads:
        if pattern:
            result[rows, :, positions] = new
        else:
            result[rows, positions] = new
        return result
    heads = sent([patch.site.head for _, patch in group], device)
    index = (rows, heads, positions) if pattern else (rows, positions, heads)
    result[index] = new
    return result
