"""Causal tracing (Meng et al. 2022, arXiv 2202.05262; Wang et al. 2022, arXiv 2211.00593): which activations carry what the answer needs.

A clean and a corrupt prompt differ in a few tokens. One activation of the corrupt run is replaced by that of the clean run, and

    recovery = (m(patched) − m(corrupt)) / (m(clean) − m(corrupt))

for a metric m of the next-token logits: 1 where the patch restores the clean behaviour, 0 where it does nothing, beyond both where it
overshoots. The corrupt run is a second prompt (interchange), or the clean one with Gaussian noise on some tokens' embeddings. A patch at a
position before the first corrupted one puts back what is already there: its recovery is 0 and is not computed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..models.halving import FittingRows
from ..sites.answers import Answer, Metric, log_prob, metric_of
from ..sites.branched_run import BranchedRun, Job, Patch, record
from ..sites.hooks import Edit, activations, part
from ..sites.row_memory import fitting_rows
from ..sites.site import Site
from ..sites.site_map import SiteMap

HEADS = "heads"
"""The grid of every head's output, beside those of kinds of site."""
SMALLEST_EFFECT = 1e-8
"""Below this difference of the metric between clean and corrupt, recovery is a ratio of roundings."""


@dataclass(frozen=True, order=True)
class GridCell:
    """One patch of the grid: the clean value of `name` in the layers of a window around `layer`, at a position, in one head or all."""

    name: str
    layer: int
    position: int
    head: int | None = None

    @property
    def site(self) -> Site:
        """Where the cell lies."""
        return Site(self.name, self.layer, self.head, self.position)

    @property
    def place(self) -> tuple[str, tuple[int, ...]]:
        """In which grid its value stands, (layer, position) of a kind of site or (layer, position, head) of HEADS, and where."""
        return (self.name, (self.layer, self.position)) if self.head is None else (HEADS, (self.layer, self.position, self.head))


@dataclass(frozen=True)
class TracePrompts:
    """What one trace compares: token ids, and the positions from which the runs differ.

    `noise` (pos, d_model) is added to the token embeddings of `corrupt`; where it is given, `corrupt` is the clean prompt. With `sequence`,
    `answer` follows the prompts inside their ids, and is scored as a whole.
    """

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: Answer
    first: int
    sequence: bool = False
    noise: Float[Tensor, "pos d_model"] | None = None

    @property
    def last(self) -> int:
        """The last position of the prompt itself, where the answer is predicted."""
        return len(self.clean) - (len(self.answer.right) if self.sequence else 1)

    @classmethod
    def of(cls, clean: tuple[int, ...], corrupt: tuple[int, ...], answer: Answer, sequence: bool) -> TracePrompts:
        """A comparison of two prompts, their first difference found; an answer that is a sequence put behind both."""
        first = next(i for i, (a, b) in enumerate(zip(clean, corrupt, strict=True)) if a != b)
        if not sequence:
            return cls(clean, corrupt, answer, first)
        tail = answer.right[:-1]
        return cls(clean + tail, corrupt + tail, Answer(answer.right), first, sequence=True)


