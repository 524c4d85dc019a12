"""What is imported before a run's first draw: nothing that only reads results, nothing that a run has no use for. No clock is looked at."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from interp_tui_engine.runtime import imports
from small_llc import LLC

SAMPLED = LLC + "num_init_loss_batches = 2\nacceptance_every = 0\n[compute]\nthreads = 1\n"

SCRIPT = """
import os, sys
from pathlib import Path
import interp_tui_engine.worker
from interp_tui_engine import catalog, manifest
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime import imports
from interp_tui_engine.runtime.context import Context

def first_draw(*afterwards):
    print(*sorted(sys.modules), sep="\\n", flush=True)
    os._exit(0)

imports.ahead = first_draw
folder = RunFolder.create(Path(sys.argv[1]))
folder.shard(0).mkdir(parents=True)
for event in catalog.get("llc").run(Context(manifest.parse(sys.stdin.read()), folder, 0, lambda: "go", False)):
    pass
"""

LATER = {"xarray", "pandas", "scipy", "pyarrow", "sklearn", "matplotlib", "PIL", "datasets", "textual", "typer", "pytest"}
"""Libraries that nothing before the first draw needs; their import takes from a tenth of a second to a second of processor time."""
LATER_HERE = {"_sampling.report", "_sampling.llc_verdict"}


def test_the_first_draw_waits_for_no_library_that_is_needed_later(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "run")], input=SAMPLED, capture_output=True, text=True)
    loaded = set(ran.stdout.split())
    assert "torch" in loaded and "transformers.models.llama.modeling_llama" in loaded, ran.stderr[-2000:]
    assert not LATER & {name.partition(".")[0] for name in loaded}
    assert not {name for name in loaded if name.endswith(tuple(LATER_HERE))}
    families = {name for name in loaded if name.startswith("transformers.models.") and ".modeling_" in name}
    assert families <= {f"transformers.models.{name}" for name in ("llama.modeling_llama", "auto.modeling_auto")}, "no other's code"


def test_what_comes_later_is_imported_beside_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    asked: list[str] = []

    def load(name: str) -> None:
        asked.append(name)
        if name == "missing":
            raise ImportError(name)
        done.set()

    monkeypatch.setattr(imports.importlib, "import_module", load)
    imports.ahead("missing", "there")
    assert done.wait(10) and asked == ["missing", "there"]


def test_scipy_is_hidden_only_while_models_code_is_first_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import utils

    before = utils.is_scipy_available
    monkeypatch.delitem(sys.modules, "transformers.modeling_utils", raising=False)
    with pytest.raises(ZeroDivisionError), imports.without_scipy():
        assert not utils.is_scipy_available()
        _ = 1 // 0
    assert utils.is_scipy_available is before
    monkeypatch.setitem(sys.modules, "transformers.modeling_utils", utils)
    with imports.without_scipy():
        assert utils.is_scipy_available is before
