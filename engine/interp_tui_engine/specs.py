"""The tables of a manifest that every kind shares: which model, which data, which machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator


class Table(BaseModel):
    """A manifest table: unknown keys are errors, values are not coerced across types, frozen once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


FILE: dict[str, JsonValue] = {"file": True}
"""Mark of a field of Params that names files or run folders (a string or a list): `Field(..., json_schema_extra=FILE)`.

Relative paths in it are resolved from the manifest's folder, and it is an error if there is nothing there.
"""


DEVICE = r"cpu|mps|cuda(:\d+)?"


class ParallelSpec(Table):
    """How a model that is larger than a device is split over several, where its weights are read and not moved."""

    tensor: int = Field(1, ge=1, le=64, description="devices that share every matrix, by transformers' tensor-parallel plan")


class ModelSpec(Table):
    """Which model, at which point of its training, in which precision and where."""

    source: str = Field("builtin:tiny", min_length=1, description="builtin:tiny, a Hugging Face id, a folder, or a .gguf file")
    revision: str | None = Field(None, description="a checkpoint of builtin:tiny, or a hub model's git revision")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="precision of the weights")
    device: str = Field("auto", pattern=rf"^(auto|{DEVICE})$", description="auto, cpu, cuda, cuda:1, mps")
    backend: Literal["transformers", "transformer_lens", "nnsight"] = Field("transformers", description="who runs the forward pass")
    parallel: ParallelSpec | None = Field(None, description="over how many devices the model is split: { tensor = 2 }; one when left out")
    partial: bool = Field(False, description="load weights that lack tensors (random then) or hold others; else that is an error")

    @property
    def devices(self) -> int:
        """How many devices hold the model together, each a part of every matrix."""
        return 1 if self.parallel is None else self.parallel.tensor


class DataSpec(Table):
    """Which text, as how many packed token sequences of which length."""

    source: str = Field(
        "builtin:prose", min_length=1, description="builtin:facts|prose|code, a hub id, a folder, or .jsonl .txt .csv .parquet"
    )
    context: int = Field(64, ge=1, description="predicted positions; a row holds context + 1 tokens")
    rows: int | None = Field(None, ge=1, description="how many rows to take; all when left out")
    split: str | None = Field(None, description="split of a hub dataset; for builtin data: train or heldout")
    text_column: str | None = Field(None, description="column that holds the text; 'text' or the only one when left out")
    config_name: str | None = Field(None, description="configuration of a hub dataset")
    shuffle_seed: int | None = Field(None, description="shuffle documents with this seed before packing")
    prepend_bos: Literal["auto"] | bool = Field(
        "auto", description="begin every row with the token that starts a text; auto: where the model's tokenizer does so"
    )


NAME_OF_SLURM = r"^[^\s#'\"\\$`;&|<>]+$"
"""A name that Slurm knows (a partition, an account, a node list): one word, with nothing in it that a script could take for more."""
SLURM_TIME = r"^(\d+|\d+:\d\d|\d+:\d\d:\d\d|\d+-\d+|\d+-\d+:\d\d|\d+-\d+:\d\d:\d\d|\d+(\.\d+)?\s*(min|h))$"


