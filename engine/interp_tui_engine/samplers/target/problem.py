"""What is sampled: parameters, and per-example losses as a function of them and of rows of data.

`ModuleTarget` is a language model (or any module) with token rows; `FunctionTarget` is any `loss(params, batch)`.
Everything downstream sees only `SamplingTarget`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...data.names import obs_id
from ...errors import UserError
from ..batches import observable_rows
from .language_model import Head, LossFn
from .parameters import Masks, ParameterSpace
from .prefix_cache import PrefixCache
from .restricted import RestrictedModel
from .space import FlatSpace
from .stacked_agreement import agrees
from .stacked_llama import StackedLlama, stacked_llama

Batch = Tensor | Mapping[str, Tensor] | Sequence[Tensor]
"""One batch: a tensor, or several, with the rows first."""

RowLoss = Callable[[Batch], Tensor]
"""batch of b rows -> losses (b, positions), float32, with their graph."""


@dataclass(frozen=True)
class Observable:
    """A fixed set of rows whose losses are recorded at every draw, `batch_size` rows at a time."""

    name: str
    data: Batch
    batch_size: int
    input_ids: Int[Tensor, "n t1"] | None

    @property
    def rows(self) -> int:
        """Rows that are evaluated at every draw."""
        return _length(self.data)


class SamplingTarget(Protocol):
    """What `run_chains` needs to know of the thing it samples."""

    @property
    def space(self) -> FlatSpace: ...

    rows: int
    positions: int
    observables: tuple[Observable, ...]

    def batch(self, rows: Int[Tensor, " b"]) -> Batch:
        """These rows of the sampling data."""

    def bind(self, leaves: Mapping[str, Tensor]) -> RowLoss:
        """The loss as a function of the batch, computing with these leaf tensors. Called once per chain, before threads start.

        The leaves have their parameters' shapes; losses are nats, (b,) or (b, positions).
        """

    def prepared(self, batch: Batch) -> Batch:
        """The batch as `functional` takes it, with whatever can be computed before a transform."""

    def functional(self, leaves: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The same loss as a pure function that torch.func can transform, of a prepared batch. Nats, (b,) or (b, positions)."""


def _length(data: Batch) -> int:
    return int(
        next(iter(data.values())).shape[0] if isinstance(data, Mapping) else (data if isinstance(data, Tensor) else data[0]).shape[0]
    )


def take(data: Batch, index: Int[Tensor, " b"] | slice) -> Batch:
    """Rows of a batch."""
    if isinstance(data, Tensor):
        return data[index]
    if isinstance(data, Mapping):
        return {key: value[index] for key, value in data.items()}
    return tuple(value[index] for value in data)


def chosen_observable(name: str, rows: Tensor, batches: int, batch_size: int, seed: int, positions: int) -> Observable:
    """The rows of a data set that are looked at at every draw. Raises UserError where they are not as long as the sampling rows."""
    if rows.ndim != 2 or rows.shape[1] != positions + 1:
        what = f"observable {name!r} has rows of shape {tuple(rows.shape)}"
        raise UserError(what, f"They must hold {positions + 1} tokens, as the sampling rows do.")
    chosen = torch.tensor(observable_rows(name, int(rows.shape[0]), batches * batch_size, seed))
    ids = rows.cpu()[chosen]
    return Observable(obs_id(name), ids, batch_size, ids)


