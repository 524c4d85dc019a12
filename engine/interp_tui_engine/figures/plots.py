"""Attention patterns and circuits as pictures that open anywhere: SVG, or a self-contained page when the file is called .html. Torch-free.

plot_attention(pattern, tokens=["The", "capital", ...], output="attention.svg")
plot_circuit(circuit, output="circuit.html")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import atomic
from ..errors import UserError
from .heat import heatmap_svg
from .picture import Picture

if TYPE_CHECKING:
    from ..circuits.circuit import Circuit

BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y = 96, 26, 22, 58
SHOWN_EDGES = 60
"""Edges drawn at most, strongest first: more are a grey cloud."""


def plot_attention(pattern: Any, tokens: Sequence[str], output: str | Path | None = None, title: str = "attention") -> Picture:
    """One head's pattern (query, key) with tokens on both axes, as SVG text; written to `output` too where it is given.

    The last value of a notebook's cell, it is drawn. Raises UserError where the tokens do not fit the pattern.
    """
    rows = pattern.tolist() if hasattr(pattern, "tolist") else [list(row) for row in pattern]
    if len(rows) != len(tokens) or any(not isinstance(row, list) or len(row) != len(tokens) for row in rows):
        shape = tuple(getattr(pattern, "shape", (len(rows),)))
        raise UserError(
            f"a pattern of shape {shape} and {len(tokens)} tokens", "give one head's (query, key) pattern and a text for each token"
        )
    labels = [_plain(token) for token in tokens]
    return _written(heatmap_svg(title, labels, labels, rows, "attention weight"), output, title)


def plot_circuit(circuit: Circuit | Mapping[str, Any], output: str | Path | None = None, title: str = "circuit") -> Picture:
    """A circuit's nodes by layer, from the embedding (bottom) to the logits (top), and its strongest edges, as SVG text.

    circuit: what CircuitFinder returns, or the result.json of a run of kind circuit.
    """
    nodes, edges = _parts(circuit)
    shared = int(circuit.get("heads_per_kv", 1)) if isinstance(circuit, Mapping) else circuit.heads_per_kv
    # a layer's MLP above its heads, which it reads
    layers = sorted({(layer, _is_mlp(name)) for name, layer, _ in nodes})
    levels = {"embed": 0, **{name: 1 + layers.index((layer, _is_mlp(name))) for name, layer, _ in nodes}, "logits": len(layers) + 1}
    wide = max([1, *(sum(level == at for level in levels.values()) for at in set(levels.values()))])
    width, height = 60 + wide * (BOX_WIDTH + GAP_X), 80 + (len(layers) + 2) * (BOX_HEIGHT + GAP_Y)
    places: dict[str, tuple[float, float]] = {}
    for level in sorted(set(levels.values())):
        names = [name for name, at in levels.items() if at == level]
        start = width / 2 - (len(names) - 1) * (BOX_WIDTH + GAP_X) / 2
        for index, name in enumerate(names):
            places[name] = (start + index * (BOX_WIDTH + GAP_X), height - 40 - level * (BOX_HEIGHT + GAP_Y))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="20" y="24" font-size="14">{escape(title)}</text>',
    ]
    reach = max([abs(effect) for _, _, effect in edges], default=1.0) or 1.0
    for sender, receiver, effect in sorted(edges, key=lambda edge: -abs(edge[2]))[:SHOWN_EDGES]:
        for target in _boxes_of(receiver, places, shared):
            parts.append(_arrow(places[sender], places[target], effect, reach, f"{sender} → {receiver}"))
    effects = {name: effect for name, _, effect in nodes}
    parts += [_box(name, *place, effects.get(name)) for name, place in places.items()]
    return _written("\n".join([*parts, "</svg>", ""]), output, title)


def _parts(circuit: Any) -> tuple[list[tuple[str, int, float]], list[tuple[str, str, float]]]:
    """(name, layer, effect) of nodes and (sender, receiver, effect) of edges."""
    if isinstance(circuit, Mapping):
        nodes = [(str(row["name"]), int(row["layer"]), float(row["effect"])) for row in circuit["nodes"]]
        named = [(str(row["name"]), float(row["effect"])) for row in circuit["edges"]]
    else:
        nodes = circuit.named_nodes()
        named = [(edge.name, effect) for edge, effect in circuit.edges.items()]
    edges = []
    for name, effect in named:
        sender, _, receiver = name.partition(" → ")
        edges.append((sender, receiver, effect))
    return nodes, edges


def _is_mlp(name: str) -> bool:
    return name.endswith(" MLP")


def _boxes_of(receiver: str, places: Mapping[str, Any], shared: int) -> list[str]:
    """The boxes an edge ends at: those of all heads that share a K/V head where it ends at its keys or values."""
    if receiver in places:
        return [receiver]
    name = receiver.rpartition(".")[0]
    if "KV" not in name:
        return [name] if name in places else []
    layer, _, group = name.partition("KV")
    heads = [box for box in places if box.startswith(f"{layer}H")]
    return [box for box in heads if int(box.removeprefix(f"{layer}H")) // shared == int(group)]


def _arrow(start: tuple[float, float], end: tuple[float, float], effect: float, reach: float, name: str) -> str:
    (x0, y0), (x1, y1) = start, end
    share = abs(effect) / reach
    colour = "#1b6fc2" if effect >= 0 else "#c4551a"
    path = f"M{x0:.1f} {y0 - BOX_HEIGHT / 2:.1f}C{x0:.1f} {y0 - 50:.1f} {x1:.1f} {y1 + 50:.1f} {x1:.1f} {y1 + BOX_HEIGHT / 2:.1f}"
    line = f'd="{path}" fill="none" stroke="{colour}" stroke-width="{0.6 + 4 * share:.1f}" stroke-opacity="{0.25 + 0.6 * share:.2f}"'
    return f"<path {line}><title>{escape(name)}: {effect:+.3f}</title></path>"


def _box(name: str, x: float, y: float, effect: float | None) -> str:
    fill = "#eef2f7" if effect is None else "#dcebfa" if effect >= 0 else "#fae4d8"
    effect_text = "" if effect is None else f" {effect:+.2f}"
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    box = f'<rect x="{left:.1f}" y="{top:.1f}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="{fill}" stroke="#8a99a8"/>'
    return f'{box}<text x="{x:.1f}" y="{y + 4:.1f}" text-anchor="middle">{escape(name)}{effect_text}</text>'


def _plain(token: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in token).strip() or "␣"


def _written(svg: str, output: str | Path | None, title: str) -> Picture:
    if output is not None:
        path = Path(output)
        page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><body>\n{svg}</body></html>\n'
        try:
            atomic.write_text(path, page if path.suffix == ".html" else svg, durable=False)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", "choose a folder that exists and can be written") from None
    return Picture(svg)
