"""Masks."""

from interp_tui_engine import create_param_masks, preview_weight_restriction

__all__ = ["create_param_masks", "preview_weight_restriction"]
