"""A checked manifest as a value, and the steps of a pipeline. Reading and checking them is the job of `manifest`. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import tomli_w
from pydantic import Field

from .specs import ComputeSpec, DataSpec, ModelSpec, Table

SWEEP = "sweep"
"""What the run of a sweep is called, whatever the kind of its points."""


class StepSpec(Table):
    """One step: a manifest of its kind, less what it shares with the pipeline."""

    id: str = Field("", description="its name in references and the name of its run folder; its kind when left out")
    kind: str = Field(description="what to do; any kind but pipeline")
    seed: int | None = Field(None, ge=0, lt=2**63, description="its own seed; the pipeline's when left out")
    model: dict[str, Any] = Field(default_factory=dict, description="keys of [model] that differ from the pipeline's")
    data: dict[str, dict[str, Any]] = Field(default_factory=dict, description="data sets of its own, beside the pipeline's")
    params: dict[str, Any] = Field(default_factory=dict, description="the kind's own parameters; text may hold ${step} and ${step.key}")


class Manifest(Table):
    """A checked and fully resolved run request: every default is filled in, every relative path made absolute."""

    kind: str
    name: str
    seed: int
    model: ModelSpec | None
    data: dict[str, DataSpec]
    params: Any
    """The kind's own Params."""
    compute: ComputeSpec
    sweep: dict[str, list[Any]] = Field(default_factory=dict)
    """Swept keys and their values. The keys themselves hold the first point's."""
    step: list[StepSpec] = Field(default_factory=list)
    """The steps of a pipeline; those of another kind are none."""

    @property
    def run_kind(self) -> str:
        """The kind that a run of this manifest is listed under: its own, or that of all sweeps."""
        return SWEEP if self.sweep else self.kind

    @property
    def together(self) -> int:
        """How many devices hold one model: as weights that move (`gpus_per_worker`), or as matrices that are only read (`parallel`)."""
        return max(self.compute.gpus_per_worker, self.model.devices if self.model is not None else 1)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as TOML tables; giving them back to `parse` gives an equal manifest. Unset optional keys are left out."""
        tables: dict[str, Any] = {"kind": self.kind, "name": self.name, "seed": self.seed}
        if self.model is not None:
            tables["model"] = without_none(self.model.model_dump())
        if self.data:
            tables["data"] = {name: without_none(spec.model_dump()) for name, spec in self.data.items()}
        tables["params"] = without_none(self.params.model_dump())
        tables["compute"] = without_none(self.compute.model_dump())
        if self.sweep:
            tables["sweep"] = {key: list(values) for key, values in self.sweep.items()}
        if self.step:
            tables["step"] = [{key: value for key, value in without_none(step.model_dump()).items() if value != {}} for step in self.step]
        return tables

    def to_toml(self, **recorded: Mapping[str, Any]) -> str:
        """The manifest as TOML text, with further tables such as provenance and result after it."""
        extra = {name: without_none(dict(table)) for name, table in recorded.items() if table}
        return tomli_w.dumps(self.to_dict() | extra)

    def digest(self) -> str:
        """sha256 over what decides the numbers: everything but the name and which scheduler. Equal digests mean the same request."""
        tables = self.to_dict()
        del tables["name"]
        tables["compute"]["executor"] = "local"
        tables["compute"].pop("slurm", None)
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def without_none(value: Any) -> Any:
    """Tables without the keys that are not set, which TOML cannot write."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [without_none(v) for v in value]
    return value
