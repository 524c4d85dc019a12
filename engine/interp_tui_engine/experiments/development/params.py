"""What development may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from pydantic import Field

from ...manifest import Manifest, resolve
from .. import _sampling


class Params(_sampling.ObservingParams):
    """The checkpoints, and how each is sampled."""

    revisions: list[str] = Field(min_length=2, max_length=100, description="checkpoints in the order of training: model.revision of each")
    restrictions: list[str | list[str]] = Field(
        default=[], description="parts whose susceptibilities to follow, such as 'l1 attn'; each is one more sampling a checkpoint"
    )
    facts: bool = Field(True, description="ask each checkpoint the facts that builtin:facts states")


def checkpoint_manifest(manifest: Manifest, revision: str) -> Manifest:
    """The run of one checkpoint: susceptibilities where parts are followed, else the LLC alone."""
    params: Params = manifest.params
    kept = params.model_dump(exclude={"revisions", "facts"})
    kept = {name: value for name, value in kept.items() if value is not None}
    if not params.restrictions:
        del kept["restrictions"]
    tables = manifest.to_dict()
    kind = "susceptibilities" if params.restrictions else "llc"
    return resolve({**tables, "kind": kind, "params": kept, "model": {**tables["model"], "revision": revision}})
