"""One kind of site a file, each with `PLACE`; found by their files. Torch-free."""

from __future__ import annotations

import importlib
import pkgutil

from ..points.place import Place


def _discover() -> dict[str, Place]:
    places = [importlib.import_module(f"{__name__}.{module.name}").PLACE for module in pkgutil.iter_modules(__path__)]
    return {place.name: place for place in sorted(places, key=lambda place: place.listed)}


PLACES: dict[str, Place] = _discover()
"""Every kind of site that lies in a block, by name, in the order in which messages list them."""
