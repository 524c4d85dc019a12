"""Sampling."""

from interp_tui_engine import sample

__all__ = ["sample"]
