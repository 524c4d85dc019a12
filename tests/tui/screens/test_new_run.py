"""New run: how it looks, what typing does to the manifest, and how a run is started or saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import on_screen
import pytest
import tomli
from textual.widgets import Input

from interp_tui.app import InterpApp
from interp_tui.runs import draft, session
from interp_tui.screens.info import InfoScreen
from interp_tui.screens.new_run import NewRunScreen
from interp_tui.screens.run import RunScreen
from interp_tui.widgets.form import Choice, FieldRow, Form, SectionTitle
from interp_tui_engine import catalog, expected_time, manifest, run_queue, supervisor
from interp_tui_engine.catalog import Estimate
from interp_tui_engine.errors import UserError
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
SIZES = [(80, 24), (140, 40)]
at_both_sizes = pytest.mark.parametrize("size", SIZES, ids=["80x24", "140x40"])


@pytest.fixture(autouse=True)
def same_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate measures this machine; here every run costs the same. And the kinds are those that these pictures were taken with."""
    get = catalog.get
    cost = Estimate(22.0, 310_000_000, 5_000_000)
    monkeypatch.setattr(catalog, "get", lambda name: dataclasses.replace(get(name), estimate=lambda request: cost))
    monkeypatch.setattr(expected_time, "expected", lambda request, root, estimate: estimate(request))
    monkeypatch.setattr(catalog, "kinds", lambda: [catalog.get(name) for name in ("llc", "sample")])


class NewRunApp(InterpApp):
    """Opens on New run."""

    def __init__(self, runs_root: Path, kind: str | None = "llc", template: RunFolder | None = None) -> None:
        super().__init__(runs_root)
        self.asked = (kind, template)

    def on_mount(self) -> None:
        super().on_mount()
        self.new_run(*self.asked)


def box(app: InterpApp, *path: str) -> Input:
    """The input of the field at `path`."""
    return next(row for row in app.screen.query(FieldRow) if row.field.path == path).query_one(Input)


def screen(app: InterpApp) -> NewRunScreen:
    assert isinstance(app.screen, NewRunScreen)
    return app.screen


@at_both_sizes
def test_look_kinds(snap: Any, runs_root: Path, size: tuple[int, int]) -> None:
    assert snap(NewRunApp(runs_root, kind=None), size)


@at_both_sizes
def test_look_form(snap: Any, runs_root: Path, size: tuple[int, int]) -> None:
    assert snap(NewRunApp(runs_root), size)


@at_both_sizes
def test_look_error(snap: Any, runs_root: Path, size: tuple[int, int]) -> None:
    def spoil(app: InterpApp) -> None:
        box(app, "params", "lr").value = "-1"
        box(app, "params", "lr").focus()

    assert snap(NewRunApp(runs_root), size, do=spoil)


