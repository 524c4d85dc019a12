"""The other rank of the tests of split models: it does the runs of a list, in step with the test's own process.

python -m second_rank MEETING LIST FOLDER      LIST is a JSON file of manifests' tables, by name
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import FileStore  # type: ignore[attr-defined]
from torch.distributed.device_mesh import init_device_mesh

from interp_tui_engine import catalog, manifest
from interp_tui_engine.events import Event
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import split_model
from interp_tui_engine.runtime.context import Context
from interp_tui_engine.samplers.sharded.ranks import Ranks

COUNT = 2


def joined(meeting: Path, rank: int) -> Ranks:
    """The two ranks, once both are there."""
    dist.init_process_group("gloo", store=FileStore(str(meeting), COUNT), rank=rank, world_size=COUNT)
    return Ranks(rank, COUNT, init_device_mesh("cpu", (COUNT,)))


def run(tables: Mapping[str, Any], path: Path, group: Ranks) -> tuple[catalog.Result, list[Event]]:
    """One run of the list as one of the ranks does it."""
    request = manifest.resolve(tables)
    folder = RunFolder.create(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    context = split_model.in_step(Context(request, folder, 0, lambda: "go"), group)
    running, events = catalog.get(request.kind).run(context), []
    while True:
        try:
            events.append(next(running))
        except StopIteration as end:
            return end.value, events


def main(meeting: Path, requests: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    group = joined(meeting, 1)
    for name, tables in json.loads(requests.read_text()).items():
        run(tables, folder / name, group)
        group.meet()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
