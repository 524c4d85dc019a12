"""The views of circuits and of part-by-part patching: strongest first, edges on a key, hostile names as text."""

from __future__ import annotations

from typing import Any

from on_screen import look

from interp_tui.app import InterpApp
from interp_tui.views.circuit import CircuitView
from interp_tui.views.circuit_tree import TreeEdge, edges_of, readers, tree
from interp_tui.views.effects import EffectsView
from interp_tui_engine.events import Metrics, Progress, RunFinished, RunStarted, Warned
from interp_tui_engine.payload import read
from interp_tui_engine.results.circuit import EdgeEffect

TABLES = {"seed": 100, "model": {"source": "builtin:tiny"}, "params": {"threshold": 0.02}}


def circuit(make_run: Any, done: bool, name: str = "capitals") -> InterpApp:
    names = [("L3 MLP", 0.45), ("L3H1", 0.001), ("L1H0", 0.40), ("L0H2", -0.07), ("L0H1", 0.91)]
    events: list[Any] = [RunStarted("circuit", name, device="cpu")]
    for step, (node, loss) in enumerate(names):
        told = {"node": node, "loss": loss, "kept": abs(loss) > 0.02, "faithfulness": 1.0, "clean_metric": 16.2, "empty_metric": -17.3}
        events.append(Metrics("cells", step, told))
    events.append(Progress(5, 5 if done else 9, "nodes"))
    if done:
        nodes = [{"name": node, "effect": loss} for node, loss in names if abs(loss) > 0.02]
        edges = [
            {"edge": "L0H1 → L1KV0.v", "effect": 0.87}, {"edge": "[/b]\x1b]52;c;aGk=\x07 → logits", "effect": -0.2},
            {"edge": "L1H0 → logits", "effect": 0.41}, {"edge": "L1H0 → L3 MLP", "effect": 0.3},
            {"edge": "L3 MLP → logits", "effect": 0.45},
        ]  # fmt: skip
        beyond = {"held_out": {"faithfulness": 0.916, "low": 0.873, "high": 0.959}, "random": 0.02}
        events += [Metrics("cells", 5, {"circuit": nodes, "edges": edges, **beyond}), RunFinished("done", 3.0, {"nodes": 4})]
    folder = make_run(
        name, kind="circuit", state="done" if done else "running", tables=TABLES, events=events, unit="nodes", total=5, done=5
    )
    return InterpApp(folder.path.parent, folder.path)


def test_look(make_run, snap_compare):
    async def before(pilot: Any) -> None:
        await look(pilot)

    assert snap_compare(circuit(make_run, True), terminal_size=(80, 24), run_before=before)


async def test_nodes_by_strength_then_edges(make_run):
    app = circuit(make_run, True)
    async with app.run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert text.index("L0H1") < text.index("L3 MLP") < text.index("L1H0") and "L3H1" not in text
        text = await look(pilot, "s")
        assert "L0H1 → L1KV0.v" in text and "+0.870" in text and "[/b]" in text and "\x1b" not in text


async def test_faithfulness_stands_beside_that_on_other_pairs_and_the_axis_fits_beside_the_tree(make_run):
    async with circuit(make_run, True).run_test(size=(110, 30)) as pilot:
        text = await look(pilot)
        assert "on other pairs 0.916 [0.873, 0.959]" in text and "random 0.02" in text
        head = next(line for line in text.splitlines() if "part" in line and "effect" in line)
        assert "−1       0       +1" in head and "what reads from what" in head


async def test_the_tree_stands_beside_and_what_is_cut_is_told(make_run):
    async with circuit(make_run, True).run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert "cut L0H1 +0.910" in text and "metric 16.20 → -14.29" in text and "feeds L1KV0.v 0.87" in text
        tree_lines = [line.partition("│ ")[2] for line in text.splitlines()]
        order = [
            next(i for i, line in enumerate(tree_lines) if part in line) for part in ("logits", "├ L3 MLP", "└ L1H0", "├ L1H0 (above)")
        ]
        assert order == sorted(order)
        text = await look(pilot, "s", "s", "down")
        assert "cut L3 MLP → logits +0.450" in text
    async with circuit(make_run, True, "narrow").run_test(size=(80, 24)) as pilot:
        assert "├ L3 MLP" not in await look(pilot)
        text = await look(pilot, "s", "s")
        assert "├ L3 MLP" in text and "in circuit" not in text


