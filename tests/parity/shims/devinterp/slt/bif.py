"""Influences."""

from interp_tui_engine import bif, compute_bif

__all__ = ["bif", "compute_bif"]