@dataclass(frozen=True)
class Trace:
    """One pair made ready: the corrupt run to branch off, the clean values to put in, and the metric at both ends."""

    site_map: SiteMap
    fork: BranchedRun
    clean: dict[Site, Tensor]
    """Row 0 the clean run's values; row 1, for frozen kinds of site, the corrupt run's."""
    prompts: TracePrompts
    score: Metric
    positions: tuple[int, ...]
    clean_metric: float
    corrupt_metric: float
    window: int
    freeze: tuple[str, ...]
    ends: tuple[Float[Tensor, "positions vocab"], Float[Tensor, "positions vocab"]]
    """The logits of the clean and of the corrupt run where the answer is scored."""
    rows: FittingRows
    """How many patched runs travel together."""

    def layers(self, centre: int) -> range:
        """The layers patched together about one: l − ⌊w/2⌋ … l + ⌈w/2⌉ − 1, an even window reaching one further back, as Meng et al.'s."""
        return range(max(0, centre - self.window // 2), min(self.site_map.num_layers, centre + (self.window + 1) // 2))

    def jobs(self, cells: Sequence[GridCell]) -> list[Job]:
        """The patches of each cell."""
        return [(*self._window(cell), *self._frozen(cell)) for cell in cells]

    @torch.no_grad()
    def patched(self, cells: Sequence[GridCell]) -> Float[Tensor, " cells"]:
        """The metric of each patched run; that of the corrupt run for cells before the first corrupted position."""
        metrics = torch.full((len(cells),), self.corrupt_metric)
        wanted = [i for i, cell in enumerate(cells) if cell.position >= self.prompts.first]
        if wanted:
            for some, values in self.rows.each(wanted, lambda some: self._scores([cells[i] for i in some])):
                metrics[some] = values
        return metrics

    def _scores(self, cells: Sequence[GridCell]) -> Float[Tensor, " cells"]:
        return self.score(self.fork.run(self.jobs(cells), self.positions)).float().cpu()

    @torch.no_grad()
    def together(self, cells: Sequence[GridCell]) -> float:
        """The metric of one run with all the cells patched."""
        job = tuple(patch for parts in self.jobs(cells) for patch in parts)
        return float(self.score(self.fork.run([job], self.positions))[0])

    def _window(self, cell: GridCell) -> list[Patch]:
        sites = [Site(cell.name, layer, cell.head, cell.position) for layer in self.layers(cell.layer)]
        return [Patch(site, part(site, self.clean[site.whole])[0]) for site in sites]

    def _frozen(self, cell: GridCell) -> list[Patch]:
        """Later sites held at what they are in the corrupt run, at every position: the patch acts past them."""
        layers = range(self.layers(cell.layer).stop, self.site_map.num_layers)
        held = [Site(name, layer) for name in self.freeze for layer in layers]
        return [Patch(site, self.clean[site][1]) for site in held]


def prepare(
    site_map: SiteMap,
    prompts: TracePrompts,
    names: Sequence[str],
    metric: str,
    *,
    window: int,
    freeze: Sequence[str],
    rows: FittingRows | None = None,
) -> Trace:
    """Run clean and corrupt once and keep what every cell of the kinds of site in `names` needs.

    rows: how many patched runs travel together, where traces share what turned out to fit.
    Raises UserError where the two runs score the same, for then there is nothing to recover.
    """
    device = next(site_map.embed.parameters()).device
    clean_ids, corrupt_ids = (torch.tensor([ids], device=device) for ids in (prompts.clean, prompts.corrupt))
    layers = range(site_map.num_layers)
    wanted = [Site(name, layer) for name in dict.fromkeys([*names, *freeze]) for layer in layers]
    edits: list[Edit] = []
    if (noise := prompts.noise) is not None:
        edits.append(Edit(Site("embed"), lambda value: value + noise.to(value)))
    fork = record(site_map, corrupt_ids, edits)
    with torch.no_grad():
        clean = activations(site_map, clean_ids, wanted)
        if freeze:
            held = activations(site_map, corrupt_ids, [Site(name, layer) for name in freeze for layer in layers], edits)
            clean |= {site: torch.cat([clean[site], value]) for site, value in held.items()}
        clean_run = record(site_map, clean_ids)
        positions = _scored_positions(prompts)
        clean_logits, corrupt_logits = clean_run.logits(positions), fork.logits(positions)
        score = _score(prompts, metric, clean_logits)
        clean_metric, corrupt_metric = float(score(clean_logits)), float(score(corrupt_logits))
    ends = (clean_logits, corrupt_logits)
    rows = rows or rows_of(site_map, prompts)
    return Trace(site_map, fork, clean, prompts, score, positions, clean_metric, corrupt_metric, window, tuple(freeze), ends, rows)


def rows_of(site_map: SiteMap, prompts: TracePrompts) -> FittingRows:
    """How many patched runs of a pair of prompts travel together: as many as are asked for, where memory allows it."""
    return fitting_rows(site_map, len(prompts.clean), sys.maxsize, len(_scored_positions(prompts)))


def grid(site_map: SiteMap, prompts: TracePrompts, names: Sequence[str], *, heads: bool) -> list[list[GridCell]]:
    """Every cell worth patching, a list for each kind of site and, with `heads`, one for every head: all layers at every position from the
    first corrupted one to the prompt's last, late positions first, which are the cheapest."""
    layers, positions = range(site_map.num_layers), range(prompts.last, prompts.first - 1, -1)
    cells = [[GridCell(name, layer, position) for position in positions for layer in layers] for name in names]
    if heads:
        every = range(site_map.heads("z"))
        cells.append([GridCell("z", layer, position, head) for position in positions for layer in layers for head in every])
    return cells


def batches(cells: Sequence[Sequence[GridCell]], rows: int) -> list[tuple[GridCell, ...]]:
    """The cells of a grid, at most `rows` patched runs at once and none of two kinds of site, so that a view fills site by site."""
    return [tuple(kind[start : start + rows]) for kind in cells for start in range(0, len(kind), rows)]


def recovery(patched: float, clean: float, corrupt: float) -> float:
    """(patched − corrupt)/(clean − corrupt). Raises UserError where the ends are the same."""
    if not abs(clean - corrupt) >= SMALLEST_EFFECT:
        raise UserError(
            f"the metric is {clean:.6g} on the clean prompt and {corrupt:.6g} on the corrupt one: there is nothing to recover",
            "check that the model knows the answer, or choose another metric",
        )
    return (patched - corrupt) / (clean - corrupt)


def _scored_positions(prompts: TracePrompts) -> tuple[int, ...]:
    """Where the next token is looked at: at the prompt's end, or before each token of an answer that stands in the ids."""
    return tuple(range(prompts.last, len(prompts.clean)))


def _score(prompts: TracePrompts, metric: str, clean: Float[Tensor, "positions vocab"]) -> Metric:
    """A metric of logits (rows, positions, vocab)."""
    if not prompts.sequence:
        single = metric_of(metric, prompts.answer, clean[0])
        return lambda logits: single(logits[..., 0, :])

    def whole(logits: Tensor) -> Tensor:
        terms = [log_prob(logits[..., i, :], [token]) for i, token in enumerate(prompts.answer.right)]
        total = torch.stack(terms).sum(0)
        return total.exp() if metric == "prob" else total

    return whole
