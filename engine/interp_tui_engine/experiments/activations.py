"""Activations of a data set at chosen sites, batch by batch into a Zarr store that may be larger than memory."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from .. import atomic
from ..catalog import Estimate, Kind, Result
from ..data.row_count import row_count
from ..digests import of_bytes, of_texts
from ..errors import Problem, UserError
from ..events import ArrayWritten, Checkpoint, Event, Metrics, Phase, Progress
from ..figures.bars import Bar, bars_svg
from ..manifest import Manifest
from ..payload import NumbersByName
from ..results.activations import LIVE, ActivationsCell, ActivationsHeadline, ActivationsResult, ShownRow, StoredArray
from ..runtime import cost, inputs
from ..runtime.context import Context
from ..runtime.open_model import open_model, run_started
from ..runtime.pause import wait_while_paused
from ..runtime.steps import Numbers, write_figure
from ..sites.site import HEADED, Site, parse
from ..specs import Table
from . import _pairs

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE: dict[str, Any] = {
    "model": {"source": "builtin:tiny", "revision": "final"},
    "data": {"train": {"source": "builtin:prose", "context": 64, "rows": 64}},
    "params": {"sites": ["L2.resid_post", "L1.mlp_out"]},
}
STORE = "activations.zarr"
RMS = "rms"
"""Under which name a batch's sizes stand beside its hashes."""
DRAWN = 60
"""Sites in the figure."""
TOLD = 20_000
"""Numbers of single tokens that events tell of; the store holds all."""


class Params(Table):
    """Which sites of which text, and how they are kept."""

    sites: list[str] = Field(["resid_post"], min_length=1, description="such as L2.resid_post, L1.z, or mlp_out for every layer")
    data: str = Field("train", description="which [data.NAME] to read")
    batch_size: int = Field(16, ge=1, description="rows in one forward pass, and in one chunk of the store")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="precision of the store; bfloat16 is written as float32 whose last bytes are 0 and compress away"
    )


def check(manifest: Manifest) -> list[Problem]:
    """Sites that are none, data that is not there."""
    params: Params = manifest.params
    problems = []
    for index, text in enumerate(params.sites):
        try:
            parse(text)
        except UserError as error:
            problems.append(Problem(f"params.sites.{index}", f"{error.what}; {error.hint}", value=text))
    if params.data not in manifest.data:
        message = f"{params.data!r} is none of the manifest's data: {', '.join(manifest.data)}"
        problems.append(Problem("params.data", message, value=params.data))
    return problems or inputs.data_problems(manifest.data, [params.data])


def estimate(manifest: Manifest) -> Estimate:
    """A forward pass of the rows; the store's size is known once the model is."""
    size, spec = cost.parameters_of(manifest), manifest.data.get(manifest.params.data)
    rows = None if spec is None else row_count(spec)
    if size is None or spec is None or rows is None:
        return Estimate(None, None, None, ("known once model and data are read",))
    tokens = rows * (spec.context + 1)
    return Estimate(cost.seconds(2 * size.parameters * tokens), cost.BASE_BYTES + 6 * size.parameters, None, size.notes)