def test_a_tree_unrolls_each_part_once_where_its_strongest_edge_leads():
    rows = [
        {"edge": "a → logits", "effect": 0.2}, {"edge": "b → logits", "effect": -0.9}, {"edge": "a → b", "effect": 0.5},
        {"edge": "embed → L1KV1.k", "effect": 0.1}, {"edge": "no arrow"}, {"edge": None}, {"edge": "L1H2 → a", "effect": None},
    ]  # fmt: skip
    edges = edges_of([read(EdgeEffect, row) for row in rows])
    assert [edge.effect for edge in edges] == [0.2, -0.9, 0.5, 0.1, None]
    lines = tree(edges, ["a", "b", "L1H2"], heads_per_kv=2)
    said = [(line.branch, line.part, line.into, line.again) for line in lines]
    assert said == [
        ("", "logits", "", False), ("├ ", "b", "", False), ("│ └ ", "a", "", False), ("│   └ ", "L1H2", "", False),
        ("│     └ ", "embed", "k", False), ("└ ", "a", "", True),
    ]  # fmt: skip


def test_a_shared_key_is_read_by_every_head_of_its_group():
    assert readers("L1KV0.v", ["L1H0", "L1H3", "L1H4", "L2H0", "L1 MLP"], 4) == [("L1H0", "v"), ("L1H3", "v")]
    assert readers("L1H3.q", ["L1H3"], 4) == [("L1H3", "q")] and readers("L9H3.q", ["L1H3"], 4) == []


def test_a_circle_ends():
    edges = [TreeEdge("x → y", "x", "y", 1.0), TreeEdge("y → x", "y", "x", 1.0), TreeEdge("x → logits", "x", "logits", 1.0)]
    assert len(tree(edges, ["x", "y"])) == 4


async def test_while_it_runs_the_newest_decision_is_on_top(make_run):
    app = circuit(make_run, False)
    async with app.run_test(size=(80, 24)) as pilot:
        text = await look(pilot)
        assert text.index("L0H1") < text.index("L3 MLP") and "cut" in text and "kept" in text


async def test_effects_stand_beside_their_estimates(make_run):
    parts = [{"part": "L0H1", "effect": 0.9, "guess": 0.8}, {"part": "[red]L1H0", "effect": -0.95, "guess": None}]
    events: list[Any] = [RunStarted("attribution_patch", "x", device="cpu")]
    events += [*(Metrics("cells", i, part) for i, part in enumerate(parts)), RunFinished("done", 3.0, {"top": "L0H1"})]
    folder = make_run("x", kind="attribution_patch", tables=TABLES, events=events)
    async with InterpApp(folder.path.parent, folder.path).run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert text.index("[red]L1H0") < text.index("L0H1 ") and "+0.800" in text and "-0.950" in text


async def test_a_column_without_estimates_is_not_shown_and_both_ends_of_the_metric_are(make_run):
    parts = [
        {"part": f"L{i} MLP → logits", "effect": 0.5 - i / 10, "guess": None, "clean_metric": 14.09, "empty_metric": -12.59} for i in (0, 1)
    ]
    events: list[Any] = [RunStarted("path_patch", "x", device="cpu"), Warned("pair 2 of 4 goes the other way: -3 against 5")]
    events += [*(Metrics("cells", i, part) for i, part in enumerate(parts)), RunFinished("done", 3.0, {"top": "L0 MLP → logits"})]
    folder = make_run("x", kind="path_patch", tables=TABLES, events=events)
    async with InterpApp(folder.path.parent, folder.path).run_test(size=(140, 40)) as pilot:
        text = await look(pilot)
        assert "estimate" not in text and "14.09 → -12.59" in text and "+0.500" in text
        assert "pair 2 of 4 goes the other way" in text


def test_results_say_how_far_a_circuit_holds_and_whether_its_pairs_ask_anything():
    nodes = [{"name": "L0H1", "effect": 0.9}]
    reach = {"mean": -33.5, "unrelated": 4.2, "p": 1.0, "clear": False, "opposed": [], "unclear": []}
    held = {"faithfulness": 0.916, "low": 0.873, "high": 0.959}
    result = {
        "nodes": nodes,
        "edges": [],
        "faithfulness": 0.941,
        "held_out": held,
        "random": {"mean": 0.01, "max": 0.14},
        "stability": 0.66,
    }
    text = CircuitView.result_text({**result, "pairs": 4, "reach": reach}, {}, ascii=True).plain
    assert "0.916  [0.873, 0.959]" in text and "at most 0.14" in text and "0.66" in text and "swapped?" in text
    one = CircuitView.result_text({**result, "pairs": 1, "held_out": None, "stability": None}, {}, ascii=True).plain
    assert one.count("not known: one pair") == 2
    top = [{"name": "L0H1", "effect": 0.9, "low": 0.8, "high": 1.0}]
    reach |= {"mean": 20.0, "p": 0.001, "clear": True, "opposed": [3]}
    text = EffectsView.result_text({"top": top, "reach": reach, "top_held_out": {"effect": 0.85}}, {}, ascii=True).plain
    assert "0.900  [0.800, 1.00]" in text and "pairs that go the other way" in text and "0.85" in text
