"""The peer's side: devinterp 2.0.1 exactly as its README says to use it. Runs inside the peer's environment."""

from __future__ import annotations

from devinterp.slt.llc import compute_llc
from devinterp.slt.sampling import sample

from .work import Bench

if __name__ == "__main__":
    Bench(sample, compute_llc).serve()