@at_both_sizes
def test_look_dry_run(snap: Any, runs_root: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp_tui.text.manifest_text.new_run_path", lambda root, kind, name: root / f"20260921-141320-{kind}-{name}")
    assert snap(NewRunApp(runs_root), size, "f5")


async def test_a_bad_value_says_the_manifests_own_words(runs_root: Path, settle: Any) -> None:
    app = NewRunApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        assert screen(app).checked is not None
        box(app, "params", "lr").value = "-1"
        await settle(pilot, 0.4)
        with pytest.raises(manifest.ManifestError) as caught:
            manifest.parse(screen(app).draft.toml())  # type: ignore[union-attr]
        assert app.screen.query_one(Form).errors == {("params", "lr"): caught.value.problems[0].message}
        assert screen(app).checked is None
        box(app, "params", "lr").value = "1e-5"
        await settle(pilot, 0.4)
        assert app.screen.query_one(Form).errors == {}
        assert screen(app).checked is not None and screen(app).checked.params.lr == 1e-5  # type: ignore[union-attr]


async def test_a_run_starts_from_what_is_in_the_form(runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[manifest.Manifest] = []

    def start(request: manifest.Manifest, root: Path) -> RunFolder:
        started.append(request)
        raise UserError("no machine", "find one")

    monkeypatch.setattr(session, "start", start)
    app = NewRunApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        box(app, "name").value = "mine"
        await settle(pilot, 0.4)
        await pilot.press("enter")
        await settle(pilot)
        assert [request.name for request in started] == ["mine"]
        assert any("no machine" in str(note.title) for note in app._notifications)


async def test_what_the_run_will_need_is_got_ready_while_its_form_is_filled_in(
    runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready: list[str] = []
    monkeypatch.setattr(supervisor, "get_ready", ready.append)
    app = NewRunApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        screen(app)._show_pane("settings")
        box(app, "params", "lr").value = "1e-5"
        await settle(pilot, 0.4)
        checked = screen(app).checked
        assert checked is not None and set(ready) == {checked.kind}
        ready.clear()
        elsewhere = checked.compute.model_copy(update={"executor": "slurm"})
        session.get_ready(checked.model_copy(update={"compute": elsewhere}))
        session.get_ready(checked.model_copy(update={"model": None}))
        assert ready == [], "nothing for a run on another machine, or without a model"


async def test_a_run_can_wait_in_the_queue_instead(runs_root: Path, settle: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERP_TUI_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(run_queue, "free_devices", list)
    monkeypatch.setattr(session, "start", lambda request, root: pytest.fail("started at once"))
    app = NewRunApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        before = screen(app).draft.toml()  # type: ignore[union-attr]
        choice = next(row for row in app.screen.query(FieldRow) if row.field.path == draft.START).query_one(Choice)
        choice.focus()
        await pilot.press("right")
        await settle(pilot, 0.4)
        assert choice.value == draft.IN_QUEUE and screen(app).draft.toml() == before, "it is no part of the manifest"  # type: ignore[union-attr]
        await pilot.press("ctrl+r")
        await until_open(pilot)
        (folder,) = run_queue.waiting()
        assert folder.path.parent == runs_root and folder.status().state == "queued"
        assert "waits in the queue" in on_screen.shown(app.screen)


async def until_open(pilot: Any) -> None:
    for _ in range(500):
        if isinstance(pilot.app.screen, RunScreen):
            await on_screen.ready(pilot)
            return
        await pilot.pause(0.01)
    raise AssertionError(f"{pilot.app.screen} shows")


async def test_a_bad_manifest_does_not_start(runs_root: Path, settle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "start", lambda request, root: pytest.fail("started"))
    app = NewRunApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        box(app, "params", "num_draws").value = "many"
        await pilot.press("enter")  # before the check has run
        await settle(pilot, 0.4)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, NewRunScreen)


async def test_datasets_are_made_by_naming_them(runs_root: Path, settle: Any) -> None:
    app = NewRunApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        box(app, "data").focus()
        box(app, "data").value = "train, code, facts"
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot, 0.4)
        box(app, "data", "facts", "source").value = "builtin:facts"
        await settle(pilot, 0.4)
        assert tomli.loads(screen(app)._text)["data"]["facts"]["source"] == "builtin:facts"


async def test_seldom_used_fields_unfold(runs_root: Path, settle: Any) -> None:
    app = NewRunApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        assert not [row for row in app.screen.query(FieldRow) if row.field.label == "noise_level"]
        next(title for title in app.screen.query(SectionTitle) if title.section.title == "more params").focus()
        await pilot.press("enter")
        await settle(pilot)
        box(app, "params", "noise_level").value = "0.5"
        await settle(pilot, 0.4)
        assert screen(app).checked is not None and screen(app).checked.params.noise_level == 0.5  # type: ignore[union-attr]


async def test_save_writes_a_manifest_that_parses_and_asks_before_replacing(runs_root: Path, settle: Any, tmp_path: Path) -> None:
    app = NewRunApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("ctrl+s", "enter")
        await settle(pilot)
        saved = tmp_path / "llc.toml"
        assert manifest.load(saved).kind == "llc"
        saved.write_text("mine")
        await pilot.press("ctrl+s", "enter")
        await settle(pilot)
        assert saved.read_text() == "mine"
        await pilot.press("enter")
        await settle(pilot)
        assert manifest.load(saved).kind == "llc"


async def test_a_finished_run_is_a_template(runs_root: Path, make_run: MakeRun, settle: Any) -> None:
    make_run("tiny")
    app = InterpApp(runs_root)
    async with app.run_test(size=(140, 40)) as pilot:
        await settle(pilot)
        await pilot.press("t")
        await settle(pilot, 0.4)
        assert screen(app).checked is not None
        assert screen(app).checked == manifest.load(runs_root / next(runs_root.iterdir()).name)
        await pilot.press("escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1


async def test_dry_run_starts_nothing(runs_root: Path, settle: Any) -> None:
    app = NewRunApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("f5")
        await settle(pilot)
        assert isinstance(app.screen, InfoScreen)
    assert not runs_root.exists()


async def test_leaving_while_the_form_loads_is_no_fault(runs_root: Path, settle: Any) -> None:
    """What a kind's settings load into was asked for after it was gone (`NoMatches`)."""
    app = NewRunApp(runs_root)
    async with app.run_test(size=(80, 24)) as pilot:
        for presses in range(12):
            while not isinstance(app.screen, NewRunScreen):
                await pilot.pause(0)
            for _ in range(presses):  # further into its loading each time
                await pilot.pause(0)
            await app.screen.dismiss()
            app.new_run("llc" if presses % 2 else "sample", None)
        await settle(pilot)
        assert app.return_code in (None, 0) and app.screen.query_one(Form) is not None


async def test_what_is_wrong_is_whole_at_120_columns(runs_root: Path, settle: Any) -> None:
    """Help and errors of a field are cut on its own line at most: below the form they stand whole."""
    app = NewRunApp(runs_root)
    async with app.run_test(size=(120, 30)) as pilot:
        await settle(pilot)
        field = box(app, "params", "lr")
        field.focus()
        await settle(pilot)
        about = next(row for row in app.screen.query(FieldRow) if row.field.path == ("params", "lr")).field.help
        assert _words(about) in _help(app)
        field.value = "a step size that is no number at all"
        await settle(pilot, 0.4)
        (error,) = app.screen.query_one(Form).errors.values()
        assert _words(error) in _help(app)


def _help(app: InterpApp) -> str:
    """What can be read below the form."""
    region = app.screen.query_one("#field-help").region
    lines = on_screen.shown(app.screen).splitlines()[region.y : region.bottom]
    return _words(" ".join(line[region.x : region.right] for line in lines))


def _words(text: str) -> str:
    return " ".join(text.split())
