"""The tuned lens (Belrose et al. 2023, arXiv 2303.08112): the logit lens with an affine map for each layer, fitted to the model's output.

    logits_l = unembed(final_norm(h_l + W_l h_l + b_l))

W and b start at 0, where it is the logit lens, and are fitted to the least KL(end ‖ layer) on text. A layer whose fit is no better than the
logit lens on held-out text keeps W = 0, b = 0. The last layer needs none.

Files are safetensors: `layers.<l>.weight` (d_model, d_model), `layers.<l>.bias` (d_model), and what the lens was fitted to as metadata.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import atomic
from ..errors import UserError
from ..sites.answers import kl
from ..sites.row_memory import fitting_logits, fitting_rows
from ..sites.site_map import SiteMap
from .logit_lens import streams

FORMAT = "interp-tui tuned lens 1"
BLOCKS = 8
"""Blocks of held-out rows, at most."""


@final
@dataclass(frozen=True)
class TunedLens:
    """An affine map for each layer but the last."""

    weight: tuple[Float[Tensor, "d_model d_model"], ...]
    bias: tuple[Float[Tensor, " d_model"], ...]
    made_for: Mapping[str, str] = field(default_factory=dict)
    """Hash and name of the model, as they were when it was fitted."""

    def __call__(self, layer: int, stream: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """A layer's stream, translated into what the last layer would make of it."""
        if layer >= len(self.weight):
            return stream
        weight, bias = (part[layer].to(stream.device).float() for part in (self.weight, self.bias))
        return _mapped(stream, weight, bias)

    @property
    def identity_layers(self) -> list[int]:
        """Layers that are read as by the logit lens."""
        still = [not bool(w.any() or b.any()) for w, b in zip(self.weight, self.bias, strict=True)]
        return [layer for layer, yes in enumerate(still) if yes]

    def save(self, path: Path) -> None:
        """Write the lens as safetensors, whole or not at all."""
        from safetensors.torch import save

        tensors = {f"layers.{i}.weight": w.contiguous().cpu() for i, w in enumerate(self.weight)}
        tensors |= {f"layers.{i}.bias": b.contiguous().cpu() for i, b in enumerate(self.bias)}
        atomic.write_bytes(path, save(tensors, metadata={"format": FORMAT, **self.made_for}))


def _mapped(stream: Float[Tensor, "*batch d_model"], weight: Tensor, bias: Tensor) -> Float[Tensor, "*batch d_model"]:
    """h + W h + b, in float32 whatever the model's precision, and rounded to that once."""
    exact = stream.float()
    return (exact + exact @ weight.T + bias).to(stream.dtype)


def identity(layers: int, d_model: int) -> TunedLens:
    """The lens before training: the logit lens."""
    return TunedLens(
        tuple(torch.zeros(d_model, d_model) for _ in range(layers - 1)), tuple(torch.zeros(d_model) for _ in range(layers - 1))
    )


