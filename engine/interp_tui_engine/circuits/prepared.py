"""Pairs of prompts made ready for ablation: both runs of each, and those whose clean runs can stand together in one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..models.device import sent
from ..sites.answers import Answer, Metric, metric_of
from ..sites.branched_run import BranchedRun, record, together
from ..sites.hooks import activations
from ..sites.site import Site
from ..sites.site_map import SiteMap

Node = Site
"""A head, Site('z', layer, head), or an MLP, Site('mlp_out', layer)."""


class Example(NamedTuple):
    """One pair: token ids of equal length and what should follow the clean one."""

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: Answer


@dataclass(frozen=True)
class Prepared:
    """One example's clean run, from which ablated runs branch off."""

    example: Example
    fork: BranchedRun
    score: Metric
    clean: dict[Site, Tensor]
    corrupt: dict[Site, Tensor]
    corrupt_stream: Tensor
    end: Float[Tensor, " vocab"]
    """The clean run's logits of the next token."""

    @property
    def first(self) -> int:
        """The first position at which the prompts differ: before it, corrupt values are clean ones."""
        return next(i for i, (a, b) in enumerate(zip(self.example.clean, self.example.corrupt, strict=True)) if a != b)


class Together(NamedTuple):
    """Examples whose clean runs are the rows of one run."""

    indices: tuple[int, ...]
    fork: BranchedRun
    first: int
    """The position before which the prompts of none of them differ."""


@torch.no_grad()
def prepare(site_map: SiteMap, example: Example, metric: str) -> Prepared:
    """Run both prompts once."""
    device = next(site_map.embed.parameters()).device
    clean, corrupt = (sent([ids], device) for ids in (example.clean, example.corrupt))
    sites = [Site(name, layer) for layer in range(site_map.num_layers) for name in ("z", "mlp_out")]
    start = Site("resid_pre", 0)
    fork = record(site_map, clean)
    end = fork.logits([len(example.clean) - 1])[0]
    score = metric_of(metric, example.answer, end)
    seen = activations(site_map, corrupt, [*sites, start])
    return Prepared(example, fork, score, activations(site_map, clean, sites), seen, seen[start], end)


def output_of(values: dict[Site, Tensor], node: Node) -> Tensor:
    """A node's output at every position: (pos, head_dim) or (pos, d_model)."""
    value = values[node.whole][0]
    return value if node.head is None else value[:, node.head]


def grouped(runs: Sequence[Prepared], first: Callable[[Prepared], int], most: int) -> list[Together]:
    """Examples in groups of at most `most` that can stand together: those of one length, where the model's blocks allow it."""
    by_length: dict[int, list[int]] = {}
    for index, run in enumerate(runs):
        by_length.setdefault(run.fork.length, []).append(index)
    groups = []
    for alike in by_length.values():
        parts = [tuple(alike[i : i + most]) for i in range(0, len(alike), most)]
        forks = [together([runs[i].fork for i in part]) for part in parts]
        if any(fork is None for fork in forks):
            parts = [(index,) for index in alike]
            forks = [runs[index].fork for index in alike]
        groups += [Together(part, fork, min(first(runs[i]) for i in part)) for part, fork in zip(parts, forks, strict=True) if fork]
    return groups
