"""The only hooks of the engine: they read and write sites while a context manager is open, and are gone when it closes.

    site_map = site_map_of(model)                                  # a LoadedModel or a transformers module
    with capture(site_map, [Site("resid_post", 2)]) as values:    # read
        model.module(ids)
    values[Site("resid_post", 2)]                                # (batch, pos, d_model), detached

    edit = Edit(Site("attn_out", 1), lambda value: value * 0)    # write: gets the site's value, returns what it shall be
    with edited(site_map, [edit]):
        logits = model.module(ids).logits

    found = activations(site_map, ids, [Site("mlp_out", 1)])      # read, and stop the forward pass after the last site wanted

Edits act before captures opened after them, so that a capture sees the edited value. Attention patterns are read and written under the
model's own eager attention, to which it is switched for as long as the context is open.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from .points.hook_point import HookPoint
from .site import Site
from .site_map import SiteMap


@dataclass(frozen=True)
class Edit:
    """A change at a site: `change` gets the whole value there (all heads and positions) and returns what takes its place.

    It must return a tensor of the same shape and must not change its argument in place.
    """

    site: Site
    change: Callable[[Tensor], Tensor]


class _Enough(Exception):
    """All that was wanted has been read: the rest of the forward pass need not run."""


@contextmanager
def capture(site_map: SiteMap, sites: Sequence[Site]) -> Iterator[dict[Site, Tensor]]:
    """Read sites of every forward pass inside; the dict holds the newest pass's values, keyed by the sites asked for.

    A site with a head or a position is given that part only. Values are detached; for a gradient at a site, add zeros that ask for one by
    an Edit, and differentiate with respect to them. Shapes: (batch, pos, …), as each kind of site in `places/` says.
    """
    values: dict[Site, Tensor] = {}
    with ExitStack() as stack:
        for whole, wanted in _grouped(site_map, sites).items():
            stack.enter_context(_tap(site_map, whole, partial(_keep, values, wanted)))
        yield values


@contextmanager
def edited(site_map: SiteMap, edits: Sequence[Edit]) -> Iterator[None]:
    """Change values at sites in every forward pass inside; edits of one site act in the order given."""
    with ExitStack() as stack:
        for edit in edits:
            site_map.check(edit.site)
            stack.enter_context(_tap(site_map, edit.site.whole, edit.change))
        yield


@contextmanager
def reading(site_map: SiteMap, sites: Sequence[Site]) -> Iterator[dict[Site, Tensor]]:
    """Read whole sites of one forward pass inside, which ends without a result as soon as all are read. Values keep their gradients.

    Shapes: (batch, pos, …), as each kind of site in `places/` says.
    """
    values: dict[Site, Tensor] = {}

    def keep(site: Site, value: Tensor) -> None:
        values[site] = value
        if len(values) == len(sites):
            raise _Enough

    with ExitStack() as stack:
        for site in sites:
            site_map.check(site)
            stack.enter_context(_tap(site_map, site.whole, partial(keep, site)))
        with suppress(_Enough):
            yield values


def activations(site_map: SiteMap, ids: Int[Tensor, "batch pos"], sites: Sequence[Site], edits: Sequence[Edit] = ()) -> dict[Site, Tensor]:
    """The values at `sites` for token ids, without running what comes after the last of them. No gradients.

    Rows of unequal length are to be padded on the right, where a causal model's real tokens do not see the padding.
    Shapes: (batch, pos, …), as each kind of site in `places/` says.
    """
    ordered = sorted(_grouped(site_map, sites), key=site_map.order)
    with torch.no_grad(), edited(site_map, edits), capture(site_map, sites) as values:
        if not ordered:
            return values
        with _tap(site_map, ordered[-1], _stop), suppress(_Enough):
            site_map.body(input_ids=ids, use_cache=False)
    return values


def _grouped(site_map: SiteMap, sites: Sequence[Site]) -> dict[Site, list[Site]]:
    grouped: dict[Site, list[Site]] = {}
    for site in sites:
        site_map.check(site)
        grouped.setdefault(site.whole, []).append(site)
    return grouped


def _keep(values: dict[Site, Tensor], wanted: list[Site], value: Tensor) -> None:
    for site in wanted:
        values[site] = part(site, value.detach())


def _stop(value: Tensor) -> None:
    raise _Enough


def part(site: Site, value: Tensor) -> Tensor:
    """The head and position of a whole value that `site` names: positions are axis 1, heads axis 2 (axes 2 and 1 of a pattern)."""
    if site.head is not None:
        value = value.select(1 if site.name == "attn_pattern" else 2, site.head)
    if site.position is not None:
        value = value.select(1 if site.name != "attn_pattern" or site.head is not None else 2, site.position)
    return value


@contextmanager
def _tap(site_map: SiteMap, site: Site, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Show the value at a whole site to `see`, and put what it returns, if anything, in the value's place."""
    port = site_map.port(site)
    if port.side == "pattern":
        with eager_attention(site_map), _pattern_tap(port.module, partial(_on_pattern, port, see)):
            yield
        return
    if port.rows is not None:
        with _unfolded(port.rows) as shape, _hooked(port, _folding(see, shape)):
            yield
        return
    with _hooked(port, see):
        yield


