"""Names of data sets as the identifiers that sample stores use."""

from __future__ import annotations


def obs_id(name: str) -> str:
    """devinterp's identifier for a dataset name: non-alphanumerics become _, and a leading digit gets one in front."""
    cleaned = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return "_" + cleaned if cleaned[:1].isdigit() else cleaned or "_"
