"""Weights load whole or not at all: what a checkpoint lacks or holds besides, and values that are no numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from interp_tui_engine.errors import UserError

_NAMED = 3
"""How many tensors an error names."""


@dataclass(frozen=True)
class Difference:
    """Tensors of a model that its files do not hold (tied ones and buffers computed on loading left out), and tensors of the files that the
    model has no place for."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected)

    def as_json(self) -> dict[str, list[str]]:
        """For the record of a run."""
        return {"missing": list(self.missing), "unexpected": list(self.unexpected)}


WHOLE = Difference()
"""Of weights that fit their model."""


def difference(missing: Iterable[str], unexpected: Iterable[str]) -> Difference:
    """A Difference with its names in order."""
    return Difference(tuple(sorted(missing)), tuple(sorted(unexpected)))


def check_whole(source: str, apart: Difference, *, partial: bool) -> None:
    """Raise UserError, naming the tensors, where a model and its files differ and the user has not said that they may."""
    if partial or not apart:
        return
    parts = []
    if apart.missing:
        parts.append(f"{counted(apart.missing)} of the model {_are(apart.missing)} missing from its files ({listed(apart.missing)})")
    if apart.unexpected:
        parts.append(
            f"{counted(apart.unexpected)} of its files {_have(apart.unexpected)} no place in the model ({listed(apart.unexpected)})"
        )
    raise UserError(
        f"{source}: the weights do not fit the configuration: {'; '.join(parts)}",
        "fetch the files again, or convert them; model.partial = true loads what fits and leaves the rest random, which the run records",
    )


def check_finite(source: str, module: nn.Module, dtype: torch.dtype) -> None:
    """Raise UserError, naming the tensors, where weights are NaN or infinite."""
    bad = [name for name, parameter in module.named_parameters() if not _is_finite(parameter)]
    if bad:
        narrow = dtype == torch.float16
        hint = (
            "dtype = 'float32' or 'bfloat16' may hold them" if narrow else "the training diverged or the file is damaged: use another one"
        )
        raise UserError(
            f"{source}: {counted(bad)} of its weights {'holds' if len(bad) == 1 else 'hold'} NaN or infinity ({listed(bad)})", hint
        )


def counted(names: Collection[str]) -> str:
    """'1 tensor', '5 tensors'."""
    return "1 tensor" if len(names) == 1 else f"{len(names):,} tensors"


def listed(names: Collection[str]) -> str:
    """The first few names."""
    shown = [name[:100] for name in list(names)[:_NAMED]]
    return ", ".join([*shown, "…"] if len(names) > _NAMED else shown)


def _is_finite(parameter: torch.Tensor) -> bool:
    if parameter.numel() == 0 or not parameter.is_floating_point():
        return True
    if hasattr(parameter, "to_local"):  # of a model that several devices hold
        parameter = parameter.to_local()
    low, high = torch.aminmax(parameter)  # both are NaN where any value is; no copy is made
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _are(names: Collection[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _have(names: Collection[str]) -> str:
    return "has" if len(names) == 1 else "have"