@contextmanager
def _hooked(port: HookPoint, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    if port.side == "output":
        handle = port.module.register_forward_hook(partial(_on_output, port, see))
    else:
        handle = port.module.register_forward_pre_hook(partial(_on_input, port, see), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _unfolded(module: nn.Module) -> Iterator[list[int]]:
    """The batch and positions of what the module was last given."""
    shape: list[int] = []

    def look(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        shape[:] = (args[0] if args else kwargs["hidden_states"]).shape[:2]

    handle = module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield shape
    finally:
        handle.remove()


def _folding(see: Callable[[Tensor], Tensor | None], shape: list[int]) -> Callable[[Tensor], Tensor | None]:
    def folded(value: Tensor) -> Tensor | None:
        new = see(value.reshape(*shape, value.shape[-1]))
        return None if new is None else new.reshape(value.shape)

    return folded


def _on_pattern(port: HookPoint, see: Callable[[Tensor], Tensor | None], pattern: Tensor) -> Tensor | None:
    value = see(port.read(pattern))
    return None if value is None else port.write(pattern, value)


def _on_output(port: HookPoint, see: Callable[[Tensor], Tensor | None], module: nn.Module, args: Any, output: Any) -> Any:
    tensor = output[0] if isinstance(output, tuple) else output
    value = see(port.read(tensor))
    if value is None:
        return None
    new = port.write(tensor, value)
    return (new, *output[1:]) if isinstance(output, tuple) else new


def _on_input(port: HookPoint, see: Callable[[Tensor], Tensor | None], module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
    tensor = args[0] if args else kwargs["hidden_states"]
    value = see(port.read(tensor))
    if value is None:
        return None
    new = port.write(tensor, value)
    return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})


# -- attention patterns: the model's own eager attention, with a look at its weights

_NAME = "interp_tui"
_TAPS: dict[nn.Module, list[Callable[[Tensor], Tensor | None]]] = {}


@contextmanager
def eager_attention(site_map: SiteMap) -> Iterator[None]:
    """Run attention as the model's own eager implementation, which makes its masks and its weights explicit.

    Where an architecture's attention does not come by transformers' common interface, it stays as it is.
    """
    port = site_map.blocks[0].ports.get("attn_pattern")
    if port is None or port.side != "pattern":
        yield
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, eager_mask)
    config = site_map.body.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def _pattern_tap(module: nn.Module, see: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    taps = _TAPS.setdefault(module, [])
    taps.append(see)
    try:
        yield
    finally:
        taps.remove(see)
        if not taps:
            del _TAPS[module]


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor]:
    """The eager attention of the module's own architecture; a changed pattern is multiplied with the values anew."""
    own = sys.modules[type(module).__module__].eager_attention_forward
    output, pattern = own(module, query, key, value, attention_mask, **kwargs)
    changed = False
    for see in _TAPS.get(module, ()):
        new = see(pattern)
        if new is not None:
            pattern, changed = new, True
    if changed:
        grouped = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
        output = torch.matmul(pattern, grouped).transpose(1, 2).contiguous()
    return output, pattern
