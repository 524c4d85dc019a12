"""`python -P -m interp_tui_engine.models.restrictions SOURCE REVISION PATTERN…`: what the patterns select, as one JSON object on stdout.

The terminal program imports no torch, so it asks a process of its own. Without a revision the second argument is empty.
"""

from __future__ import annotations

import json
import sys

from interp_tui_engine.errors import UserError


def main(arguments: list[str]) -> int:
    """Exit code 0 with {selected, total, parameters, notes, remarks}, or 2 with {error, hint}."""
    source, revision, *patterns = arguments
    try:
        from interp_tui_engine.models.skeleton import load_skeleton

        from .masks import masks_of, remarks_on, selection_of

        model = load_skeleton(source, revision or None)
        selection = selection_of(model, patterns or "full")
        remarks = remarks_on(model, masks_of(selection))
    except UserError as error:
        sys.stdout.write(json.dumps({"error": error.what, "hint": error.hint}) + "\n")
        return 2
    answer = {"selected": selection.selected, "total": selection.total, "parameters": selection.counts(), "notes": selection.notes}
    answer["remarks"] = remarks
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