def load(path: Path, site_map: SiteMap) -> TunedLens:
    """A saved lens, for this model. Raises UserError for a file that is none, or one of another shape."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            made_for = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot read a tuned lens from {path}: {error}", "give the folder of a run with lens = 'tuned', or its file"
        ) from None
    if made_for.get("format") != FORMAT:
        raise UserError(f"{path} is no tuned lens of this program", "give the folder of a run with lens = 'tuned', or its lens.safetensors")
    layers, d_model = site_map.num_layers, site_map.d_model
    there = sum(name.endswith(".weight") for name in tensors)
    width = tensors["layers.0.weight"].shape[0] if "layers.0.weight" in tensors else 0
    if (there, width) != (layers - 1, d_model):
        raise UserError(
            f"{path} is a lens for {there + 1} layers of width {width}, and the model has {layers} of width {d_model}",
            "it was fitted to another model: fit one to this",
        )
    parts = [[tensors[f"layers.{i}.{name}"] for i in range(layers - 1)] for name in ("weight", "bias")]
    return TunedLens(tuple(parts[0]), tuple(parts[1]), made_for)


@final
class Fitting:
    """Adam on every layer's map at once, from steps that give streams; its whole state can be saved and put back."""

    def __init__(self, site_map: SiteMap, *, lr: float, steps: int) -> None:
        self.site_map, self.lr, self.steps = site_map, lr, steps
        device = next(site_map.embed.parameters()).device
        start = identity(site_map.num_layers, site_map.d_model)
        pairs = list(zip(start.weight, start.bias, strict=True))
        self.maps = [[part.to(device).requires_grad_(True) for part in pair] for pair in pairs]
        self.step = 0
        self._together = fitting_logits(site_map, sys.maxsize)
        self._adam = torch.optim.Adam([part for pair in self.maps for part in pair], lr=lr)

    def update(self, streams: Float[Tensor, "layers tokens d_model"]) -> list[float]:
        """One step on some tokens' streams; the KL of each layer before it, in nats."""
        for group in self._adam.param_groups:
            group["lr"] = self.lr * (1 - self.step / self.steps)
        sums = torch.zeros(len(self.maps), device=streams.device)
        for _, (part_losses, gradients) in self._together.each(range(streams.shape[1]), lambda some: self._gradients(streams, some)):
            sums += part_losses
            for value, gradient in zip((value for pair in self.maps for value in pair), gradients, strict=True):
                value.grad = gradient if value.grad is None else value.grad.add_(gradient)
        losses: list[float] = sums.tolist()
        self._adam.step()
        self._adam.zero_grad()
        self.step += 1
        return losses

    def _gradients(self, streams: Float[Tensor, "layers tokens d_model"], some: range) -> tuple[Float[Tensor, " layers"], list[Tensor]]:
        """The loss of each layer at some of the tokens, as a share of that of all, and its derivatives by the layer's map."""
        part, share = slice(some.start, some.stop), len(some) / streams.shape[1]
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        with torch.no_grad():
            end = self.site_map.unembed(streams[-1, part]).float()
        with torch.enable_grad():
            for layer, pair in enumerate(self.maps):  # one layer's logits in memory at a time
                loss = kl(end, self.site_map.unembed(_mapped(streams[layer, part].detach(), *pair))).mean() * share
                gradients += torch.autograd.grad(loss, pair)
                losses.append(loss.detach())
        return torch.stack(losses), gradients

    @property
    def lens(self) -> TunedLens:
        """The maps as they are now."""
        weight, bias = (tuple(pair[i].detach().clone().cpu() for pair in self.maps) for i in (0, 1))
        return TunedLens(weight, bias)

    def state(self) -> dict[str, Tensor]:
        """Everything the next step depends on. Tensors by name: each layer's map, (width, width) and (width,), and the optimiser's."""
        state = {"step": torch.tensor(self.step)}
        for index, part in enumerate(part for pair in self.maps for part in pair):
            held = self._adam.state.get(part, {})
            state |= {f"{index}.value": part.detach(), **{f"{index}.{name}": value for name, value in held.items()}}
        return {name: value.contiguous().cpu() for name, value in state.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state. state: what `state` gave."""
        self.step = int(state["step"])
        with torch.no_grad():
            for index, part in enumerate(part for pair in self.maps for part in pair):
                part.copy_(state[f"{index}.value"])
                names = [name.partition(".")[2] for name in state if name.startswith(f"{index}.") and not name.endswith(".value")]
                if names:
                    self._adam.state[part] = {n: state[f"{index}.{n}"].to(part.device if n != "step" else "cpu") for n in names}


def fit(fitting: Fitting, ids: Int[Tensor, "rows pos"], *, seed: int, batch: int) -> Iterator[tuple[int, list[float]]]:
    """Take the steps of a fit that are left, `batch` rows each; of each its number and the KL of every layer before it, in nats."""
    together = fitting_rows(fitting.site_map, ids.shape[1], batch, logits=0)
    while (step := fitting.step) < fitting.steps:
        chosen = rows_of(seed, step, len(ids), batch).to(ids.device)
        yield step, fitting.update(streams(fitting.site_map, ids[chosen], together))


@torch.no_grad()
def divergences_by_row(
    site_map: SiteMap, lens: TunedLens, parts: Iterable[Float[Tensor, "layers tokens d_model"]], length: int
) -> Float[Tensor, "2 layers rows"]:
    """Each row's mean KL to the end, read by the logit lens and by the tuned one, in nats a token. parts: streams of whole rows of `length`
    tokens."""
    by_row, together = [], fitting_logits(site_map, sys.maxsize)
    for stream in parts:
        every = range(stream.shape[1])
        read = together.each(every, lambda some, stream=stream: _divergences(site_map, lens, stream[:, some.start : some.stop]))  # type: ignore[misc]
        values = torch.cat([divergences for _, divergences in read], dim=-1)
        by_row.append(values.cpu().double().reshape(2, site_map.num_layers, -1, length).mean(-1))
    return torch.cat(by_row, dim=-1)


def _divergences(site_map: SiteMap, lens: TunedLens, stream: Float[Tensor, "layers tokens d_model"]) -> Float[Tensor, "2 layers tokens"]:
    """Each token's KL to the end by the logit lens and by the tuned one; one layer's logits in memory at a time."""
    end = site_map.unembed(stream[-1]).float()
    layers = range(site_map.num_layers)
    return torch.stack([torch.stack([kl(end, site_map.unembed(read)) for read in (stream[i], lens(i, stream[i]))]) for i in layers], dim=1)


def measured(site_map: SiteMap, lens: TunedLens, ids: Int[Tensor, "rows pos"], batch: int) -> Float[Tensor, "2 layers rows"]:
    """`divergences_by_row` of token rows, `batch` of them at a time."""
    together = fitting_rows(site_map, ids.shape[1], batch, logits=0)
    return divergences_by_row(site_map, lens, (streams(site_map, part, together) for part in torch.split(ids, batch)), ids.shape[1])


def held_out_rows(rows: int, share: float) -> tuple[list[int], list[int]]:
    """Rows to fit to and rows to hold out: blocks of neighbours spread evenly over the text, so that no part of it stands for all.

    At least one row of either.
    """
    count = min(rows - 1, max(1, round(rows * share)))
    blocks = min(BLOCKS, count)
    apart: list[int] = []
    for block in range(blocks):
        size = count * (block + 1) // blocks - count * block // blocks
        low = round((block + 0.5) * rows / blocks - size / 2)
        apart += range(low, low + size)
    chosen = set(apart)
    return [row for row in range(rows) if row not in chosen], apart


def no_worse(lens: TunedLens, held_out: Float[Tensor, "2 layers"]) -> TunedLens:
    """The lens with those layers put back to the identity whose KL on held-out text is not below the logit lens's."""
    better = (held_out[1] < held_out[0]).tolist()[: len(lens.weight)]
    kept = [
        [part if yes else torch.zeros_like(part) for part, yes in zip(parts, better, strict=True)] for parts in (lens.weight, lens.bias)
    ]
    return TunedLens(tuple(kept[0]), tuple(kept[1]), lens.made_for)


def rows_of(seed: int, step: int, rows: int, batch: int) -> Int[Tensor, " batch"]:
    """The rows of one step: a draw that depends on nothing but these."""
    state = torch.Generator().manual_seed((seed * 1_000_003 + step) & 0x7FFF_FFFF_FFFF_FFFF)
    return torch.randint(0, rows, (batch,), generator=state)
