"""Indexes of weights that lead elsewhere, nowhere, or twice to one place."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .case import (
    Bomb,
    Case,
    went_off,
    with_weights_at,
)


def _indexed(weight_map: Callable[[Path, list[str]], Any], base: Path, to: Path) -> Path:
    """The folder with its weights in `a.safetensors` and an index that says where each tensor is; a pickle lies beside."""
    from safetensors.torch import load_file

    with_weights_at(base, to, "a.safetensors")
    (to / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(went_off(to))))
    names = list(load_file(to / "a.safetensors"))
    (to / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map(to, names)}))
    return to


def cases() -> Iterator[Case]:
    """All of them."""

    def everywhere(file: str) -> Callable[[Path, list[str]], dict[str, str]]:
        return lambda to, names: dict.fromkeys(names, file)

    yield Case("sound index", partial(_indexed, everywhere("a.safetensors")), None)
    yield Case("index to a pickle", partial(_indexed, everywhere("pytorch_model.bin")), r"no safetensors file")
    yield Case("index to the parent", partial(_indexed, everywhere("../base/model.safetensors")), r"outside its folder")
    yield Case("index to a pickle far away", partial(_indexed, everywhere("../../pytorch_model.bin")), r"outside its folder")
    yield Case("index to /dev/zero", partial(_indexed, everywhere("/dev/zero")), r"outside its folder")
    yield Case("index to a file that is missing", partial(_indexed, everywhere("b.safetensors")), r"incomplete")
    yield Case("index to numbers", partial(_indexed, lambda to, names: dict.fromkeys(names, 5)), r"no weight_map")
    yield Case("index to nothing", partial(_indexed, lambda to, names: {}), r"no weight_map")
    yield Case("index of a list", partial(_indexed, lambda to, names: names), r"no weight_map")
    yield Case("index of brackets", _bracket_index, r"nested too deep")
    yield Case("index to two files with the same tensors", _same_twice, r"another weights file too")
    yield Case("half of an index", _half_index, r"missing")


def _bracket_index(base: Path, to: Path) -> Path:
    _indexed(lambda _, names: {}, base, to)
    (to / "model.safetensors.index.json").write_text("[" * 100_000)
    return to


def _same_twice(base: Path, to: Path) -> Path:
    def both(folder: Path, names: list[str]) -> dict[str, str]:
        shutil.copy(folder / "a.safetensors", folder / "b.safetensors")
        return {name: "ab"[index % 2] + ".safetensors" for index, name in enumerate(names)}

    return _indexed(both, base, to)


def _half_index(base: Path, to: Path) -> Path:
    from safetensors.torch import load_file, save_file

    _indexed(lambda folder, names: dict.fromkeys(names, "a.safetensors"), base, to)
    tensors = load_file(to / "a.safetensors")
    save_file(dict(list(tensors.items())[::2]), to / "a.safetensors", metadata={"format": "pt"})
    return to
