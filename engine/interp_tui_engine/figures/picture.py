"""SVG text that shows itself where it is the value of a notebook's cell."""

from __future__ import annotations


class Picture(str):
    """SVG as text, which it stays in every other use; `_repr_svg_` and `_repr_html_` are what Jupyter asks for."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f'<div style="max-width:100%;overflow-x:auto">{self}</div>'
