"""A language model of which only a part is sampled: the parameters that move, and losses that compute no more than their moving needs.

Weights outside the restriction get no gradient and no noise; of a weight that is restricted to rows or columns, these alone are sampled;
what lies below the lowest restricted layer is computed once for rows that are seen again. None of this changes what is sampled: the
losses are those of the whole model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...errors import UserError
from .language_model import Head, LossFn, find_head, functional_losses, fused_losses, plain_losses, tie_gradients, with_parameters
from .losses import plain_cross_entropy
from .parameters import Masks, ParameterSpace, named_parameters
from .prefix_cache import Injected, PrefixCache, PrefixCut, cut_of
from .sliced_linear import install_slices
from .tied_gradient import TiedGradient
from .weight_slice import WeightSlice, weight_slice_of

IDS, HIDDEN = "input_ids", "hidden"


@final
class RestrictedModel:
    """A model, the parameters of it that move, and its per-token losses as functions of them."""

    def __init__(
        self,
        model: nn.Module,
        masks: Masks | None,
        loss_fn: LossFn | None,
        sample: Int[Tensor, "b t1"],
        budget: int,
        prefixes: PrefixCache,
        computes_in: torch.dtype | None = None,
    ) -> None:
        self.space, self._slabs = moving(model, masks, computes_in)
        if computes_in is not None:
            model = with_parameters(model, {name: nn.Parameter(p.detach().to(computes_in), False) for name, p in model.named_parameters()})
        self._model, self._loss_fn, self._prefixes = model, loss_fn, prefixes
        self._stateless: dict[PrefixCut | None, tuple[nn.Module, Injected | None]] = {}
        self.head = None if loss_fn is not None else find_head(with_parameters(model, {}), sample, budget)
        self._losses = _Losses(loss_fn, self.head, budget)
        self._below = _Below(model, self._losses)
        wanted = () if masks is None or loss_fn is not None else tuple(slot.name for slot in self.space.slots)
        self._rows_first = False
        self.cut = self._that_works(cut_of(model, wanted), sample)

    def bind(self, leaves: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """The loss as a function of token rows, computing with these leaves, in one thread at a time.

        The leaves have their parameters' shapes; losses are nats, (b, t).
        """
        model, injected = self._copy(leaves, self.cut)
        tied = None if self.head is None or injected is not None else tie_gradients(model)
        below = _Below(self._model, self._losses)

        def loss(rows: Tensor) -> Tensor:
            ids = rows.to(self.space.device, non_blocking=True)
            if injected is not None and self.cut is not None:
                injected.hidden = below.entering(self._prefixes, self.cut, rows, ids)
            return self._losses(model, ids, tied)

        return loss

    def whole(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters that move, as the model has them: those of which only rows or columns move with the rest beside."""
        fixed = dict(self._model.named_parameters()) if self._slabs else {}
        return {n: self._slabs[n].put(fixed[n].detach(), leaf) if n in self._slabs else leaf for n, leaf in leaves.items()}

    def prepared(self, rows: Int[Tensor, "b t1"]) -> Tensor | dict[str, Tensor]:
        """Rows for `functional`, on its device, with what enters the cut beside them: a transform must not see it computed."""
        ids = rows.to(self.space.device, non_blocking=True)
        if self.cut is None:
            return ids
        hidden = self._below.entering(self._prefixes, self.cut, rows, ids)
        # Gemma 3n hands several streams on, one after another in the first axis: those cannot be split by rows.
        return {IDS: ids, HIDDEN: hidden} if self._rows_first else ids

    def functional(self, leaves: Mapping[str, Tensor], batch: Tensor | Mapping[str, Tensor]) -> Float[Tensor, "b t"]:
        """The same loss as a pure function of the leaves, for torch.func transforms; of prepared rows, or of rows as they are.

        Nats. Raises UserError for a loss function of the user's own.
        """
        if self._loss_fn is not None:
            raise UserError("a custom loss_fn(model, input_ids) cannot run with chains = 'vmap'", "Use 'threads' or 'serial'.")
        ids, hidden = (batch[IDS], batch[HIDDEN]) if isinstance(batch, Mapping) else (batch, None)
        cut = None if hidden is None else self.cut
        if cut not in self._stateless:
            self._stateless[cut] = self._copy({}, cut)
        model, injected = self._stateless[cut]
        whole = self.whole(leaves)
        if injected is None:
            return functional_losses(model, whole, ids)
        injected.hidden = hidden
        if self.head is None:
            return functional_losses(model, whole, ids)
        # The fused losses, which the activations come from, do not feed the last token.
        output = torch.func.functional_call(model, whole, (ids[..., :-1],), {"use_cache": False})
        return plain_cross_entropy(output.logits, ids[..., 1:])

    def _copy(self, leaves: Mapping[str, Tensor], cut: PrefixCut | None) -> tuple[nn.Module, Injected | None]:
        model = with_parameters(self._model, {name: leaf for name, leaf in leaves.items() if name not in self._slabs})
        install_slices(model, {name: slab for name, slab in self._slabs.items() if name in leaves}, leaves)
        return model, None if cut is None else cut.shorten(model)

    def _that_works(self, cut: PrefixCut | None, sample: Tensor) -> PrefixCut | None:
        """The cut, if going on from it gives the losses of the whole model; a model that shares more between blocks does not."""
        if cut is None:
            return None
        whole, short = with_parameters(self._model, {}), with_parameters(self._model, {})
        tolerance = 16 * torch.finfo(self.space.dtype).eps
        try:
            with torch.no_grad():
                want = self._losses(whole, sample)
                injected = cut.shorten(short)
                injected.hidden = cut.entering(whole, self._losses, sample)
                if injected.hidden is None:
                    return None
                got = self._losses(short, sample)
                alone = cut.entering(whole, self._losses, sample[:1])
                self._rows_first = alone is not None and alone.shape[0] == 1 and injected.hidden.shape[0] == sample.shape[0]
        except (AttributeError, TypeError, RuntimeError, KeyError, IndexError):
            return None
        return cut if torch.allclose(got, want, rtol=tolerance, atol=tolerance) else None


