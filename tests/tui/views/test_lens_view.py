"""The lens grid: layers fill as they are read, the cursor lists the likeliest tokens, hostile tokens stay text."""

from __future__ import annotations

from typing import Any

import pytest
from on_screen import look

from interp_tui.app import InterpApp
from interp_tui_engine.events import Metrics, Progress, RunFinished, RunStarted

TOKENS = ["The", " capital", " of", "[/b]", "\x1b]52;c;aGk=\x07"]


def events(read: int) -> list[Any]:
    found: list[Any] = [RunStarted("logit_lens", "france", device="cpu")]
    for layer in range(read):
        share = (layer + 1) / 5
        values: dict[str, Any] = {
            "layer": layer, "answer_prob": [share * p / 5 for p in range(1, 6)], "answer_rank": [40 - 10 * layer] * 5,
            "entropy": [5.0 - layer] * 5, "kl_to_end": [3.0 - layer] * 5,
            "top": [[" Paris", " Tokyo", "[red]x"]] * 5, "top_prob": [[share, 0.1, 0.01]] * 5,
        }  # fmt: skip
        if layer == 0:
            values |= {"tokens": TOKENS, "asked": [" capital", " of", " x", " y", " Paris"], "layers": 4}
        found.append(Metrics("cells", layer, values))
    found.append(Progress(read, 4, "layers"))
    return [*found, RunFinished("done", 0.4, {"crossover_layer": 3})] if read == 4 else found


def made(make_run: Any, read: int) -> InterpApp:
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"prompt": "x"}}
    state = "done" if read == 4 else "running"
    folder = make_run("france", kind="logit_lens", state=state, tables=tables, events=events(read), unit="layers", total=4, done=read)
    return InterpApp(folder.path.parent, folder.path)


@pytest.mark.parametrize("size", [(80, 24), (140, 40)], ids=["80x24", "140x40"])
def test_look(make_run, snap_compare, size):
    async def before(pilot: Any) -> None:
        await look(pilot, "down", "s")

    assert snap_compare(made(make_run, 4), terminal_size=size, run_before=before)


async def test_layers_that_are_not_read_yet_say_so_and_tokens_are_text(make_run):
    app = made(make_run, 2)
    async with app.run_test(size=(140, 40)) as pilot:
        await look(pilot, "down", "down")
        lines = app.screen._compositor.render_strips()
        text = "\n".join("".join(segment.text for segment in line) for line in lines)
        assert "not read yet" in text and "[/b]" in text and "\x1b" not in text
        await look(pilot, "up", "s", "s")
        text = "\n".join("".join(segment.text for segment in line) for line in app.screen._compositor.render_strips())
        assert "rank of the next token" in text and "[red]x" in text and "0.4000" not in text


async def test_a_key_reads_through_the_tuned_lens(make_run):
    told = events(4)
    for event in told:
        if isinstance(event, Metrics):
            event.values.update(
                tuned_answer_prob=[0.625] * 5, tuned_answer_rank=[0] * 5, tuned_entropy=[1.0] * 5, tuned_kl_to_end=[0.5] * 5
            )
            event.values.update(tuned_top=[["[b]Rome"]] * 5, tuned_top_prob=[[0.625]] * 5)
    folder = make_run("france", kind="logit_lens", state="done", tables={"seed": 100, "params": {"prompt": "x"}}, events=told)
    async with InterpApp(folder.path.parent, folder.path).run_test(size=(140, 40)) as pilot:
        texts = []
        for keys in ((), ("l",), ("l",)):
            await look(pilot, *keys)
            lines = pilot.app.screen._compositor.render_strips()
            texts.append("\n".join("".join(segment.text for segment in line) for line in lines))
        assert "through the logit lens" in texts[0] and "Paris" in texts[0] and "0.625" not in texts[0]
        assert "through the logit lens" in texts[2] and "0.625" not in texts[2]
        assert "through the tuned lens" in texts[1] and "0.625" in texts[1] and "[b]Rome" in texts[1]