class SlurmSpec(Table):
    """How a run's tasks are submitted to Slurm; what is left out is taken from [cluster] of the user's config, else left to Slurm."""

    partition: str | None = Field(None, pattern=NAME_OF_SLURM, description="which partition; several as 'a,b'")
    account: str | None = Field(None, pattern=NAME_OF_SLURM, description="whose budget")
    qos: str | None = Field(None, pattern=NAME_OF_SLURM, description="quality of service")
    time: str | None = Field(
        None, pattern=SLURM_TIME, description="limit of one task, as Slurm writes it ('2:00:00', '1-12') or '90min', '2h'"
    )
    gpus_per_task: int | None = Field(None, ge=0, le=64, description="GPUs of one task; none when left out")
    cpus_per_task: int | None = Field(None, ge=1, le=1024, description="cores of one task")
    mem: str | None = Field(None, pattern=r"^\d+(K|M|G|T)?$", description="memory of one task, such as '16G'")
    constraint: str | None = Field(None, pattern=r"^[\w.,:|&()\[\]*+-]+$", description="features that the nodes must have")
    nodelist: str | None = Field(None, pattern=NAME_OF_SLURM, description="the nodes to run on, such as 'n[1-4]'")
    tasks: Literal["auto"] | int = Field("auto", description="how many tasks share one run; auto: as many as there is work for, at most 8")
    array_parallelism: int | None = Field(None, ge=1, description="tasks that run at the same time, at most")
    setup: list[str] = Field(
        default_factory=list,
        description="shell lines before the worker: 'module load cuda', 'export NAME=value', 'conda activate NAME'; others in the config",
    )
    extra: list[str] = Field(default_factory=list, description="further options of sbatch, such as '--exclusive'")
    signal_before: int = Field(120, ge=10, le=3600, description="seconds before the time limit at which a worker saves and ends")
    max_requeues: int = Field(3, ge=0, le=1000, description="how often a task is submitted again that lost its node or its time")

    @field_validator("tasks")
    @classmethod
    def _are_some(cls, tasks: str | int) -> str | int:
        if isinstance(tasks, int) and not 1 <= tasks <= 1000:
            raise ValueError("is a number of tasks from 1 to 1000, or 'auto'")
        return tasks


class ComputeSpec(Table):
    """How the work is laid out on the machine. Recorded in the resolved manifest, since numbers may depend on it."""

    devices: Literal["auto"] | list[str] = Field(
        "auto",
        description="'auto': all GPUs, unless model.device names one; a list (['cuda:0', 'cuda:1']): a worker, or a sweep's run, on each",
    )
    gpus_per_worker: int = Field(
        1, ge=1, le=1024, description="devices that hold one model together, each a part of its weights: for models larger than a GPU"
    )
    executor: Literal["local", "slurm"] = Field("local", description="where workers run: on this machine, or as tasks of Slurm")
    slurm: SlurmSpec | None = Field(None, description="how tasks are submitted, where executor = 'slurm'")
    checkpoint_every: str = Field(
        "auto", pattern=r"^(auto|\d{1,9}(\.\d{1,9})?\s*(s|min|h))$", description="'auto', or a time such as '30s', '5min', '1h'"
    )
    chains: Literal["auto", "threads", "stacked", "vmap", "serial"] = Field(
        "auto",
        description="how chains run: side by side on threads, batched in one (stacked: Llamas, with fewest launches; vmap), or in series",
    )
    noise: Literal["auto", "torch", "philox"] = Field(
        "auto", description="samplers' normal numbers: torch's, or Philox's, which are the same on every device model"
    )
    update: Literal["auto", "operations", "kernel"] = Field(
        "auto", description="samplers' updates on NVIDIA GPUs with Philox's noise: by one kernel where it runs, or operation by operation"
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32",
        description="of forward and backward passes: tf32, products on NVIDIA GPUs; bf16, where kinds sample, over weights in float32",
    )
    threads: int | None = Field(None, ge=1, le=4096, description="CPU cores to use; all when left out")
    deterministic: bool = Field(True, description="GPUs: only operations that give the same bits each time; false may be faster")
    memory_budget: str = Field(
        "auto", pattern=r"^(auto|\d{1,9}(\.\d{1,9})?\s*(MB|MiB|GB|GiB))$", description="bound on one chunk of logits, such as '256MiB'"
    )

    @field_validator("devices")
    @classmethod
    def _are_devices(cls, devices: str | list[str]) -> str | list[str]:
        if isinstance(devices, list) and (message := devices_problem(devices)):
            raise ValueError(message)
        return devices


def devices_problem(devices: Sequence[str]) -> str | None:
    """What is wrong with a list of devices, before anyone looks whether this machine has them."""
    if not devices:
        return "is empty; name devices, such as ['cuda:0', 'cuda:1'], or leave it out"
    odd = next((device for device in devices if not re.fullmatch(DEVICE, device)), None)
    return None if odd is None else f"{odd!r} is no device; a device is cpu, cuda, cuda:1 or mps"
