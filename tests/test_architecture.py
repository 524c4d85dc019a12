"""Who may load what, and what the wheel holds. Import layers are import-linter's (pyproject.toml); this is what it cannot see."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

import architecture

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "datasets", "zarr", "xarray", "sklearn")


def loaded_after(code: str, modules: tuple[str, ...]) -> str:
    """The `modules` that running `code` in a fresh interpreter leaves loaded."""
    script = f"import sys\n{code}\nprint(','.join(m for m in {modules!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import interp_tui_engine",
        "import interp_tui_engine.supervisor",
        "from interp_tui_engine import catalog; catalog.kinds()",
        "from pathlib import Path; from interp_tui_engine import catalog, manifest; "
        "m = manifest.load(Path('examples/manifests/llc.toml')); catalog.get(m.kind).estimate(m)",
        "import interp_tui.app, interp_tui.cli",
    ],
    ids=["package", "supervisor", "catalog", "manifest and estimate", "tui"],
)
def test_the_contract_is_torch_free(code: str) -> None:
    assert loaded_after(code, HEAVY) == ""


def test_the_command_line_starts_without_the_app() -> None:
    assert loaded_after("import interp_tui.__main__", ("textual", "pydantic", *HEAVY)) == ""


def test_no_files_and_no_folders_import_each_other_in_a_circle() -> None:
    _, files, folders = architecture.graphs()
    assert [architecture.arrows(files, part) for part in architecture.circles(files)] == []
    assert [architecture.arrows(folders, part) for part in architecture.circles(folders)] == []


def test_a_circle_would_be_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert architecture.circles(graph) == [["a", "b", "c"]] and architecture.circles({"a": {"b"}, "b": set()}) == []


def test_every_kind_is_whole() -> None:
    from interp_tui_engine import catalog, manifest

    for kind in catalog.kinds():
        assert kind.title and kind.question.endswith("?") and kind.group in catalog.GROUPS
        for name, field in kind.params.model_fields.items():
            assert field.description, f"{kind.name}.{name} has no description: the form's help would be empty"
        resolved = manifest.resolve({"kind": kind.name, **kind.example})
        assert manifest.parse(resolved.to_toml()) == resolved


def untyped_payloads(source: str) -> list[int]:
    """Lines on which a live event or a result is given a table made in place instead of one that a typed payload was written as."""
    lines = []
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ("Metrics", "Result"):
            given = call.args[2:] if call.func.id == "Metrics" else call.args[:2]
            lines += [call.lineno for value in given if isinstance(value, (ast.Dict, ast.DictComp, ast.BinOp))]
    return lines


def test_kinds_write_only_what_their_types_hold() -> None:
    """A key that is renamed in results/ is then an error of mypy where it is written, not a warning after the run."""
    assert untyped_payloads('Metrics("cells", 0, {"a": 1})\nMetrics("cells", 0, Cell(a=1).as_json())\nResult(a | {"b": 1}, h)') == [1, 3]
    files = [path for folder in ("experiments", "supervision") for path in (ROOT / "engine/interp_tui_engine" / folder).rglob("*.py")]
    by_file = {str(path.relative_to(ROOT)): lines for path in files if (lines := untyped_payloads(path.read_text()))}
    assert by_file == {}


def test_every_example_manifest_is_valid() -> None:
    from interp_tui_engine import manifest

    paths = sorted((ROOT / "examples" / "manifests").glob("*.toml"))
    assert paths
    for path in paths:
        if "smollm2" in path.name and not (ROOT / "models").is_dir():
            continue
        manifest.load(path)


def test_the_wheel_holds_the_product_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"interp_tui", "interp_tui_engine"}
    for wanted in (
        "interp_tui/themes/dark.toml",
        "interp_tui/app.tcss",
        "interp_tui/demo.toml",
        "interp_tui_engine/models/tiny/tokenizer.json",
        "interp_tui_engine/worker.py",
        "interp_tui_engine/py.typed",
        "interp_tui/py.typed",
    ):
        assert wanted in names
    weights = sum(info.file_size for info in zipfile.ZipFile(wheel).infolist() if "/models/tiny/" in info.filename)
    assert 0 < weights <= 16 << 20


def test_a_class_name_has_one_meaning() -> None:
    """Classes at the top of a module, in the engine and the app; `Params` is what every kind calls its parameters."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in architecture.modules().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name != "Params":
                places[node.name].append(module)
    assert len(places) > 300
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