@final
@dataclass(frozen=True)
class _Losses:
    """Per-token losses of a copy of the model. A value, not a method: what holds it must not hold the chains' space."""

    loss_fn: LossFn | None
    head: Head | None
    budget: int

    def __call__(self, model: nn.Module, ids: Int[Tensor, "b t1"], tied: TiedGradient | None = None) -> Float[Tensor, "b t"]:
        if self.loss_fn is not None:
            return _checked(self.loss_fn(model, ids), ids)
        return plain_losses(model, ids) if self.head is None else fused_losses(model, self.head, ids, self.budget, tied)


class _Below:
    """The lower layers, for one chain: model copies that are run up to a cut, from the rows or from a lower cut."""

    def __init__(self, model: nn.Module, run: Callable[[nn.Module, Tensor], Tensor]) -> None:
        self._model, self._run = model, run
        self._copies: dict[PrefixCut | None, tuple[nn.Module, Injected | None]] = {}

    def entering(self, prefixes: PrefixCache, cut: PrefixCut, rows: Int[Tensor, "b t1"], ids: Int[Tensor, "b t1"]) -> Float[Tensor, ...]:
        """What enters the cut for these rows, as kept or computed now. ids: the same rows where the model is."""
        return prefixes.get(cut, rows, lambda lower, known: self._compute(cut, ids, lower, known))

    def _compute(self, cut: PrefixCut, ids: Tensor, lower: PrefixCut | None, known: Tensor | None) -> Tensor:
        if lower not in self._copies:
            copy = with_parameters(self._model, {})
            self._copies[lower] = (copy, None if lower is None else lower.shorten(copy))
        model, injected = self._copies[lower]
        if injected is not None:
            injected.hidden = known
        entered = cut.entering(model, self._run, ids)
        assert entered is not None, "a cut is used only after it was tried"
        return entered


def moving(model: nn.Module, masks: Masks | None, computes_in: torch.dtype | None = None) -> tuple[ParameterSpace, dict[str, WeightSlice]]:
    """The space of what moves, and the slabs: a parameter with a slab is in the space as that slab alone, and without a mask."""
    parameters, resolved = named_parameters(model, masks)
    if resolved is None:
        return ParameterSpace(parameters, None, computes_in), {}
    slabs = slices_of(model, parameters, resolved)
    parts = {name: slab.take(parameters[name].detach()) for name, slab in slabs.items()}
    return ParameterSpace({**parameters, **parts}, {**resolved, **dict.fromkeys(parts)}, computes_in), slabs


def slices_of(model: nn.Module, parameters: Mapping[str, Tensor], masks: Masks) -> dict[str, WeightSlice]:
    """The parameters of which a mask keeps rows or columns; those with two names stay whole, since both modules need all of them."""
    uses = Counter(id(p) for _, p in model.named_parameters(remove_duplicate=False))
    slabs = {}
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if mask is None or parameter is None or mask.shape != parameter.shape or uses[id(parameter)] > 1:
            continue
        slab = weight_slice_of(mask.to(parameter.device))
        if slab is not None:
            slabs[name] = slab
    return slabs


def _checked(losses: Tensor, input_ids: Tensor) -> Tensor:
    want = (input_ids.shape[0], input_ids.shape[1] - 1)
    if tuple(losses.shape) != want:
        raise UserError(f"loss_fn returned shape {tuple(losses.shape)}", f"It must return a loss per predicted token, {want}.")
    return losses.float()
