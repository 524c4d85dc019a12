"""Susceptibilities."""

from interp_tui_engine import compute_susceptibilities, susceptibilities

__all__ = ["compute_susceptibilities", "susceptibilities"]