def run(context: Context) -> Generator[Event, None, Result]:
    """Read batch by batch; a batch that is on disk is not read again after a kill."""
    started = time.monotonic()
    manifest, params = context.manifest, context.manifest.params
    assert isinstance(params, Params)
    model, site_map = yield from open_model(manifest)
    import zarr
    from zarr.codecs import BloscCodec

    from ..data.rows import load_rows
    from ..sites.hooks import activations

    yield Phase("reading data", manifest.data[params.data].source)
    rows = load_rows(manifest.data[params.data], model.tokenizer, name=params.data)
    ids = rows.ids.long()
    if site_map.context is not None and ids.shape[1] > site_map.context:
        raise UserError(
            f"rows of {ids.shape[1]} tokens, but the model reads at most {site_map.context}", f"use context = {site_map.context - 1}"
        )
    sites = _pairs.sites_of(params.sites, site_map.num_layers)
    if placed := [site for site in sites if site.position is not None]:
        raise UserError(f"params.sites: {placed[0]} names a position, but every position is kept", "leave the @ out")
    for site in sites:
        site_map.check(site)
    yield run_started(context, model)
    path = context.folder.path / STORE
    ledger = context.checkpoint_path / "batches.json"
    ledger.parent.mkdir(parents=True, exist_ok=True)
    held = atomic.read_json(ledger)
    done: list[dict[str, str]] = held if isinstance(held, list) and path.is_dir() else []
    probe = activations(site_map, ids[:1].to(model.device), sites)
    group = zarr.open_group(path, mode="a" if done else "w")
    arrays: dict[str, Any] = {}
    kept = "float16" if params.dtype == "float16" else "float32"
    for site in sites:
        shape = (len(ids), *probe[site].shape[1:])
        chunks = (params.batch_size, *probe[site].shape[1:])
        if done:
            arrays[str(site)] = group[str(site)]
        else:
            arrays[str(site)] = group.create_array(
                str(site),
                shape=shape,
                chunks=chunks,
                dtype=kept,
                dimension_names=_dims(site, len(shape)),
                fill_value=float("nan"),
                compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=2 if kept == "float16" else 4),
                attributes={"coordinates": "input_ids text", "precision": params.dtype},
            )
    if not done:
        tokens = group.create_array("input_ids", shape=tuple(ids.shape), dtype="int32", dimension_names=("row", "position"))
        tokens[:] = ids.numpy().astype("int32")
        group.create_array("text", shape=(len(ids),), chunks=(params.batch_size,), dtype="str", dimension_names=("row",))
        group.attrs.update({"kind": "activations", "sites": [str(site) for site in sites], "source": manifest.data[params.data].source})
    for name, array in arrays.items():
        yield ArrayWritten(f"{STORE}/{name}", (), tuple(array.shape), len(done) * params.batch_size)
    names = [str(site) for site in sites]
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    places = ActivationsCell(sites=tuple(names), layers=site_map.num_layers, shapes=shapes, dtype=params.dtype, store=STORE)
    yield Metrics("cells", 0, places.as_json())
    shown_rows = TOLD // (len(sites) * ids.shape[1])
    starts = range(0, len(ids), params.batch_size)
    yield Phase("reading activations", f"{len(ids):,} rows")
    began, before = time.monotonic(), len(done)
    for index in range(before, len(starts)):
        wait_while_paused(context)
        start = starts[index]
        batch = ids[start : start + params.batch_size]
        seen = activations(site_map, batch.to(model.device), sites)
        hashes = {}
        for site in sites:
            block = rounded(site, seen[site], params.dtype).astype(kept)
            arrays[str(site)][start : start + len(batch)] = block
            hashes[str(site)] = of_bytes(block)
        if model.tokenizer is not None:
            texts: Any = group["text"]
            texts[start : start + len(batch)] = np.array(model.tokenizer.batch_decode(batch.tolist()), dtype=object)
        rms = {str(site): float(seen[site].float().pow(2).mean().sqrt()) for site in sites}
        done.append({**hashes, RMS: json.dumps(rms)})
        atomic.write_json(ledger, done)
        read = min(start + params.batch_size, len(ids))
        rate = (time.monotonic() - began) / (index + 1 - before)
        yield Checkpoint("checkpoint", index + 1)
        yield Progress(read, len(ids), "rows", rate * (len(starts) - index - 1))
        yield Metrics("rms", index, NumbersByName(**rms).as_json())
        batch_norms = {str(site): _token_norms(site, seen[site]) for site in sites} if start < shown_rows else {}
        shown = tuple(
            ShownRow(
                row=start + i,
                tokens=tuple(_texts(model, batch[i].tolist())),
                norms={name: tuple(norms[i]) for name, norms in batch_norms.items()},
            )
            for i in range(min(len(batch), max(0, shown_rows - start)))
        )
        yield Metrics("cells", index + 1, ActivationsCell(rms=rms, rows=read - start, shown=shown).as_json())
    digests = {f"{STORE}/{site}": of_texts(part[str(site)] for part in done) for site in sites}
    values = ActivationsResult(
        arrays=tuple(StoredArray(name=f"{STORE}/{name}", shape=tuple(array.shape), dtype=params.dtype) for name, array in arrays.items()),
        rows=len(ids),
        tokens=int(ids.numel()),
        seconds=time.monotonic() - started,
    )
    batch_rms = [json.loads(part[RMS]) for part in done]
    bars = [Bar(name, sum(part[name] for part in batch_rms) / len(batch_rms)) for name in names][:DRAWN]
    yield write_figure(context.folder.path, "rms", bars_svg("size of activations", "root mean square", bars), "root mean square by site")
    report = _report(values, manifest.data[params.data].source)
    headline = ActivationsHeadline(rows=len(ids), sites=len(sites))
    return Result(values.as_json(), headline.as_json(), report, digests)


