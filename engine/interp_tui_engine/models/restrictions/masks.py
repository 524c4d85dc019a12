"""Masks over a loaded model's parameters, in the form that samplers take: parameter name -> boolean mask of its shape, or None for all."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from interp_tui_engine.errors import UserError, WrongType
from interp_tui_engine.restriction_tree import write_tree

from ..families import Family, config_of
from ..given import module_of
from .parameter_map import ParameterMap
from .remarks import remarks
from .selection import Selection, select
from .wrapped_names import adapters_in, own_name

Masks = dict[str, Bool[Tensor, "..."] | None]


def parameter_map_of(model: nn.Module) -> ParameterMap:
    """The parts of a loaded transformers or TransformerLens model; its parameters may be on the meta device.

    Names are the model's own (`wrapped_names`), also where another library has put modules around its modules.
    """
    return _map_of(model, config_of(model))


def _map_of(model: nn.Module, config: Any, family: Family | None = None) -> ParameterMap:
    held = dict(model.named_parameters())
    shapes = {own_name(name): tuple(p.shape) for name, p in held.items()}
    canonical = {id(p): own_name(name) for name, p in held.items()}
    every = ((own_name(name), p) for name, p in model.named_parameters(remove_duplicate=False))
    return ParameterMap(config, shapes, {name: canonical[id(p)] for name, p in every if name not in shapes}, family)


def selection_of(model: nn.Module, restriction: str | Sequence[str]) -> Selection:
    """What a restriction selects of a model, with notes (as on tied weights). UserError as from `create_param_masks`.

    'full' and parameters' names need not know the architecture, so they work with any module.
    """
    texts = [restriction] if isinstance(restriction, str) else list(restriction)
    names = dict(model.named_parameters(remove_duplicate=False))
    given = [own_name(text.strip()) if text.strip() in names else text for text in texts]
    spoken = {own_name(name) for name in names}
    if all(text.strip().lower() == "full" or text in spoken for text in given):
        selected = select(_map_of(model, _NoArchitecture(), Family("unknown", (), "", (), (), "")), given)
    else:
        selected = select(parameter_map_of(model), given)
    held = {own_name(name): name for name, _ in model.named_parameters()}
    chosen = {held[name]: rows for name, rows in selected.chosen.items()}
    notes = [*selected.notes]
    if any(rows is not None for rows in chosen.values()) and (adapters := adapters_in(held)):
        notes.append(f"{len(adapters)} matrices of adapters, such as {adapters[0]}, belong to no one head: heads leave them out")
    return Selection(chosen, {held[name]: shape for name, shape in selected.shapes.items()}, tuple(notes))


class _NoArchitecture:
    """The configuration of a model of which only parameters are known."""

    model_type = "unknown"


def masks_of(selection: Selection) -> Masks:
    """A selection as masks: None where a parameter is selected as a whole."""
    masks: Masks = {}
    for name, rows in selection.chosen.items():
        if rows is None:
            masks[name] = None
            continue
        shape = selection.shapes[name]
        along = [1] * len(shape)
        along[rows.axis] = -1
        masks[name] = torch.from_numpy(rows.keep).view(along).expand(shape)
    return masks


def create_param_masks(model: nn.Module, restriction: str | list[str]) -> Masks:
    """The parameters that a restriction lets move: name -> boolean mask of the parameter's shape, or None for all of it.

    restriction: 'full', 'l0' (a layer, its norms included), 'l0 attn', 'l0 mlp', 'l0 mixer', 'l0h1' (all that head 1 computes with: its
    rows of q, its columns of o, and its rows of k and v, also where its group shares them, as in devinterp), 'l0h1 own' (of these what
    no other head uses: queries and outputs only, where keys and values are shared), 'l0g0' (a group of heads with the key-value head
    they share), 'l0kv0' (that key-value head alone), 'embed', 'unembed' (the shared matrix where they are tied, with a warning that says
    so), the name of a parameter, or a list of these: their union. Case does not matter. Biases go with the rows that they are added to,
    so the bias of o belongs to no head; 'l0h1' and 'l0g0' leave out key biases that change nothing (BERT, BART, OPT: keys that positions
    do not turn), 'l0h1 own' has them.

    model: a transformers or TransformerLens model; for others only 'full' and parameters' names. Raises UserError for what the model
    does not have, naming what it has.
    """
    if not isinstance(restriction, (str, list, tuple)):
        raise WrongType(f"restriction = {restriction!r}", "it must be text such as 'l0h1', or a list of such texts")
    selection = selection_of(module_of(model, shapes_only=True), restriction)
    for note in selection.notes:
        warnings.warn(note, stacklevel=2)
    return masks_of(selection)


def preview_weight_restriction(model: nn.Module, masks: Mapping[str, Tensor | None], *, plain: bool = False) -> None:
    """Print the parameters that masks select, as a tree with elements selected of elements in all; `plain`: their names, one a line.

    Below the tree stands which key-value heads move with a head though other heads use them too, as 'l0h1' has it in a model with
    grouped queries.
    """
    model = module_of(model, shapes_only=True)
    shapes = {name: p.numel() for name, p in model.named_parameters()}
    every = {name: p.numel() for name, p in model.named_parameters(remove_duplicate=False)}
    unknown = [name for name in masks if name not in every]
    if unknown:
        raise UserError(f"the masks name {unknown[0]!r}, which is no parameter of the model", f"such as {', '.join(list(shapes)[:4])}")
    if plain:
        sys.stdout.write("".join(f"{name}\n" for name in sorted(masks)))
        return
    counts = {name: (every[name] if mask is None else int(mask.count_nonzero()), every[name]) for name, mask in masks.items()}
    write_tree(counts, sum(shapes.values()), sys.stdout)
    sys.stdout.write("".join(f"{line}\n" for line in remarks_on(model, masks)))


def remarks_on(model: nn.Module, masks: Mapping[str, Tensor | None]) -> list[str]:
    """Nothing for a model whose layout is not known: there is nothing to say of its heads."""
    try:
        parameter_map = parameter_map_of(model)
        layers = [parameter_map.heads(layer) for layer in range(parameter_map.layers)]
    except UserError:
        return []
    masks = {own_name(name): mask for name, mask in masks.items()}
    axes = {name: slices.axis for heads in layers if heads is not None for name, slices in heads.slices.items()}
    kept = {n: None if mask is None else mask.bool().movedim(axes[n], 0).flatten(1).any(1).numpy() for n, mask in _divided(masks, axes)}
    return remarks(parameter_map, kept)


def _divided(masks: Mapping[str, Tensor | None], axes: Mapping[str, int]) -> list[tuple[str, Tensor | None]]:
    """Of these masks, those of parameters that divide among heads; a bias gets a second axis."""
    present = ((name, mask) for name, mask in masks.items() if name in axes)
    return [(name, mask.unsqueeze(-1) if mask is not None and mask.dim() == 1 else mask) for name, mask in present]
