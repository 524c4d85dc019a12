"""Sample, then estimate, in one call: devinterp's `bif` and `susceptibilities` on this engine.

The estimates themselves take stores: `compute_bif`, `compute_susceptibilities`. The kinds of these names use the same estimators; their
generators are not drained here, as they begin with a manifest where these functions are given modules, rows and masks (see `sampling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn

from ..errors import UserError
from ..estimators.bif import compute_bif
from ..estimators.bif_traces import Method, Reduce
from ..estimators.susceptibilities import Paired, compute_susceptibilities
from ..models.given import module_of
from ..samplers.target.prefix_cache import PrefixCache
from .rows import Rows
from .sampling import LossFn, Masks, sample

PREFIX_BYTES = 256 << 20


def bif(
    model: nn.Module,
    dataset: Rows,
    observables: Mapping[str, Rows | tuple[Rows, int]],
    *,
    lr: float,
    n_beta: float,
    param_masks: Masks | None = None,
    correlation_method: Method = "token",
    reduce_chain_dimension_method: Reduce = "stack",
    average_tokenwise_bif: bool = False,
    compute_covariance: bool = False,
    bif_batch_size: int = 32,
    bif_device: str | None = None,
    loss_fn: LossFn | None = None,
    **kwargs: Any,
) -> xr.Dataset:
    """Sample, then correlate the observables' losses over the draws (arXiv 2509.26544). kwargs go to `sample`; see it and `compute_bif`."""
    samples = sample(model, dataset, observables, lr=lr, n_beta=n_beta, param_masks=param_masks, loss_fn=loss_fn, **kwargs)
    return compute_bif(
        samples,
        correlation_method=correlation_method,
        reduce_chain_dimension_method=reduce_chain_dimension_method,
        average_tokenwise_bif=average_tokenwise_bif,
        compute_covariance=compute_covariance,
        batch_size=bif_batch_size,
        device=bif_device,
    )


def susceptibilities(
    model: nn.Module,
    dataset: Rows,
    observables: Mapping[str, Rows | tuple[Rows, int]],
    weight_restrictions: Mapping[str, Masks | None],
    *,
    sampling_task: str,
    lr: float,
    n_beta: float,
    loss_fn: LossFn | None = None,
    include_sampling_task: bool = False,
    baseline_loss: Paired = "paired",
    **kwargs: Any,
) -> xr.DataTree:
    """Sample each restriction in turn, then compute susceptibilities (arXiv 2504.18274). kwargs go to `sample`.

    weight_restrictions: name -> parameter masks; "full" -> None, the whole model, must be among them. An output_path `samples.zarr`
    becomes `samples_full.zarr`, `samples_l0h1.zarr`, …: restrictions that are there already are not sampled again.

    baseline_loss = "init" gives devinterp's number.

    Raises UserError, before anything is sampled, for names that are not there. See `sample` and `compute_susceptibilities`.
    """
    if "full" not in weight_restrictions:
        raise UserError("weight_restrictions has no 'full'", "add 'full': None, the unrestricted model that the others are compared with")
    if len(weight_restrictions) == 1:
        raise UserError("weight_restrictions holds nothing but 'full'", "add a restriction, as 'l0h0': create_param_masks(model, 'l0h0')")
    if sampling_task not in observables:
        raise UserError(f"sampling_task {sampling_task!r} is no observable", f"observables: {', '.join(observables) or 'none'}")
    if not include_sampling_task and len(observables) == 1:
        raise UserError(f"there is no observable besides {sampling_task!r}", "observe other data too, or set include_sampling_task=True")
    given = kwargs.pop("output_path", None)
    base = None if given is None else Path(given)
    model = module_of(model)
    if kwargs.get("device") is not None:
        model = model.to(kwargs["device"])
    shared = PrefixCache(PREFIX_BYTES)
    trees = {
        name: sample(
            model,
            dataset,
            observables,
            lr=lr,
            n_beta=n_beta,
            param_masks=masks,
            loss_fn=loss_fn,
            prefixes=shared,
            output_path=None if base is None else base.with_name(f"{base.stem}_{name}{base.suffix}"),
            **kwargs,
        )
        for name, masks in weight_restrictions.items()
    }
    return compute_susceptibilities(trees, sampling_task, include_sampling_task=include_sampling_task, baseline_loss=baseline_loss)
