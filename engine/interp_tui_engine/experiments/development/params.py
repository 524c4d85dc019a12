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
    seeds: int = Field(1, ge=1, le=20, description="samplings of each checkpoint, each with the next seed; their spread is in the errors")
    facts: bool = Field(True, description="ask each checkpoint the facts that builtin:facts states")


def checkpoint_manifest(manifest: Manifest, revision: str, seed: int = 0) -> Manifest:
    """The run of one checkpoint, with the seed so many after the first: susceptibilities where parts are followed, else the LLC alone."""
    params: Params = manifest.params
    kept = params.model_dump(exclude={"revisions", "facts", "seeds"})
    if kept["init_seed"] is not None:
        kept["init_seed"] += seed
    kept = {name: value for name, value in kept.items() if value is not None}
    if not params.restrictions:
        del kept["restrictions"]
    tables = manifest.to_dict()
    kind = "susceptibilities" if params.restrictions else "llc"
    return resolve(
        {**tables, "kind": kind, "seed": manifest.seed + seed, "params": kept, "model": {**tables["model"], "revision": revision}}
    )
