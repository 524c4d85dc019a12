"""Where a run is, in a few words: what a scheduler says of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def where(cluster: Mapping[str, Any]) -> str:
    """A run's tasks with its scheduler, such as 'slurm gpu: 3 run on n1, n2 · 1 waits (Priority)'; empty without one."""
    if not cluster:
        return ""
    counts = [value if isinstance(value := cluster.get(key), int) else 0 for key in ("running", "waiting")]
    nodes = [str(node) for node in listed] if isinstance(listed := cluster.get("nodes"), list) else []
    reason, starts = str(cluster.get("reason") or ""), str(cluster.get("starts") or "")
    parts = []
    if counts[0]:
        on = f" on {', '.join(nodes[:3])}{', …' if len(nodes) > 3 else ''}" if nodes else ""
        parts.append(f"{counts[0]:,} {'runs' if counts[0] == 1 else 'run'}{on}")
    if counts[1]:
        why = f" ({reason}{f', starts {starts.replace(chr(84), chr(32))[:16]}' if starts else ''})" if reason else ""
        parts.append(f"{counts[1]:,} {'waits' if counts[1] == 1 else 'wait'}{why}")
    name = " ".join(filter(None, [str(cluster.get("scheduler") or "cluster"), str(cluster.get("partition") or "")]))
    return f"{name}: {' · '.join(parts) or 'submitted'}"
