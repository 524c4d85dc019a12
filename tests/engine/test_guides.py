"""The pages of examples/guides/ do what they say: every command in them runs, in order, and every file they print is one that works."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import guide_pages
import pytest
from guide_pages import GUIDES, ROOT, Desk

from cluster import fake_slurm
from interp_tui_engine import manifest
from interp_tui_engine.runfolder import RunFolder

PAGES = {name: guide_pages.read(name) for name in sorted(path.stem for path in GUIDES.glob("*.md") if path.name != "README.md")}
RESULTS = {
    "first-llc": {"trained": "llc_mean", "early": "llc_mean"},
    "where-a-fact-lives": {"trace": "peak", "lens": "crossover_layer"},
    "find-a-circuit": {"circuit": "faithfulness"},
    "train-and-read-an-sae": {"sae": "fvu", "read": "cards"},
    "follow-training": {"stages": "series"},
    "cluster": {"there": "llc_mean", "here": "llc_mean"},
    "add-your-own-kind": {"surprise": "loss"},
    "moving-in": {"lens": "crossover_layer"},
}
"""By page, the runs that it makes and a number of each that it speaks of."""
OWN_KIND = "add-your-own-kind"
PATIENCE = 900
"""Seconds that a page may take where other work keeps the machine busy; idle, it takes some 20."""
FORM = """
import asyncio
from pathlib import Path

from interp_tui.app import InterpApp
from interp_tui.widgets.form import FieldRow


class NewSurprise(InterpApp):
    def on_mount(self):
        super().on_mount()
        self.new_run("surprise", None)


async def fields():
    app = NewSurprise(Path("runs"))
    async with app.run_test(size=(140, 40)) as pilot:
        shown = set()
        while "params.prompt" not in shown:  # rows come in portions; without the field, the test's time runs out
            await pilot.pause(0.05)
            shown = {".".join(row.field.path) for row in app.screen.query(FieldRow)}
        return shown


print(sorted(asyncio.run(fields())))
"""


def assert_runs_are_whole(page: str, folder: Path) -> None:
    """Each run of the page has ended well, with the number that the page speaks of and a report."""
    for name, number in RESULTS[page].items():
        run = RunFolder(folder / "runs" / name)
        result = run.result()
        assert result is not None and result[number] not in (None, []), f"{page}: {name} has no {number}"
        assert run.report_path.stat().st_size > 0


def checkout(folder: Path) -> Path:
    """A copy of what a kind is added to: the sources, and the tests of the kinds."""
    leave = shutil.ignore_patterns("__pycache__", "__snapshots__", "recorded", "bench", "tui")
    for part in ("engine", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=leave)
    shutil.copytree(ROOT / "tui", folder / "tui", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "themes", folder / "themes")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_index_and_the_readme_name_every_page() -> None:
    assert set(RESULTS) == set(PAGES)
    for text, prefix in ((GUIDES / "README.md", ""), (ROOT / "README.md", "examples/guides/")):
        named = re.findall(rf"\({prefix}([\w-]+)\.md\)", text.read_text(encoding="utf-8"))
        assert set(named) - {"README"} == set(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_of_a_page_are_there(name: str) -> None:
    linked = re.findall(r"\]\(([\w./-]+)\)", re.sub(r"(?ms)^```.*?^```$", "", (GUIDES / f"{name}.md").read_text(encoding="utf-8")))
    assert [link for link in linked if link.endswith(".svg")], "a page ends in a picture"
    assert [link for link in linked if not (GUIDES / link).is_file()] == []


@pytest.mark.parametrize("name", [name for name in PAGES if name != OWN_KIND])
def test_manifests_of_a_page_are_valid_as_printed(name: str, tmp_path: Path) -> None:
    for block in PAGES[name].blocks:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    for run in RESULTS[name]:
        (tmp_path / "runs" / run).mkdir(parents=True)
    for file in ("cfg.json", "sae_weights.safetensors"):  # what the page's own run leaves there
        (tmp_path / "runs" / "sae" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "sae" / file).write_text("{}")
    for block in PAGES[name].blocks:
        if block.language == "toml":
            assert block.file is not None and manifest.load(tmp_path / block.file).kind


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if name != OWN_KIND and not page.long])
def test_a_page_runs_with_its_runs_cut_short(name: str, tmp_path: Path) -> None:
    desk, cluster = Desk(tmp_path, cut=PAGES[name].cut), None
    if name == "cluster":  # a stand-in for Slurm's commands, which runs the tasks here
        cluster = fake_slurm.install(tmp_path / ".cluster")
        desk.environment["INTERP_TUI_STATE"] = str(tmp_path / ".state")
        desk.environment["PATH"] = f"{tmp_path / '.cluster' / 'bin'}:{desk.environment['PATH']}"
    desk.follow(PAGES[name])
    assert_runs_are_whole(name, tmp_path)
    if cluster is not None:
        # the probe of the file system, two workers and one that joins what they did
        assert sorted(task["state"] for task in cluster.all().values()) == ["COMPLETED"] * 4


@pytest.mark.timeout(PATIENCE)
def test_a_kind_is_one_file_and_its_test(tmp_path: Path) -> None:
    desk = Desk(tmp_path, sources=checkout(tmp_path))
    before = {path for part in ("engine", "tui") for path in (tmp_path / part).rglob("*.py")}
    printed = desk.follow(PAGES[OWN_KIND])
    assert_runs_are_whole(OWN_KIND, tmp_path)
    assert {path.name for part in ("engine", "tui") for path in (tmp_path / part).rglob("*.py")} - {p.name for p in before} == {
        "surprise.py"
    }
    assert "4 passed" in printed, "the page's two tests, and the catalogue's two of every kind"
    assert "token.loss by step" in printed, "the view that any kind has"
    assert "'params.prompt'" in desk.run(["python", "-c", FORM]), "what has no default is shown; the rest is folded"


@pytest.mark.real
@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if (page.cut or page.long) and name != "cluster"])
def test_a_page_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    Desk(tmp_path).follow(PAGES[name])
    assert_runs_are_whole(name, tmp_path)
