"""The work of `devinterp_work` with this engine's functions."""

from __future__ import annotations

from types import SimpleNamespace

import interp_tui_engine as engine

from .devinterp_work import Numbers, Work


def work() -> Work:
    """As a user of devinterp has it after changing the import; `as_theirs` are the keywords that give devinterp's own estimate."""
    names = ["sample", "llc", "bif", "susceptibilities", "create_param_masks", "default_nbeta", "sample_single_chain"]
    library = SimpleNamespace(**{name: getattr(engine, name) for name in names}, single_chain={})
    return Work(library, baseline="init", include_burnin=True)


def numbers() -> dict[str, Numbers | None]:
    return work().numbers()
