"""The activations view: the store by layer and site, the tokens of a row by their norms, names and tokens as text."""

from __future__ import annotations

from typing import Any

from on_screen import look

from interp_tui.app import InterpApp
from interp_tui.views.activations import ActivationsView, place_of
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted

SITES = ["embed", "L0.resid_post", "L1.resid_post", "L1.z", "L1.k.H1"]
TOKENS = ["The", " capital", " of", "[/b]", "\x1b]52;c;aGk=\x07"]


def made(make_run: Any, read: int, name: str = "prose") -> InterpApp:
    shapes = {site: [8, 5, 128] for site in SITES}
    header = {"sites": SITES, "layers": 4, "shapes": shapes, "dtype": "float32", "store": "activations.zarr"}
    events: list[Any] = [RunStarted("activations", name, device="cpu"), Phase("reading data", "train")]
    events += [Metrics("cells", 0, header)] if read else []
    for step in range(read):
        rms = {site: (3.0 if step else 4.0) + index for index, site in enumerate(SITES)}
        shown = [
            {"row": 4 * step, "tokens": TOKENS, "norms": {site: [1.0 + index + p for p in range(5)] for index, site in enumerate(SITES)}}
        ]
        events.append(Metrics("cells", step + 1, {"rms": rms, "rows": 4, "shown": shown}))
    events += [Progress(4 * read, 8, "rows"), *([RunFinished("done", 1.0, {"rows": 8})] if read == 2 else [])]
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"sites": SITES}}
    state = "done" if read == 2 else "running"
    folder = make_run(name, kind="activations", state=state, tables=tables, events=events, unit="rows", total=8, done=4 * read)
    return InterpApp(folder.path.parent, folder.path)


def test_look(make_run, snap_compare):
    async def before(pilot: Any) -> None:
        await look(pilot, "down", "down", "right")

    assert snap_compare(made(make_run, 2), terminal_size=(80, 24), run_before=before)


async def test_the_cursor_names_a_site_and_its_tokens_norms(make_run):
    async with made(make_run, 2).run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down", "down", "right")
        # two batches of equal size, 6 and 5: their mean square is (36 + 25) / 2
        assert "L1.resid_post" in text and "5.523" in text and "8 × 5 × 128" in text and "over 8 rows" in text
        assert "[/b]" in text and "\x1b" not in text and "norm 3" in text
        text = await look(pilot, "enter", "right", "right")
        assert "“ of”" in text and "norm 5" in text
        text = await look(pilot, "enter", "n", "left")
        assert "row 2 of 2" in text and "not stored" in text


async def test_the_marked_token_is_given_as_the_model_cut_it(make_run):
    app = made(make_run, 2)
    async with app.run_test(size=(140, 40)) as pilot:
        await look(pilot)
        view = app.screen.query_one(ActivationsView)
        assert view.token_at() == ("The",), "though the grid above has the keys"
        await look(pilot, "enter", "end")
        assert view.token_at() == tuple(TOKENS), "not as it is drawn"


async def test_before_anything_is_read_it_says_what_it_does(make_run):
    async with made(make_run, 0, "empty").run_test(size=(80, 24)) as pilot:
        assert "reading data" in await look(pilot)


def test_places():
    assert place_of("L12.k.H1") == ("L12", "k.H1") and place_of("embed") == ("in", "embed") and place_of("Lx.y") == ("in", "Lx.y")
