"""The steering view: before and after side by side, what changed marked, text as text."""

from __future__ import annotations

from typing import Any

from on_screen import look

from interp_tui.app import InterpApp
from interp_tui_engine.events import Metrics, Phase, Progress, RunFinished, RunStarted

PROMPTS = ["The capital of France is", "The capital of [/b]\x1b]52;c;aGk=\x07 is"]


def made(make_run: Any, written: int, name: str = "toward-asia") -> InterpApp:
    events: list[Any] = [RunStarted("steer_text", name, device="cpu"), Phase("writing", "2 prompts, 2 strengths")]
    for step in range(written):
        after = [
            {"strength": 1.0, "after_tokens": [" Paris", "."], "after_logprob": -0.2, "kl": 0.01},
            {"strength": 4.0, "after_tokens": [" Tokyo", ".", " [red]"], "after_logprob": -6.1, "kl": 3.2},
        ]
        cell: dict[str, Any] = {
            "prompt": PROMPTS[step],
            "before_tokens": [" Paris", "."],
            "before_logprob": -0.1,
            "kl": 0.0,
            "after": after,
        }
        if step == 0:
            cell |= {"direction": "the probe at L2.resid_post", "site": "L2.resid_post", "verb": "add", "step": 3.5}
        events.append(Metrics("cells", step, cell))
    events += [Progress(written, 2, "prompts"), *([RunFinished("done", 1.0, {"changed": 2})] if written == 2 else [])]
    tables = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"prompts": PROMPTS}}
    state = "done" if written == 2 else "running"
    folder = make_run(name, kind="steer_text", state=state, tables=tables, events=events, unit="prompts", total=2, done=written)
    return InterpApp(folder.path.parent, folder.path)


def test_look(make_run, snap_compare):
    async def before(pilot: Any) -> None:
        await look(pilot, "down")

    assert snap_compare(made(make_run, 2), terminal_size=(80, 24), run_before=before)


async def test_before_and_after_stand_side_by_side(make_run):
    async with made(make_run, 2).run_test(size=(140, 40)) as pilot:
        text = await look(pilot, "down")
        assert "the probe at L2.resid_post" in text and "added at L2.resid_post" in text and "-6.00" in text
        line = next(line for line in text.splitlines() if "The capital of France is Paris." in line)
        assert "The capital of France is Tokyo. [red]" in line
        text = await look(pilot, "down")
        assert "[/b]" in text and "\x1b" not in text


async def test_before_anything_is_written_it_says_what_it_does(make_run):
    async with made(make_run, 0, "empty").run_test(size=(80, 24)) as pilot:
        assert "writing" in await look(pilot)
