"""Scored prompts as activation records, for `train_sae`: one activation a prompt, and the latents of each."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64

from .. import atomic
from ..dictionaries.dictionary import Dictionary
from ..dictionaries.reservoir import Reservoir
from ..errors import UserError
from ..events import Stamped
from ..features import ids
from ..features.record_site import hidden_layer
from ..features.records import RecordReader
from .sampling import run

OnEvent = Callable[[Stamped], None]


def are_scored(dataset: str | Path) -> bool:
    """Whether a dataset is a file of scored prompts."""
    path = Path(dataset)
    if path.suffix not in (".jsonl", ".json") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        try:
            first = json.loads(next((line for line in file if line.strip()), "null"))
        except ValueError:
            return False
    return isinstance(first, dict) and "text" in first and "criterion_score" in first


def source_of(dataset: str | Path) -> str:
    """A file by its whole path, anything else as it is named."""
    return str(Path(dataset).absolute()) if Path(dataset).exists() else str(dataset)


@dataclass(frozen=True)
class Prompts:
    """What is read by which model: `model` is a manifest's table. `folder` is the dictionary's; further runs stand beside it."""

    model: Mapping[str, Any]
    dataset: str | Path | None
    folder: Path
    seed: int
    on_event: OnEvent

    def rows(self, layer: int | None, pool: str) -> Path:
        """A run that records what leaves block `layer`, a row a prompt, pooled over its tokens. Returns the record file."""
        if layer is None:
            raise UserError("layer is not given", "interp-lab's default, what leaves the final norm, is no site here; give a block, from 0")
        return self.recorded("prompts", {"features": "hidden", "layers": [layer], "pool": pool})

    def recorded(self, name: str, params: Mapping[str, Any]) -> Path:
        """The file of a run of kind records."""
        made = self.run("records", name, params)
        return made / str(atomic.read_json(made / "result.json")["path"])

    def run(self, kind: str, name: str, params: Mapping[str, Any]) -> Path:
        """The folder of a run on these prompts, which stands beside the dictionary's."""
        given = {"prompts": source_of(self.dataset or ""), **params}
        request = {"kind": kind, "name": name, "seed": self.seed, "model": dict(self.model), "params": given}
        return run(request, out=self.folder.with_name(f"{self.folder.name}-{name}"), on_event=self.on_event).path


def latents(artifact: Path, prompts: Prompts, out: Path) -> Path:
    """A run that records a dictionary's latents on the prompts' last tokens; the file is copied to `out`."""
    made = prompts.recorded("records", {"features": "sae", "sae": str(artifact.absolute()), "gzip": out.suffix == ".gz"})
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, out)
    return out


class RecordMatrix(NamedTuple):
    """A record file as a matrix: `layer` is the block whose output its columns are, None where they are something else."""

    values: Float[np.ndarray, "rows features"]
    scores: Float64[np.ndarray, " rows"]
    prompt_ids: list[str]
    texts: list[str]
    model: str
    layer: int | None


def rows_of(records: Path, model: str | None = None) -> RecordMatrix:
    """All rows of a record file, of one model. Raises UserError as RecordReader does."""
    reader = RecordReader([records], model=model)
    kept, blocks = Reservoir(None, 0), list(reader.blocks())
    for block in blocks:
        kept.add(block.starts, block.features, block.values)
    ids_and_texts = [name for block in blocks for name in block.prompt_ids], [text for block in blocks for text in block.texts]
    scores = np.concatenate([block.scores for block in blocks])
    return RecordMatrix(kept.matrix(len(reader.names)), scores, *ids_and_texts, str(reader.model), hidden_layer(reader.names, reader.about))


def sampled(rows: RecordMatrix, most: int | None, seed: int) -> RecordMatrix:
    """A random choice of so many rows, in their order; all of them where there are no more."""
    if most is None or most >= len(rows.values):
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows.values)), most))
    texts = [rows.prompt_ids[i] for i in kept], [rows.texts[i] for i in kept]
    return RecordMatrix(rows.values[kept], rows.scores[kept], *texts, rows.model, rows.layer)


def latents_of_rows(dictionary: Dictionary, records: Path, model: str | None, out: Path) -> Path:
    """Activation records of a dictionary's latents on the rows of a record file: those that fire."""
    rows = rows_of(records, model)
    codes_NM = dictionary.encode(torch.from_numpy(rows.values)).numpy()
    names = [f"SAE:F{i}" if rows.layer is None else ids.latent(rows.layer, i) for i in range(codes_NM.shape[1])]
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(out) as beside, beside.open("w", encoding="utf-8") as file:
        for code_M, score, prompt, text in zip(codes_NM, rows.scores, rows.prompt_ids, rows.texts, strict=True):
            features = {names[i]: float(code_M[i]) for i in np.flatnonzero(code_M)}
            row = {"model": rows.model, "prompt_id": prompt, "text": text, "criterion_score": float(score), "features": features}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return out
