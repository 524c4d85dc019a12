"""The cursor of a table whose rows grow above it: on its row, or on the first one until it is moved."""

from __future__ import annotations

import pytest
from textual import on
from textual.app import App, ComposeResult

from interp_tui.widgets.list_table import Cell, Column, ListTable, Row


class Table(App[None]):
    def __init__(self, begins_at_top: bool) -> None:
        super().__init__()
        self.table = ListTable([Column("part", 4)], begins_at_top=begins_at_top)
        self.heard: list[str | None] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return {"muted": "#888888"}

    def compose(self) -> ComposeResult:
        yield self.table

    @on(ListTable.Highlighted)
    def hear(self, event: ListTable.Highlighted) -> None:
        self.heard.append(event.key)


def rows(names: str) -> list[Row]:
    return [Row(name, (Cell(name),)) for name in names]


@pytest.mark.parametrize(("begins_at_top", "first", "heard"), [(True, "a", ["d", "a", "b"]), (False, "d", ["d", "e"])])
async def test_rows_that_come_above(begins_at_top: bool, first: str, heard: list[str]) -> None:
    app = Table(begins_at_top)
    async with app.run_test(size=(20, 4)) as pilot:
        app.table.focus()
        app.table.set_rows(rows("def"))
        for _ in range(2):  # the second time nothing is new, and nothing is told
            app.table.set_rows(rows("abcdef"))
        assert app.table.key == first
        await pilot.press("down")
        moved_to = app.table.key
        app.table.set_rows(rows("ABCabcdef"))
        await pilot.pause()
        assert app.table.key == moved_to, "once moved, it stays on its row"
        assert app.heard == heard
