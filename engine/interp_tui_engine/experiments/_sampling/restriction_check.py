"""What a restriction means before anything is loaded: from the model's configuration and the headers of its weights. Torch-free.

Known for the builtin models and for folders with safetensors; others are looked at when the run starts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ... import untrusted
from ...errors import Problem, UserError
from ...manifest import Manifest
from ...models import builtin_index
from ...models.parameter_count import safetensors_shapes
from ...models.restrictions.patterns import as_taken

if TYPE_CHECKING:
    from ...models.restrictions.parameter_map import ParameterMap


@dataclass(frozen=True)
class Load:
    """What a restriction makes a step cost: elements that move, elements in and above the lowest layer that holds any, and all elements."""

    moving: int
    above: int
    total: int

    def __str__(self) -> str:
        return f"{self.moving:,} of {self.total:,} move"


def load_of(manifest: Manifest, restriction: str | Sequence[str]) -> Load | None:
    """The cost of a restriction; None where the model is not known before it is loaded, or the restriction is none it has."""
    parameter_map = _parameter_map(manifest)
    if parameter_map is None:
        return None
    from ...models.restrictions.selection import select

    try:
        chosen = select(parameter_map, as_taken(restriction, manifest.params.grouped_heads))
    except UserError:
        return None
    sizes = {name: prod(shape) for name, shape in parameter_map.shapes.items()}
    pattern = re.compile(re.escape(parameter_map.family.blocks) + r"\.(\d+)\.")
    after = (parameter_map.family.final_norm, *parameter_map.family.unembed)

    def depth(name: str) -> int:
        match = pattern.match(name)
        return int(match[1]) if match else parameter_map.layers if any(path and name.startswith(path) for path in after) else -1

    lowest = min(map(depth, chosen.chosen))
    above = sum(size for name, size in sizes.items() if depth(name) >= lowest)
    tied = sum(sizes[name] for name in parameter_map.below(*parameter_map.family.unembed) if depth(name) < lowest)
    return Load(chosen.selected, above + tied, sum(sizes.values()))


def parts_in(parameter_map: ParameterMap, restriction: str) -> list[str]:
    """All parts that 'heads' or 'layers' stands for; none where the model has none."""
    if restriction == "layers":
        return [f"l{layer}" for layer in range(parameter_map.layers)]
    heads = [(layer, parameter_map.heads(layer)) for layer in range(parameter_map.layers)]
    return [f"l{layer}h{head}" for layer, there in heads if there is not None for head in range(there.count)]


def parts_of(manifest: Manifest, restriction: str) -> list[str] | None:
    """What 'heads' or 'layers' stands for in the manifest's model; None where that is not known before it is loaded."""
    parameter_map = _parameter_map(manifest)
    if parameter_map is not None:
        try:
            return parts_in(parameter_map, restriction)
        except UserError:
            return None  # loading says it better
    path = Path(manifest.model.source) if manifest.model is not None else Path()
    counts = _gguf_counts(str(path), path.stat().st_mtime_ns) if path.suffix == ".gguf" and path.is_file() else None
    if counts is None:
        return None
    layers, heads = counts
    if restriction == "layers":
        return [f"l{layer}" for layer in range(layers)]
    return [f"l{layer}h{head}" for layer in range(layers) for head in range(heads)]


def problems(manifest: Manifest, restriction: str | Sequence[str], path: str) -> list[Problem]:
    """What is wrong with a restriction, as far as it can be told now."""
    parameter_map = _parameter_map(manifest)
    if parameter_map is None:
        return []
    from ...models.restrictions.patterns import Named, parse
    from ...models.restrictions.selection import select

    texts = [restriction] if isinstance(restriction, str) else list(restriction)
    if manifest.model is not None and manifest.model.source not in builtin_index.builtin_models():
        # A file may name parameters otherwise than the module they are loaded into, which has the last word on names.
        texts = [text for text in texts if not isinstance(parse(text), Named)] if texts else texts
        if restriction and not texts:
            return []
    try:
        select(parameter_map, texts)
    except UserError as error:
        return [Problem(path, f"{error.what}; {error.hint}", value=restriction)]
    return []


def _parameter_map(manifest: Manifest) -> ParameterMap | None:
    if manifest.model is None:
        return None
    source = manifest.model.source
    try:
        folder = builtin_index.folder_of(source) if source in builtin_index.builtin_models() else Path(source)
        files = [builtin_index.weights_path(source, manifest.model.revision)] if source in builtin_index.builtin_models() else None
        if not (folder / "config.json").is_file():
            return None
        return _read(str(folder), tuple(map(str, files or sorted(folder.glob("*.safetensors")))))
    except (UserError, OSError, ValueError, KeyError):
        return None  # whatever is wrong with it, loading says it better


@lru_cache(maxsize=4)
def _read(folder: str, files: tuple[str, ...]) -> ParameterMap | None:
    from ...models.restrictions.parameter_map import ParameterMap

    config = _namespace(untrusted.read_json(Path(folder) / "config.json"))
    shapes = {name: shape for file in files for name, shape in safetensors_shapes(Path(file)).items()}
    if not shapes or ParameterMap(config, shapes, {}).layers == 0:
        return None
    tied: dict[str, str] = {}
    if getattr(config, "tie_word_embeddings", False):
        parameters = ParameterMap(config, shapes, {})
        embeddings = parameters.below(*parameters.family.embed)
        if len(embeddings) == 1 and not parameters.below(*parameters.family.unembed):
            tied = {f"{parameters.family.unembed[0]}.weight": embeddings[0]}
    return ParameterMap(config, shapes, tied)


@lru_cache(maxsize=4)
def _gguf_counts(path: str, stamp: int) -> tuple[int, int] | None:
    """Layers and heads a layer of a GGUF file as it was at `stamp`; None where it does not say so, or for a head count of each layer."""
    from ...models.gguf_header import read_header

    try:
        fields = read_header(Path(path)).fields
        arch = str(fields["general.architecture"].parts[0])
        layers, heads = (fields[f"{arch}.{key}"].parts for key in ("block_count", "attention.head_count"))
    except (UserError, OSError, ValueError, KeyError, IndexError, ImportError):
        return None
    return (int(layers[0]), int(heads[0])) if len(layers) == len(heads) == 1 else None


def _namespace(table: Mapping[str, Any]) -> SimpleNamespace:
    inner = {"text_config": _namespace(table["text_config"])} if isinstance(table.get("text_config"), Mapping) else {}
    return SimpleNamespace(**{**{str(key): value for key, value in table.items()}, **inner})
