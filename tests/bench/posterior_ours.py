"""Our side of influence and susceptibilities."""

from __future__ import annotations

from typing import Any

import interp_tui_engine as engine

from .posterior_work import PosteriorBench


def find(name: str) -> Any:
    if name == "create_param_masks":
        from interp_tui_engine.models.restrictions.masks import create_param_masks

        return create_param_masks
    return getattr(engine, name)


if __name__ == "__main__":
    PosteriorBench(find).serve()
