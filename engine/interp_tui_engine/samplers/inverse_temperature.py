"""The inverse temperature at which the posterior is sampled when nothing else is known. Torch-free."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..errors import UserError, WrongType


def default_nbeta(dataloader: Any, gradient_accumulation_steps: int = 1) -> float:
    """nβ = n / ln n for n rows in one step (Watanabe 2013, "A widely applicable Bayesian information criterion", of n data).

    dataloader: a torch DataLoader, whose batch_size counts, or the number of rows in a micro-batch. 1 row has no such temperature: nβ = 1
    then, with a warning. The value is devinterp's; whether it suits a model, `calibrate` tells.

    Raises WrongType for what is neither, UserError for fewer rows than one.
    """
    rows = dataloader if isinstance(dataloader, int) else getattr(dataloader, "batch_size", None)
    if isinstance(rows, bool) or not isinstance(rows, int):
        raise WrongType(f"dataloader is a {type(dataloader).__name__}", "give a DataLoader with a batch_size, or a number of rows")
    rows *= gradient_accumulation_steps
    if rows < 1:
        raise UserError(f"{rows} rows in a step", "give at least one")
    if rows == 1:
        warnings.warn("1 row in a step: n / ln n is not defined, nβ = 1 is taken", stacklevel=2)
        return 1.0
    return rows / math.log(rows)
