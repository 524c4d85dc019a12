"""Tables that a finished run's arrays make, for other programs: a name, columns, and rows in blocks. Headless; reads files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

from ..runs.arrays import identifier, read_array, read_tokens

if TYPE_CHECKING:
    import numpy as np

Block = Mapping[str, Any]
"""Columns of some rows, as lists or arrays of one length."""


@dataclass(frozen=True)
class ExportTable:
    """`blocks` are read as they are taken: a table may be larger than memory."""

    name: str
    blocks: Callable[[], Iterator[Block]]


def tables_of(folder: RunFolder) -> list[ExportTable]:
    """The tables of a run's kind, the one to take without being asked first; none for kinds that have only a result and series."""
    result = folder.result() or {}
    kind = result.get("kind")
    if kind == "susceptibilities":
        return [ExportTable("tokens", lambda: _fitting(folder, _susceptibilities(folder, result)))]
    if kind == "bif":
        return [ExportTable("pairs", lambda: _fitting(folder, _influences(folder, result)))]
    return []


def table_of(folder: RunFolder, name: str | None) -> ExportTable | None:
    """The table called `name`, or the first. Raises UserError naming those there are."""
    tables = tables_of(folder)
    if name is None:
        return tables[0] if tables else None
    for table in tables:
        if table.name == name:
            return table
    raise UserError(f"{folder.path.name} has no table {name!r}", f"it has {', '.join(t.name for t in tables)}" if tables else "it has none")


def _array(folder: RunFolder, store: str, name: str) -> np.ndarray[Any, Any]:
    array = read_array(folder.path / store, name)
    if array is None:
        raise UserError(f"{folder.path.name} has no array {store}/{name}", "it is written when the run is done")
    return array


def _fitting(folder: RunFolder, blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks. Raises UserError where arrays and result do not fit each other, as in a run that was damaged or put together."""
    try:
        yield from blocks
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"the arrays of {folder.path.name} and its result do not fit each other"
        raise UserError(what, f"{type(error).__name__}: {error}"[:200]) from None


def _susceptibilities(folder: RunFolder, result: Mapping[str, Any]) -> Iterator[Block]:
    """A row a token: where it stands, its text, and by part χ, its covariance with that one's standard error, and its first order."""
    node = "susceptibilities.zarr/susceptibilities"
    sus, parts = _array(folder, node, "sus"), _array(folder, node, "wr")
    owner, row, position = (_array(folder, node, name) for name in ("dataset_id", "batch", "target_position"))
    ids, ids_owner = (_array(folder, "susceptibilities.zarr/context", name) for name in ("input_ids", "dataset_id"))
    ids_row, ids_position = (_array(folder, "susceptibilities.zarr/context", name) for name in ("batch", "position"))
    places = zip(ids_owner.tolist(), ids_row.tolist(), ids_position.tolist(), strict=True)
    at = dict(zip(places, ids.tolist(), strict=True))
    texts, names = read_tokens(folder.path), sorted(map(str, result.get("observables") or []), key=identifier)
    tokens = [at[place] for place in zip(owner.tolist(), row.tolist(), position.tolist(), strict=True)]
    yield {
        "data": [names[index] if index < len(names) else str(index) for index in owner.tolist()],
        "row": row,
        "position": position,
        "token_id": tokens,
        "token": [texts.get(token, "") for token in tokens],
        **{str(part): sus[:, index] for index, part in enumerate(parts.tolist())},
        **{
            f"{part} {name}": values[:, index]
            for name in ("covariance", "covariance_std_error", "first_order")
            if (values := read_array(folder.path / node, name)) is not None
            for index, part in enumerate(parts.tolist())
        },
    }


def _influences(folder: RunFolder, result: Mapping[str, Any]) -> Iterator[Block]:
    """A row for every pair of sequences, first with first: influence (its mean over tokens where those were compared), how sure it is."""
    matrix = _array(folder, "matrix.zarr", "influences")
    kinds, counts = result.get("observables") or [], result.get("rows") or []
    owners = [str(kind) for kind, count in zip(kinds, counts, strict=False) for _ in range(int(count))]
    beside = ((name, read_array(folder.path / "matrix.zarr", name)) for name in ("std_error", "clear", "first_order"))
    certainty = {name: values for name, values in beside if values is not None}
    columns = list(range(matrix.shape[1]))
    for place, values in enumerate(matrix):
        count = len(columns)
        yield {
            "row_1": [place] * count,
            "data_1": [owners[place]] * count,
            "row_2": columns,
            "data_2": owners,
            "influence": values,
            **{f"influence_{name}": of_all[place] for name, of_all in certainty.items()},
        }