def _report(values: ActivationsResult, source: str) -> str:
    lines = [
        "# Activations",
        "",
        f"{values.rows:,} rows of {source}, {values.tokens:,} tokens, in `{STORE}` beside their `input_ids` and `text`.",
        "",
        "![root mean square by site](figures/rms.svg)",
        "",
        "| array | shape | type |",
        "|---|---|---|",
        *(f"| `{array.name}` | {' × '.join(map(str, array.shape))} | {array.dtype} |" for array in values.arrays),
        "",
        f"`xr.open_datatree('{STORE}', engine='zarr', consolidated=False)` opens it without reading it.",
    ]
    return "\n".join([*lines, ""])


def _dims(site: Site, count: int) -> tuple[str, ...]:
    """Names of a store's dimensions: the same name never has two sizes in one store."""
    if site.name == "attn_pattern":
        return ("row", "head", "position", "key") if count == 4 else ("row", "position", "key")
    if site.name in HEADED:
        head = "kv_head" if site.name in ("k", "v") else "head"
        return ("row", "position", head, "head_dim") if count == 4 else ("row", "position", "head_dim")
    return ("row", "position", "neuron" if site.name == "mlp_post" else "d_model")


def rounded(site: Site, value: Tensor, dtype: str) -> Numbers:
    """A site's values rounded to a precision, as float32. Raises UserError for one that the precision cannot hold."""
    import torch

    kept = value.to(getattr(torch, dtype))
    if not bool(kept.isfinite().all()) and bool(value.isfinite().all()):
        raise UserError(
            f"{site} reaches {float(value.abs().max()):.4g}, which {dtype} cannot hold", "use dtype = 'bfloat16', as small on disk"
        )
    numbers: Numbers = kept.float().cpu().numpy()
    return numbers


def _token_norms(site: Site, value: Tensor) -> list[list[float]]:
    """The L2 norm of what stands at each position, (rows, positions); of an attention pattern, over heads and keys of each query."""
    if site.name == "attn_pattern" and site.head is None:
        value = value.transpose(1, 2)
    norms: list[list[float]] = value.float().flatten(2).norm(dim=-1).cpu().tolist()
    return [[round(norm, 4) for norm in row] for row in norms]


def _texts(model: Any, ids: list[int]) -> list[str]:
    if model.tokenizer is None:
        return [str(token) for token in ids]
    from ..data.prompts import texts_of

    return texts_of(model.tokenizer, ids)


KIND = Kind(
    name="activations",
    title="Activations",
    question="What stands at these sites while the model reads this text?",
    group="One forward pass",
    needs=frozenset({"model", "data"}),
    example=EXAMPLE,
    params=Params,
    result=ActivationsResult,
    headline=ActivationsHeadline,
    live=LIVE,
    run=run,
    check=check,
    estimate=estimate,
    splittable=True,
)
