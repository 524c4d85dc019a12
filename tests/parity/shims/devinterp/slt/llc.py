"""Learning coefficients."""

from interp_tui_engine import compute_llc, llc

__all__ = ["compute_llc", "llc"]
