"""`keys`: every key of the app, with the id by which config.toml binds its action to another."""

from __future__ import annotations

from .output import out_text


def keys() -> int:
    """Print every key of the app, as Markdown."""
    from ..app import InterpApp
    from ..screens import key_ids

    out_text(key_ids.reference(InterpApp))
    return 0