@final
class ModuleTarget:
    """Next-token losses of a module over token rows `(n, t+1)`.

    observables: name -> (token rows, batches per draw). loss_fn: `(model, input_ids) -> (b, t)`, in place of cross-entropy.
    budget: bytes that one chunk of logits may take. prefixes: what is known of the layers below the restricted ones, shared with other
    problems of the same model; without one, the problem keeps its own within `budget`. computes_in: dtype of forward and backward passes
    where it is not that of the model's weights; chains keep theirs in float32, from the weights as given.
    The module itself is never changed: chains compute with copies in eval mode.
    """

    def __init__(
        self,
        model: nn.Module,
        token_rows: Int[Tensor, "n t1"],
        observables: Mapping[str, tuple[Int[Tensor, "m t1"], int]],
        batch_size: int,
        masks: Masks | None = None,
        loss_fn: LossFn | None = None,
        budget: int = 256 << 20,
        obs_seed: int = 1337,
        prefixes: PrefixCache | None = None,
        computes_in: torch.dtype | None = None,
    ) -> None:
        if token_rows.ndim != 2 or token_rows.shape[1] < 2:
            what = f"token rows of shape {tuple(token_rows.shape)}"
            raise UserError(what, "A row needs at least 2 tokens: one to predict from, one to predict.")
        self.rows, self.positions = int(token_rows.shape[0]), int(token_rows.shape[1]) - 1
        device = next(model.parameters()).device
        sample = token_rows[:2, : min(self.positions + 1, 17)].to(device)
        kept = PrefixCache(budget) if prefixes is None else prefixes
        self._model = RestrictedModel(model, masks, loss_fn, sample, budget, kept, computes_in)
        self.space: ParameterSpace = self._model.space
        self.head = self._model.head
        self.computed = sum(p.numel() for p in model.parameters())
        """Elements that a step computes with, those that stay fixed included."""
        self.custom_loss = loss_fn is not None
        """Whether the loss is a function of the module, which no transform can reach into."""
        self.observables = tuple(chosen_observable(name, *spec, batch_size, obs_seed, self.positions) for name, spec in observables.items())
        names = [o.name for o in self.observables]
        if len(set(names)) != len(names):
            raise UserError(f"observables {list(observables)} share an identifier after cleaning: {names}")
        # Rows stay with the host, which looks up by them what is known of the lower layers; a batch is copied when it is computed with.
        self._tokens = token_rows.cpu()
        self._source, self._budget = model, budget

    @property
    def tokens(self) -> Int[Tensor, "n t1"]:
        """All token rows, with the host."""
        return self._tokens

    @cached_property
    def stacked(self) -> StackedLlama | None:
        """The model in a form of which many copies compute as one, where there is one that gives the model's own losses and gradients."""
        if self.head != Head(1.0, None):
            return None
        stacked = stacked_llama(self._source, self.space, self._budget)
        ids = self._tokens[:2, : min(self.positions + 1, 17)].to(self.space.device)
        return stacked if stacked is not None and agrees(stacked, self._model.functional, self.space, ids) else None

    def batch(self, rows: Int[Tensor, " b"]) -> Tensor:
        return self._tokens[rows.cpu()]

    def bind(self, leaves: Mapping[str, Tensor]) -> RowLoss:
        loss = self._model.bind(leaves)
        return lambda batch: loss(_ids(batch))

    def whole(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The module's parameters that move, of the module's own shapes, from leaves that hold what moves of them."""
        return self._model.whole(leaves)

    def prepared(self, batch: Batch) -> Batch:
        return self._model.prepared(_ids(batch))

    def functional(self, leaves: Mapping[str, Tensor], batch: Batch) -> Tensor:
        assert isinstance(batch, (Tensor, Mapping))
        return self._model.functional(leaves, batch)


def _ids(batch: Batch) -> Tensor:
    assert isinstance(batch, Tensor)
    return batch


Loss = Callable[[Mapping[str, Tensor], Batch], Tensor]
"""(params, batch of b rows) -> losses (b,) or (b, positions)."""


@final
class FunctionTarget:
    """Any differentiable `loss(params, batch)`: regression, a toy singular model. Rows of `data` are the examples.

    observables: name -> (data, batches per draw).
    """

    def __init__(
        self,
        loss: Loss,
        parameters: Mapping[str, Float[Tensor, ...]],
        data: Batch,
        observables: Mapping[str, tuple[Batch, int]],
        batch_size: int,
        masks: Masks | None = None,
        obs_seed: int = 1337,
    ) -> None:
        self._loss, self._data = loss, data
        self.space = ParameterSpace(parameters, masks)
        self._fixed = {name: p.detach() for name, p in parameters.items() if masks is not None and name not in masks}
        self.rows = _length(data)
        self.observables = tuple(
            Observable(
                obs_id(name), take(rows, torch.tensor(observable_rows(name, _length(rows), n * batch_size, obs_seed))), batch_size, None
            )
            for name, (rows, n) in observables.items()
        )
        with torch.no_grad():
            trial = self.functional(self.space.anchors(), take(data, slice(0, 1)))
        self.positions = int(trial.shape[1])

    def batch(self, rows: Int[Tensor, " b"]) -> Batch:
        return take(self._data, rows)

    def bind(self, leaves: Mapping[str, Tensor]) -> RowLoss:
        return lambda batch: self.functional(leaves, batch)

    def prepared(self, batch: Batch) -> Batch:
        return batch

    def functional(self, leaves: Mapping[str, Tensor], batch: Batch) -> Tensor:
        losses = self._loss({**self._fixed, **leaves}, batch)
        if losses.ndim not in (1, 2):
            what = f"loss(params, batch) returned shape {tuple(losses.shape)}"
            raise UserError(what, "It must return one loss per example, (b,) or (b, positions).")
        return (losses[:, None] if losses.ndim == 1 else losses).float()
