"""Which files of a folder hold its weights: those that transformers will read, by its own order, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError
from interp_tui_engine.trust import HINT

SAFE = "model.safetensors"
SAFE_INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = "pytorch_model.bin.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MAX_INDEX = 64 << 20


@dataclass(frozen=True)
class WeightFiles:
    """The files that hold a folder's weights, in the order of their names; `safe` unless they are pickles."""

    paths: tuple[Path, ...]
    safe: bool

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor, from the headers of safetensors files.

        Raises UserError for a file that is damaged, and for a name that stands in two files.
        """
        from safetensors import SafetensorError, safe_open

        shapes: dict[str, tuple[int, ...]] = {}
        for path in self.paths:
            try:
                with safe_open(path, framework="pt", device="cpu") as file:
                    held = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
            except (SafetensorError, OSError, ValueError) as error:
                raise UserError(f"{path}: the weights cannot be loaded ({error})", "the file may be damaged: fetch it again") from None
            if twice := sorted(shapes.keys() & held.keys()):
                raise UserError(f"{path}: tensor {twice[0]!r} stands in another weights file too", "fetch the folder again")
            shapes |= held
        return shapes


def names_of(source: str, names: Sequence[str], *, trust: bool) -> str:
    """Which of the files called `names` a loader begins with: weights themselves or an index of them; pickles only when trusted.

    Raises UserError where there is none.
    """
    for name in (SAFE, SAFE_INDEX):
        if name in names:
            return name
    pickles = [name for name in names if name.endswith(PICKLES)]
    if not pickles:
        others = [name for name in names if name.endswith(".safetensors")]
        instead = f" but {', '.join(others[:3])}" if others else ""
        raise UserError(f"{source} holds no weights that can be loaded{instead}", f"expected {SAFE} or {SAFE_INDEX} beside config.json")
    if not trust:
        raise UserError(
            f"{source} has its weights only as pickles ({', '.join(pickles)}), which can run any code when loaded",
            f"convert them to safetensors; {HINT} opens them, if you trust where they come from",
        )
    for name in (PICKLE, PICKLE_INDEX):
        if name in names:
            return name
    raise UserError(f"{source} holds no weights that can be loaded but {', '.join(pickles)}", f"expected {PICKLE} or {PICKLE_INDEX}")


def of_folder(source: str, folder: Path, *, trust: bool) -> WeightFiles:
    """The files that hold the weights of a folder.

    Raises UserError for a folder without any, for an index that names anything but weights files inside the folder, and for an adapter.
    """
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{source} holds an adapter (adapter_config.json), which would be left out or change the weights",
            "merge it into its model and save that, or move the adapter's files away",
        )
    first = names_of(source, sorted(entry.name for entry in folder.iterdir() if entry.is_file()), trust=trust)
    safe = first in (SAFE, SAFE_INDEX)
    if first in (SAFE, PICKLE):
        return WeightFiles((folder / first,), safe)
    suffix = ".safetensors" if safe else PICKLES
    return WeightFiles(tuple(_indexed(source, folder, first, suffix)), safe)


def _indexed(source: str, folder: Path, index: str, suffix: str | tuple[str, ...]) -> list[Path]:
    """The files that an index names, each once: a name with a folder in it, or of another kind of file, is an error."""
    try:
        record = untrusted.read_json(folder / index, _MAX_INDEX)
    except OSError as error:
        raise UserError(f"{folder / index} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{folder / index} is {error}", "fetch it again") from None
    names = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"{folder / index} has no weight_map from tensors to files", "fetch it again")
    files = sorted(set(names.values()))
    for name in files:
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise UserError(f"{folder / index} names {name[:200]!r}, a file outside its folder", "an index names files beside it")
        if not name.endswith(suffix):
            kind = "safetensors" if suffix == ".safetensors" else "weights"
            raise UserError(f"{folder / index} names {name[:200]!r}, which is no {kind} file", "convert the weights to safetensors")
        if not (folder / name).is_file():
            raise UserError(f"{source} is incomplete: its index names {name[:200]}, which is not there", "fetch the folder again")
    return [folder / name for name in files]
