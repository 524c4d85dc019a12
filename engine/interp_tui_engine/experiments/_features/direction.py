"""A direction to steer along: read off a probe or contrast run, or a file, or fitted to two lists of texts. Imports torch.

A direction comes with a scale of its own: 0 is where the first class's activations lie along it on average, 1 where the second's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import atomic
from ...errors import UserError
from ...sites.cache import ActivationCache
from ...sites.hooks import activations
from ...sites.row_memory import fitting_rows
from ...sites.site import Site, parse
from ...sites.site_map import SiteMap
from ...validation_errors import nearest
from . import PROBES, direction_file
from .direction_files import read_tensors


@dataclass(frozen=True)
class Direction:
    """A unit vector at a site, and its scale: t stands for the projection zero + t·step."""

    site: Site
    unit: Tensor
    zero: float
    step: float
    origin: str
    """Where it is from, in words."""

    def level(self, t: float) -> float:
        """The projection that t stands for."""
        return self.zero + t * self.step


def read_direction(given: str, site: str | None, site_map: SiteMap) -> Direction:
    """The direction of a run or file, at the site asked for; of a probe run, without one, that of its best place.

    Raises UserError for a folder without directions, a site that has none, and a vector that does not fit the model.
    """
    path = Path(given)
    probes = path / PROBES if path.is_dir() else path
    if path.is_dir() and not probes.is_file():
        return _of_vectors(direction_file(given), site, site_map, atomic.read_json(path / "result.json"))
    held = read_tensors(probes)
    places = [name.removesuffix(".weight") for name in held if name.endswith(".weight")]
    if not places:
        return _of_vectors(probes, site, site_map, None)
    name = site or _best(path) or (places[0] if len(places) == 1 else "")
    if name not in places:
        guess = nearest(name, places, 0.5)
        hint = f"{f'did you mean {guess!r}? ' if guess else ''}it has {', '.join(places[:12])}{' …' if len(places) > 12 else ''}"
        raise UserError(f"{given} has no probe at {name!r}" if name else f"{given} has {len(places)} probes: name one as site", hint)
    weight = held[f"{name}.weight"]
    if weight.shape[1] != 1:
        raise UserError(f"{given} tells {weight.shape[1]} classes apart, which is no one direction", "probe two classes")
    means = held.get(f"{name}.means")
    zero, step = (0.0, 1.0) if means is None else (float(means[0]), float(means[1] - means[0]))
    return _fitting(Site(*_whole(name)), weight[:, 0], zero, step, f"the probe at {name}", site_map)


def fit_direction(cache: ActivationCache, site: str, toward: Sequence[str], away: Sequence[str]) -> Direction:
    """From the mean activation of some texts' last tokens to that of others'. Raises UserError where they are the same."""
    place = Site(*_whole(site))
    cache.site_map.check(place)
    last = Site(place.name, place.layer, place.head, -1)
    together = fitting_rows(cache.site_map, max(cache.lengths([*away, *toward])), len(away) + len(toward), logits=0)

    def mean(texts: Sequence[str]) -> Tensor:
        rows = [values for _, values in together.each(texts, lambda some: cache.run(some)[last].flatten(1).float())]
        return (rows[0] if len(rows) == 1 else torch.cat(rows)).mean(0)

    ends = [mean(list(texts)) for texts in (away, toward)]
    offset = ends[1] - ends[0]
    step = float(offset.norm())
    if not step > 0:
        raise UserError("the texts of toward and away have the same mean activation", "give texts that differ, or another site")
    unit = offset / step
    return Direction(place, unit, float(ends[0] @ unit), step, f"the difference of {len(toward)} and {len(away)} texts' means")


def _of_vectors(path: Path, site: str | None, site_map: SiteMap, result: Any) -> Direction:
    from ...features import ids

    held = {name: vector for name, vector in read_tensors(path).items() if vector.dim() == 1}
    layer = None if site is None else _whole(site)[1]
    chosen = [name for name in held if layer is None or ids.layer_of(name) == layer]
    if len(chosen) != 1 or ids.layer_of(chosen[0]) is None:
        raise UserError(
            f"{path} has {len(chosen)} directions{f' at {site}' if site else ''}",
            f"it has {', '.join(list(held)[:12])}; one whose id names its layer is taken, chosen by site",
        )
    distance = result.get("distance") if isinstance(result, dict) else None
    step = float(distance) if isinstance(distance, (int, float)) and distance > 0 else 1.0
    return _fitting(Site("resid_post", ids.layer_of(chosen[0])), held[chosen[0]], 0.0, step, chosen[0], site_map)


def _fitting(site: Site, vector: Tensor, zero: float, step: float, origin: str, site_map: SiteMap) -> Direction:
    site_map.check(site)
    length = float(vector.float().norm())
    one_token = torch.zeros(1, 1, dtype=torch.long, device=next(site_map.embed.parameters()).device)
    width = activations(site_map, one_token, [site])[site].numel()
    if vector.shape[0] != width:
        raise UserError(f"{origin} has {vector.shape[0]} numbers, but {site} is {width} wide", "was it fitted on another model?")
    if not length > 0:
        raise UserError(f"{origin} has length {length:g}", "give a direction that is finite and not zero")
    return Direction(site, vector.float() / length, zero, step, origin)


def _whole(name: str) -> tuple[str, int | None, int | None]:
    place = parse(name)
    return place.name, place.layer, place.head


def _best(folder: Path) -> str | None:
    result = atomic.read_json(folder / "result.json") if folder.is_dir() else None
    if not isinstance(result, dict) or not isinstance(result.get("best"), dict):
        return None
    kind, _, position = str(result["best"].get("site")).partition("@")
    return f"L{result.get('best_layer')}.{kind}{f'@{position}' if position else ''}"
