"""One chain."""

from interp_tui_engine import sample_single_chain

__all__ = ["sample_single_chain"]
