"""devinterp's `sample_single_chain` on this engine: one chain, step by step, with callbacks.

The chain is the one of that number in `sample` with the same settings: equal losses, bit for bit where `sample` runs its chains one by one.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError, WrongType
from ..models.given import module_of
from ..samplers.batches import BatchOrder
from ..samplers.chains.chain import Chain, NonFinite
from ..samplers.chains.microbatch import Microbatch
from ..samplers.chains.record import ChainRecord
from ..samplers.chains.store import ArraySpec
from ..samplers.registry import METHODS
from ..samplers.settings import SamplerConfig
from ..samplers.target.problem import ModuleTarget
from .rows import Rows, token_ids
from .sampling import Masks, config_of

Evaluate = Callable[[nn.Module, Mapping[str, Tensor]], tuple[Tensor, Mapping[str, Any]]]
"""(model, {"input_ids": (b, t+1)}) -> per-token losses (b, t), and whatever else, which is not looked at."""


class SingleChain(NamedTuple):
    """Mean loss before each step's update, in nats a token (steps,), and why the chain ended early, if it did."""

    losses: NDArray[np.float64]
    failed: str | None


def sample_single_chain(
    ref_model: nn.Module,
    dataset: Rows,
    evaluate: Evaluate | None = None,
    param_masks: Masks | None = None,
    num_draws: int = 100,
    num_burnin_steps: int = 0,
    num_steps_bw_draws: int = 1,
    gradient_accumulation_steps: int = 1,
    sampling_method: str = "sgmcmc_sgld",
    sampling_method_kwargs: Mapping[str, Any] | None = None,
    chain: int = 0,
    seed: int = 100,
    dataloader_seed: int | None = None,
    device: str | None = None,
    callbacks: Sequence[Callable[..., None]] = (),
    step_callback: Callable[[int, int, None], None] | None = None,
    micro_callback: Callable[..., None] | None = None,
    batch_size: int = 32,
    init_noise: float | None = None,
    shuffle: bool = True,
    epoch_mode: str = "cycle",
) -> SingleChain:
    """Run chain number `chain`, calling back on the way. `ref_model` stays as it is; devinterp's argument order and names.

    evaluate: next-token cross-entropy when None. sampling_method_kwargs: lr and nbeta (or n_beta), localization, noise_level,
    weight_decay, bounding_box_size, save_metrics, and the method's own settings. dataloader_seed: of the order of rows; `seed` when None.

    callbacks get loss (b, t), draw, chain, model (with the weights of the draw, in eval mode) and optimizer at every draw;
    micro_callback gets loss, input_ids, chain, step and micro_step of every micro-batch; step_callback (chain, step, optimizer). There is
    no optimizer here: it is None. Unlike devinterp the model is in eval mode, and an order of rows is given by one seed for all chains.

    Raises UserError for settings that cannot be used. A loss that is not finite ends the chain with a warning.
    """
    if not isinstance(sampling_method, str):
        name = getattr(sampling_method, "__name__", type(sampling_method).__name__)
        raise WrongType(f"sampling_method is {name}", f"give the name of a sampler: {', '.join(METHODS)}")
    given = dict(sampling_method_kwargs or {})
    known = {"n_beta": given.pop("nbeta", given.pop("n_beta", None)), "llc_weight_decay": given.pop("weight_decay", None)}
    known |= {name: given.pop(name, None) for name in ("lr", "localization", "noise_level", "bounding_box_size", "save_metrics")}
    if known["lr"] is None or known["n_beta"] is None:
        raise UserError("sampling_method_kwargs has no lr or no nbeta", 'give both, as {"lr": 1e-4, "nbeta": 30.0}')
    config = config_of(
        **{name: value for name, value in known.items() if value is not None},
        **{"num_draws": num_draws, "num_burnin_steps": num_burnin_steps, "num_steps_bw_draws": num_steps_bw_draws},
        **{"gradient_accumulation_steps": gradient_accumulation_steps, "batch_size": batch_size, "num_chains": chain + 1},
        **{"init_seed": seed, "init_noise": init_noise, "shuffle": shuffle, "epoch_mode": epoch_mode},
        **{"sampling_method": sampling_method, "sampling_method_kwargs": given},
    )
    model = module_of(ref_model)
    model = model if device is None else model.to(device)
    ids = token_ids(dataset, "dataset")
    loss_fn = None if evaluate is None else lambda m, rows: evaluate(m, {"input_ids": rows})[0]
    problem = ModuleTarget(model, ids, {}, batch_size, masks=param_masks, loss_fn=loss_fn)
    return _SingleChain(model, problem, config, chain, dataloader_seed, callbacks, step_callback, micro_callback, ids).to_its_end()


class _SingleChain:
    """A chain that calls back."""

    def __init__(
        self,
        model: nn.Module,
        problem: ModuleTarget,
        config: SamplerConfig,
        chain: int,
        dataloader_seed: int | None,
        callbacks: Sequence[Callable[..., None]],
        step_callback: Callable[[int, int, None], None] | None,
        micro_callback: Callable[..., None] | None,
        ids: Tensor,
    ) -> None:
        ordered = config if dataloader_seed is None else config.model_copy(update={"init_seed": dataloader_seed})
        self.problem, self.order, self.config, self.ids = problem, BatchOrder(problem.rows, ordered), config, ids
        self.callbacks, self.step_callback, self.micro_callback = callbacks, step_callback, micro_callback
        micro = ArraySpec((), (chain + 1, config.num_sgld_steps, config.rows_per_step, problem.positions), "float32", 1)
        self.losses: list[NDArray[np.float32]] = []
        record = ChainRecord(chain, config, {"sampling_loss_micro": micro}, lambda name, where, values: self.losses.append(values[0]))
        self.chain = Chain(problem, config, record, self.order, Microbatch(config.batch_size, warnings.warn), None, 1)
        self.number = chain
        self.drawn = copy.deepcopy(model).eval() if callbacks else None

    def to_its_end(self) -> SingleChain:
        """Step until the last draw, or until a loss is not finite."""
        means = np.full(self.config.num_sgld_steps, np.nan)
        for step in range(self.config.num_sgld_steps):
            try:
                self.chain.step()
            except NonFinite as error:
                warnings.warn(f"chain {self.number} failed at step {step}: {error}", stacklevel=4)
                return SingleChain(means, str(error))
            losses = self.losses.pop()
            means[step] = losses.mean(dtype=np.float64)
            self._call_back(step, losses.reshape(-1, self.config.batch_size, losses.shape[1]))
        return SingleChain(means, None)

    def _call_back(self, step: int, losses: NDArray[np.float32]) -> None:
        for micro, (rows, loss) in enumerate(zip(self.order.step(step, self.number), losses, strict=True)):
            if self.micro_callback is not None:
                seen = {"input_ids": self.ids[rows], "chain": self.number, "step": step, "micro_step": micro}
                self.micro_callback(loss=torch.from_numpy(loss.copy()), **seen)
        if self.step_callback is not None:
            self.step_callback(self.number, step, None)
        draw = self.config.draw_at(step)
        if draw is None or self.drawn is None:
            return
        with torch.no_grad():
            weights = self.problem.whole(self.chain.weights.leaves)
            for name, parameter in self.drawn.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
            for callback in self.callbacks:
                mean = torch.from_numpy(losses.mean(0))
                callback(loss=mean, draw=draw, chain=self.number, model=self.drawn, optimizer=None)
