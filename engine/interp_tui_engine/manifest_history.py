"""What the manifests of earlier runs leave unsaid, because there was no choice when they were made. Torch-free.

A run writes every default into its manifest, so a key that a run's own manifest (one with [provenance]) lacks is younger than the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import catalog

PARAMS: dict[str, tuple[Any, frozenset[str] | None]] = {
    "grouped_heads": ("own", None),  # lNhM left out the keys and values that heads share
    "positions": ("last", frozenset({"interventions", "steer"})),
}
"""Params that there were not, what runs did, and the kinds this is about (None: all that have them)."""

COMPUTE = {"noise": "torch", "update": "operations"}
"""Of [compute], on every device."""


def as_it_was_made(tables: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's own manifest with what runs chose before there was a choice; any other manifest as it is."""
    if not isinstance(tables.get("provenance"), Mapping):
        return tables
    made = {**tables, **_with_params(tables)}
    compute = tables.get("compute", {})
    if isinstance(compute, Mapping):
        made["compute"] = {**COMPUTE, **compute}
    if isinstance(steps := tables.get("step"), list):
        made["step"] = [{**step, **_with_params(step)} if isinstance(step, Mapping) else step for step in steps]
    return made


def _with_params(tables: Mapping[str, Any]) -> dict[str, Any]:
    """{"params": …} with what the kind did before it could be told, or nothing."""
    kind, params = tables.get("kind"), tables.get("params", {})
    if kind not in catalog.kind_names() or not isinstance(params, Mapping):
        return {}
    fields = catalog.get(str(kind)).params.model_fields
    unsaid = {
        name: value for name, (value, kinds) in PARAMS.items() if name in fields and name not in params and (kinds is None or kind in kinds)
    }
    return {"params": {**params, **unsaid}} if unsaid else {}
