"""The peer's side of influence and susceptibilities: devinterp 2.0.1 as its README says to use it. Runs inside the peer's environment."""

from __future__ import annotations

from typing import Any

from .posterior_work import PosteriorBench


def find(name: str) -> Any:
    from devinterp.slt import bif, susceptibilities, weight_restrictions

    return {
        "compute_bif": bif.compute_bif,
        "susceptibilities": susceptibilities.susceptibilities,
        "create_param_masks": weight_restrictions.create_param_masks,
    }[name]


if __name__ == "__main__":
    PosteriorBench(find).serve()
