"""Heatmaps and token strips: scales, places, keys, and what is drawn."""

from __future__ import annotations

from typing import Any

import pytest
from textual.app import App, ComposeResult

from interp_tui.widgets.colour_scale import Scale, ScaleStyles, digit, glyph
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.token_strip import Token, TokenStrip, wrap

COLOURS = {"heat-negative": "#e8743b", "heat-zero": "#1b222b", "heat-positive": "#4aa3f0"}


def test_a_scale_with_two_sides_is_even_and_one_with_one_side_starts_at_zero() -> None:
    assert Scale.of([-1.0, None, 4.0]) == Scale(-4.0, 4.0)
    assert Scale.of([1.0, 3.0]) == Scale(0.0, 3.0)
    assert Scale.of([-1.0, -3.0]) == Scale(-3.0, 0.0)
    assert Scale.of([]) == Scale(0.0, 0.0)
    assert Scale(-4.0, 4.0).share(-1.0) == -0.25
    assert Scale(0.0, 2.0).share(9.0) == 1.0
    assert Scale(0.0, 0.0).share(1.0) == 0.0


def test_signs_tell_size_and_side_without_colour() -> None:
    assert [glyph(s, ascii=False) for s in (-1.0, -0.5, 0.0, 1.0, None)] == ["-█", "-▒", "  ", " █", " ·"]
    assert [glyph(s, ascii=True) for s in (-1.0, 1.0, None)] == ["-#", " #", " -"]
    assert [digit(s) for s in (-0.72, 0.04, 0.97, None)] == ["-7", " .", " X", " -"]


def test_shades_run_from_zero_to_the_ends_and_ansi_themes_have_none() -> None:
    palette = ScaleStyles(COLOURS)
    shades = [palette.style(s).bgcolor.triplet.hex for s in (-1.0, 0.0, 1.0)]  # type: ignore[union-attr]
    assert shades == ["#e8743b", "#1b222b", "#4aa3f0"]
    assert not ScaleStyles(dict.fromkeys(COLOURS, "ansi_default")).coloured


def test_tokens_wrap_by_their_width() -> None:
    assert wrap(["ab", "cd", "e", "漢字", "toolong"], 5) == [[0, 1, 2], [3], [4]]
    assert wrap([], 5) == []


class Shown(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.moved: list[tuple[int, int]] = []
        self.opened = 0
        self.token = -1

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return COLOURS | {"muted": "#7d8896"}

    def compose(self) -> ComposeResult:
        yield Heatmap(corner="part")
        yield TokenStrip()

    def on_heatmap_moved(self, event: Heatmap.Moved) -> None:
        self.moved.append((event.row, event.column))

    def on_heatmap_selected(self, event: Heatmap.Selected) -> None:
        self.opened += 1

    def on_token_strip_moved(self, event: TokenStrip.Moved) -> None:
        self.token = event.index


def lines(widget: Any) -> list[str]:
    return ["".join(segment.text for segment in widget.render_line(y)) for y in range(widget.size.height)]


@pytest.mark.usefixtures("settle")
async def test_the_cursor_moves_scrolls_and_stays_on_its_label() -> None:
    app = Shown()
    rows = [f"l{i}" for i in range(40)]
    values = [[i - 20.0, None, 0.5] for i in range(40)]
    async with app.run_test(size=(40, 14)) as pilot:
        heat = app.query_one(Heatmap)
        heat.show(Grid(rows, ("prose", "code", "facts"), values, Scale.of(v for row in values for v in row)))
        heat.focus()
        await pilot.pause()
        assert "prose" in lines(heat)[0] and "-20.0" in lines(heat)[1]
        await pilot.press("pagedown", "pagedown", "right", "enter")
        await pilot.pause()
        assert heat.value is None and app.moved[-1] == (heat.row, 1) and app.opened == 1
        assert any(line.startswith(f"l{heat.row}") for line in lines(heat)), "what the cursor is on is in sight"
        label = rows[heat.row]
        heat.show(Grid(rows[::-1], ("prose", "code", "facts"), values[::-1], heat.grid.scale))
        assert heat.grid.rows[heat.row] == label
        await pilot.press("g", "g")
        assert heat.look == "digit"


@pytest.mark.usefixtures("settle")
async def test_rows_are_tall_where_colours_fill_them_and_one_line_where_signs_would_leave_blanks() -> None:
    app = Shown()
    async with app.run_test(size=(40, 20)) as pilot:
        heat = app.query_one(Heatmap)
        heat.show(Grid(("a", "b"), ("x", "y"), ((1.0, 2.0), (3.0, 4.0)), Scale(0.0, 4.0)))
        await pilot.pause()
        assert heat.row_height > 1
        for look in ("glyph", "digit"):
            heat.focus()
            await pilot.press("g")
            assert heat.look == look
            text = lines(heat)
            assert [line[0] for line in text[1:3]] == ["a", "b"] and "0" in text[3], "rows, then what the signs stand for"
            assert not any(line.strip() for line in text[4:])


@pytest.mark.usefixtures("settle")
async def test_a_strip_shows_its_tokens_and_reads_them_out() -> None:
    app = Shown()
    async with app.run_test(size=(24, 14)) as pilot:
        strip = app.query_one(TokenStrip)
        tokens = [
            Token(text, value, text)
            for text, value in (("The", None), (" capital", -0.4), (" of", 0.1), (" France", 1.0), (" is", 0.2), (" Paris", 0.9))
        ]
        strip.show(tokens, Scale.of(t.value for t in tokens))
        strip.focus()
        await pilot.pause()
        assert "".join(lines(strip)).replace(" ", "") == "ThecapitalofFranceisParis"
        await pilot.press("end", "up")
        await pilot.pause()
        assert app.token == strip.index < 5
        await pilot.press("g")
        await pilot.pause()
        assert "█" in lines(strip)[1], "under the tokens, where colour does not tell"
