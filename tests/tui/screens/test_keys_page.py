"""The page of keys is that of the bindings."""

from __future__ import annotations

from pathlib import Path

from interp_tui.app import InterpApp
from interp_tui.screens import key_ids

PAGE = Path(__file__).parents[3] / "examples" / "keys.md"


def test_the_page_of_keys_is_what_the_bindings_say() -> None:
    written = key_ids.reference(InterpApp)
    assert PAGE.read_text(encoding="utf-8") == written, "interp-tui keys > examples/keys.md"
    assert all(f"`{name}`" in written for name in key_ids.bound(InterpApp))
