"""Two ranks that hold a split model together do the runs of a list: what the tests of split models look at.

    python -m two_ranks RANK FOLDER      FOLDER/list.json has the manifests' tables by name; FOLDER/<rank>/<name> gets the runs

Processes of their own: in a test's, transformers may have been imported already for models on one device. Rank 0 leaves beside each run's
folder, in <name>.json, its result and the devices that it said it computes on.
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
from interp_tui_engine.events import RunStarted
from interp_tui_engine.numbers import finite
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import split_model
from interp_tui_engine.runtime.context import Context
from interp_tui_engine.samplers.sharded.ranks import Ranks

COUNT = 2


def run(tables: Mapping[str, Any], path: Path, group: Ranks) -> dict[str, Any]:
    """One run of the list as one of the ranks does it: its values, and the devices."""
    request = manifest.resolve(tables)
    folder = RunFolder.create(path)
    folder.shard(0).mkdir(parents=True, exist_ok=True)
    running = catalog.get(request.kind).run(split_model.in_step(Context(request, folder, 0, lambda: "go"), group))
    started: list[RunStarted] = []
    while True:
        try:
            event = next(running)
        except StopIteration as end:
            devices, parameters = [each.device for each in started], [each.provenance.get("parameters") for each in started]
            return {"values": finite(dict(end.value.values)), "devices": devices, "parameters": parameters}
        started += [event] if isinstance(event, RunStarted) else []


def main(rank: int, place: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=FileStore(str(place / "meeting"), COUNT), rank=rank, world_size=COUNT)
    group = Ranks(rank, COUNT, init_device_mesh("cpu", (COUNT,)))
    for name, tables in json.loads((place / "list.json").read_text()).items():
        done = run(tables, place / str(rank) / name, group)
        if rank == 0:
            (place / f"{name}.json").write_text(json.dumps(done))
        group.meet()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
