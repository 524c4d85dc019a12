"""What screens say is so now, is so of this run, and is said in words: the log's past is not told as the present, damage is not silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, cli
from on_screen import look, shown
from rich.text import Text

from interp_tui import cli as program
from interp_tui.app import InterpApp
from interp_tui.export import beside
from interp_tui.runs import follow, model_source, preview, run_rows, session
from interp_tui.runs.filters import compile_filter
from interp_tui.runs.follow import Documents, Follower
from interp_tui.runs.result_texts import result_texts
from interp_tui.runs.runstate import RunState
from interp_tui.runs.strip_facts import strip_facts
from interp_tui.screens import key_ids
from interp_tui.screens.confirm import ConfirmScreen
from interp_tui.screens.runs import RunsScreen
from interp_tui.text.manifest_text import verdict
from interp_tui.text.numbers import number, percent_done
from interp_tui.views.effects import part_row
from interp_tui.widgets.colour_scale import Scale
from interp_tui.widgets.filter_line import FilterLine
from interp_tui.widgets.heatmap import Grid, Heatmap
from interp_tui.widgets.list_table import ListTable
from interp_tui_engine.errors import ManifestError, UserError
from interp_tui_engine.events import ChainFailed, Checkpoint, Metrics, Progress, RunFinished, RunStarted, Stamped, Warned
from interp_tui_engine.manifest import parse
from interp_tui_engine.payload import read
from interp_tui_engine.results.part_effects import PartCell
from interp_tui_engine.runfolder import RunFolder, Status

__all__ = ["cli"]
MakeRun = Callable[..., RunFolder]
GOING = Status("running", "llc", "tiny", "builtin:tiny", done=228, total=4000, unit="draws", eta_seconds=60.0, started=1.0, updated=100.0)


def told(*events: Any) -> RunState:
    state = RunState()
    state.apply_all(Stamped(seq, float(seq), event) for seq, event in enumerate(events, 1))
    return state


# -- the present


def test_while_the_log_is_read_the_status_says_how_far_the_run_is() -> None:
    old = told(RunStarted("llc", "tiny", "cpu", {}, False), Progress(0, 4000, "draws", 900.0))
    facts = strip_facts(old, GOING, 100.0, ascii=False, caught_up=0.03)
    assert facts.fraction == pytest.approx(228 / 4000) and "228/4,000 draws" in facts.parts and "ETA 1 m" in " ".join(facts.parts)
    assert facts.badge == "running · reading its log, 3 %"
    assert strip_facts(old, GOING, 100.0, ascii=False).fraction == 0


def test_a_follower_knows_when_it_has_caught_up(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run("long", state="running", events=[Metrics("chains", i, {"chains": [0], "trace": [[[i, 1.5]]]}) for i in range(30_000)])
    monkeypatch.setattr(follow, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(follow, "CHUNK_SECONDS", 0.001)
    monkeypatch.setattr(follow, "LONG", 1 << 16)
    follower = Follower(folder)
    shares = [follower.read().caught_up]
    assert follower.state.traces[0].last == 29_999  # what is newest is shown first
    while shares[-1] < 1:
        shares.append(follower.read().caught_up)
    assert follower.state.traces[0].moments(0, 30_000).count == 30_000
    assert shares[0] < 0.9 and shares == sorted(shares) and shares[-1] == 1
    with folder.events_path.open("a") as file:
        file.write("\n" * 10)
    assert follower.read().caught_up == 1  # what comes later is news


def test_a_finished_runs_estimate_is_the_results() -> None:
    state = told(Metrics("estimate", 9, {"llc_mean": 38.21, "llc_std_error": 0.40, "tokens_per_second": 5.0}))
    state.adopt({"llc_mean": 38.2, "llc_std_error": 0.39, "llc_std": 1.0})
    assert state.latest["estimate"] == {"llc_mean": 38.2, "llc_std_error": 0.39, "tokens_per_second": 5.0}
    version = state.version
    state.adopt({"llc_mean": 38.2, "llc_std_error": 0.39})
    assert state.version == version


def test_how_far_a_run_is_reads_alike_everywhere() -> None:
    shares = {0.0: 0, 0.649: 64, 0.65: 65, 0.999: 99, 1.0: 100, 7.0: 100, -1.0: 0}
    assert {share: percent_done(share) for share in shares} == {share: f"{percent} %" for share, percent in shares.items()}


# -- damage, and what is not there


def test_a_result_that_cannot_be_read_is_said(make_run: MakeRun, cli: Cli) -> None:
    folder = make_run("cut", result={"llc_mean": 1.0})
    folder.result_path.write_text('{"llc_mean": 1.')
    damage = session.result_damage(folder, folder.result())
    assert "result.json cannot be read" in damage
    documents = Documents("", None, {}, "", damage)
    texts = result_texts(documents, RunState(), folder.status(), lambda *a, **k: Text(), {}, ascii=False, wide=True)
    assert damage in texts.verdict.plain
    assert damage in strip_facts(RunState(), folder.status(), 0.0, ascii=False, damage=damage).notice
    assert preview.read(session.read_run(folder)).warning == damage
    assert "result.json cannot be read" in cli("show", folder.path).out
    with pytest.raises(UserError, match="cannot be read"):
        beside.export(folder)
    folder.result_path.unlink()
    assert session.result_damage(folder, folder.result()) == ""


def test_an_interrupted_run_shows_what_it_has() -> None:
    state = told(
        RunStarted("llc", "tiny", "cpu", {}, False), Progress(228, 4000, "draws", 60.0),
        Metrics("estimate", 9, {"llc_mean": 38.2, "llc_std_error": 0.4}), Checkpoint("checkpoint", 40), Warned("lr is high"),
        ChainFailed(2, 31, "loss not finite"),
    )  # fmt: skip
    interrupted = replace(GOING, state="interrupted")
    texts = result_texts(Documents("", None, {}, ""), state, interrupted, lambda *a, **k: Text(), {}, ascii=False, wide=True)
    assert (
        "no result: interrupted at 228 of 4,000 draws" in texts.verdict.plain and "checkpoint at step 40; r resumes" in texts.verdict.plain
    )
    assert "so far  λ̂ 38.20 ± 0.40" in texts.verdict.plain
    for part in ("λ̂", "38.20 ± 0.40", "as the run last told", "lr is high", "chain 2", "failed at step 31"):
        assert part in texts.numbers.plain, part
    assert "no result yet" in result_texts(Documents("", None, {}, ""), state, GOING, Text, {}, ascii=False, wide=True).verdict.plain


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_the_result_tab_begins_with_the_answer_and_folds_hashes(make_run: MakeRun, runs_root: Path, size: tuple[int, int]) -> None:
    tables = {"model": {"source": "builtin:tiny"}, "result": {"sha256": {"losses": "ab" * 32, "weights": "cd" * 32}}}
    headline = {"llc_mean": 38.2, "llc_std_error": 0.4}
    folder = make_run("whole", headline=headline, result={**headline, "seconds": 8.0}, tables=tables, events=[RunFinished("done", 8.0, {})])
    folder.report_path.write_text("# What was found\n\nIt mixes.\n")
    app = InterpApp(runs_root, folder.path)
    async with app.run_test(size=size) as pilot:
        text = await look(pilot, "tab")
        answer, report = text.index("λ̂ 38.20 ± 0.40   took 8.0 s"), text.index("It mixes.")
        assert answer < report and "sha256 of 2 arrays: h shows them" in text and "abab" not in text
        assert "abababab" in await look(pilot, "h") and "abab" not in await look(pilot, "h")


def test_a_failed_run_without_a_checkpoint_does_not_resume() -> None:
    failed = replace(GOING, state="failed", exit={"reason": "no such model"})
    assert "r tries again from the beginning" in strip_facts(RunState(), failed, 100.0, ascii=False).notice
    assert strip_facts(told(Checkpoint("checkpoint", 40)), failed, 100.0, ascii=False).notice.endswith("r resumes")


@pytest.mark.parametrize(
    ("source", "revision", "wrong"),
    [
        ("builtin:tiny", None, ""),
        ("builtin:tiny", "step-1", "no revision 'step-1'"),
        ("builtin:huge", None, "no model called"),
        ("./nowhere", None, "no such file or folder"),
        ("/nowhere/at/all", None, "no such file or folder"),
        ("a/b/c", None, "no such file or folder"),
        ("model.safetensors", None, "no such file or folder"),
        ("empty", None, "no config.json"),
        ("notes.txt", None, "is no model"),
        ("org/name", None, ""),
        ("gpt2", None, ""),
        ("none:x", None, "no model of the hub"),
    ],
)
def test_a_model_that_is_not_there(tmp_path: Path, source: str, revision: str | None, wrong: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    said = model_source.problem(source, revision, tmp_path)
    assert (wrong in said) if wrong else said == ""


def test_a_model_whose_size_is_not_known_gets_no_tick() -> None:
    unknown = model_source.Estimate(None, None, 1, ("org/name is not on this machine: the hub must be reached",))
    said = verdict(None, unknown, lambda state: f"<{state}>")
    assert said is not None
    assert said.plain.startswith("? ")
    known = verdict(None, model_source.Estimate(1.0, 1, 1), lambda state: f"<{state}>")
    assert known is not None
    assert known.plain.startswith("<done> ")


def test_how_long_a_run_took_reads_alike_everywhere(make_run: MakeRun) -> None:
    folder = make_run("took", events=[RunFinished("done", 8.0, {})], age=3600.0)
    run = session.read_run(folder)
    assert "took 8.0 s" in run_rows.preview(run, preview.read(run), 100, ascii=False).plain
    facts = strip_facts(told(RunFinished("done", 8.0, {})), folder.status(), 0.0, ascii=False)
    assert "took 8.0 s" in facts.parts


def test_new_run_refuses_a_model_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    text = 'kind = "llc"\nname = "x"\n[model]\nsource = "{}"\n[data.train]\nsource = "builtin:prose"\n'
    text += '[params]\nlr = 1e-4\nn_beta = 30.0\nsampling_data = "train"\n'
    cost = model_source.Estimate(1.0, 1, 1)
    with pytest.raises(ManifestError, match=r"model\.source: .*no revision"):
        model_source.with_model(cost, parse(text.format('builtin:tiny"\nrevision = "step-1')))
    assert model_source.with_model(cost, parse(text.format("org/name"))).notes == (
        "org/name is not on this machine: the hub must be reached",
    )
    assert model_source.with_model(cost, parse(text.format("builtin:tiny"))) is cost


# -- figures


async def test_a_heatmap_without_colours_shows_digits_and_says_what_they_stand_for(runs_root: Path) -> None:
    app = InterpApp(runs_root)
    async with app.run_test(size=(60, 20)) as pilot:
        heatmap = Heatmap()
        heatmap.styles.height = 5
        await app.screen.mount(heatmap, before=0)
        heatmap.show(Grid(["L0", "L1"], ["a", "b", "c"], [[0.02, 0.4, -1.0], [None, 0.06, 2.0]], Scale(-2.0, 2.0), most=4))
        app.theme = "ascii"
        await pilot.pause()
        lines = ["".join(segment.text for segment in heatmap.render_line(y)) for y in range(5)]
        assert lines[1].split() == ["L0", ".", "2", "-5"] and lines[2].split() == ["L1", "-", ".", "X"]
        assert lines[3].split()[0] == "-2.00" and lines[3].split()[-1] == "2.00" and " 0 " in lines[3]
        app.theme = "dark"
        await pilot.pause()
        legend = "".join(segment.text for segment in heatmap.render_line(3))
        assert legend.split() == ["-2.00", "0", "2.00"]


def test_path_patches_have_no_empty_column() -> None:
    assert len(part_row(read(PartCell, {"part": "L0H1", "effect": 0.5}), estimated=False).cells) == 3
    assert len(part_row(read(PartCell, {"part": "L0H1", "effect": 0.5, "guess": 0.4}), estimated=True).cells) == 4


# -- filters, keys, words


def test_a_filter_on_a_field_that_no_run_has_says_so() -> None:
    with pytest.raises(ValueError, match="no run has 'knd'; did you mean 'kind'"):
        compile_filter("knd = llc", {"llc_mean"})
    with pytest.raises(ValueError, match="no run has 'zzz'; fields: kind, name"):
        compile_filter("!zzz > 3 | kind = llc", {"llc_mean"})
    for fine in ("llc > 5", "llc_mean > 5", "kind = llc & done", "age < 3h", ""):
        compile_filter(fine, {"llc_mean"})


async def test_rows_stand_while_a_filter_is_typed_and_its_errors_are_whole(make_run: MakeRun, runs_root: Path, settle: Any) -> None:
    make_run("one")
    make_run("two", kind="bif", age=60)
    app = InterpApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        screen, table = app.screen, app.screen.query_one(ListTable)
        assert isinstance(screen, RunsScreen)
        line = screen.query_one(FilterLine)
        await pilot.press("slash")
        await settle(pilot)
        await pilot.press(*"kind=b")
        await settle(pilot)
        assert len(table.rows) == 2 and "no run matches" in shown(screen)
        await pilot.press("i", "f")
        await settle(pilot)
        assert len(table.rows) == 1
        line.clear()
        await pilot.press("slash")
        await settle(pilot)
        await pilot.press(*"nmae>3")
        await settle(pilot)
        assert len(table.rows) == 2
        assert "no run has 'nmae'; did you mean 'name'?" in shown(screen), shown(screen)
        line.clear()
        await pilot.press("slash")
        await settle(pilot)
        await pilot.press(*"kind=nope", "enter")
        await settle(pilot)
        assert len(table.rows) == 0 and "No run matches the filter" in shown(screen)


async def test_running_again_asks_first(make_run: MakeRun, runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("one")
    started: list[RunFolder] = []
    monkeypatch.setattr(session, "replay", lambda folder, root: started.append(folder) or folder)
    app = InterpApp(runs_root)
    async with app.run_test() as pilot:
        await settle(pilot)
        await pilot.press("R")
        await settle(pilot)
        assert isinstance(app.screen, ConfirmScreen) and not started
        await pilot.press("n")
        await settle(pilot)
        assert not started
        await pilot.press("R")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert len(started) == 1


def test_no_view_gives_a_key_of_the_run_screen_another_meaning() -> None:
    """Keys that steer the run mean the same over every view."""
    key_ids.bound(InterpApp)
    from interp_tui.screens.run import RunScreen
    from interp_tui.screens.steering import SteeringScreen
    from interp_tui.views import all_views

    steering = {
        key: binding.id
        for screen in (SteeringScreen, RunScreen, InterpApp)
        for binding in screen.BINDINGS
        for key in binding.key.split(",")
    }
    only_sampling = {"o"}  # lays another sampling run under this one: not offered elsewhere
    for view in all_views():
        for binding in vars(view).get("BINDINGS", ()):
            clash = set(binding.key.split(",")) & (set(steering) - only_sampling - {"escape"})
            assert not clash, f"{view.__name__}: {clash} is {binding.description!r} here and {steering[clash.pop()]} elsewhere"


def test_vim_keys_move_wherever_arrows_do() -> None:
    key_ids.bound(InterpApp)
    from interp_tui.views.sampling import SamplingView
    from interp_tui.widgets.token_strip import TokenStrip

    for owner in (Heatmap, ListTable, TokenStrip, SamplingView):
        keys = [set(binding.key.split(",")) for binding in owner.BINDINGS]
        assert {"up", "k"} in keys and {"down", "j"} in keys, owner


# -- the command line


def test_a_part_of_a_runs_name_opens_it_as_attach_does(make_run: MakeRun, runs_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run("pythia-scan")
    assert program.route(["pythia"]) == ["open", "pythia"]
    monkeypatch.setenv("INTERP_TUI_RUNS", str(runs_root.parent / "elsewhere"))
    assert program.route(["scan", "--runs", str(runs_root)]) == ["open", "scan", "--runs", str(runs_root)]
    with pytest.raises(UserError, match="no such command or run folder"):
        program.route(["scan"])


def test_a_list_of_nothing_says_of_what(make_run: MakeRun, cli: Cli) -> None:
    make_run("one")
    answer = cli("list", "--kind", "lcc")
    assert answer.code == 2 and "Did you mean 'llc'?" in answer.err
    assert "none of the 1 runs under ./runs has kind bif" in cli("list", "--kind", "bif").err


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0.123456789012345, 2.0], "0.1235, 2.000"),
        ([[0.123456789012345, 2.0], [-1.0, None]], "2 × 2 from -1.000 to 2.000"),
        ({"a": 0.123456789012345, "b": "x"}, "a 0.1235, b x"),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], "1, 2, 3, 4, 5, 6, 7, 8, …"),
        pytest.param(10**5000, "beyond 1e300", id="beyond all"),
        (10**20, "1.000e+20"),
        ([[]], "1 × 0"),
    ],
)
def test_no_number_is_written_with_all_its_digits(value: Any, said: str) -> None:
    assert number(value) == said
