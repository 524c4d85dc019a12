"""Data and temperatures."""

from interp_tui_engine import default_nbeta, tokenize_and_concatenate

__all__ = ["default_nbeta", "tokenize_and_concatenate"]
