"""What is imported before a run's first draw: nothing that only reads results, nothing that a run has no use for. No clock is looked at."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from interp_tui_engine.runtime import imports, model_code
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

LATER = {"xarray", "pandas", "scipy", "pyarrow", "sklearn", "matplotlib", "datasets", "textual", "typer", "pytest", "sympy"}
"""Libraries that nothing before the first draw needs; their import takes from a tenth of a second to a second of processor time."""
LATER_HERE = {"_sampling.report", "_sampling.llc_verdict", "torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp"}


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


LOGITS = """
import hashlib, sys, types
import torch
torch.set_num_threads(1)
from interp_tui_engine.models.load import load_model

def digest():
    logits = load_model("builtin:tiny", device="cpu").module(torch.arange(1, 33)[None]).logits
    return hashlib.sha256(logits.detach().numpy().tobytes()).hexdigest()
"""

LEAN = (
    LOGITS
    + """
from interp_tui_engine.runtime.model_code import import_model_code

import_model_code()
from transformers.utils import import_utils, is_scipy_available, is_torch_distributed_available
print(digest())
print(sorted(name for name in ("scipy", "sympy", "torch._dynamo", "torch.distributed.tensor") if name in sys.modules))
print(is_scipy_available(), is_torch_distributed_available())
print(import_utils.create_import_structure_from_path.__module__, any(f.__module__.startswith("interp_tui") for f in sys.meta_path))
from transformers import masking_utils
mode = masking_utils.TransformGetItemToIndex()
import torch._dynamo
print(type(mode).__module__, torch._dynamo.allow_in_graph.__module__, torch.compiler.disable(len)("ab"))
"""
)


def test_models_code_is_imported_without_what_no_run_uses_and_computes_the_same() -> None:
    ran = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = ran.stdout.splitlines()
    ordinary = subprocess.run([sys.executable, "-c", LOGITS + "print(digest())"], capture_output=True, text=True, check=True)
    assert lines[0] == ordinary.stdout.strip()
    assert lines[1] == "[]"
    assert lines[2] == "True True", "the answers are as they were"
    assert lines[3] == "transformers.utils.import_utils False"
    assert lines[4] == "torch._dynamo._trace_wrapped_higher_order_op torch._dynamo.decorators 2", (
        "the compiler itself, for whoever wants it"
    )


def test_model_code_that_wants_more_is_left_to_the_ordinary_import(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import utils

    before, finders = utils.is_scipy_available, list(sys.meta_path)
    for name in (model_code.MODELLING, model_code.COMPILER, model_code.TRACING):
        monkeypatch.delitem(sys.modules, name, raising=False)
    asked: list[str] = []

    def wants_more(name: str) -> Any:
        if name != model_code.MODELLING:
            return sys.modules[name]
        asked.append(name)
        assert not utils.is_scipy_available() and model_code.COMPILER in sys.modules
        raise AttributeError("module 'torch._dynamo' has no attribute 'config'")

    monkeypatch.setattr(model_code.importlib, "import_module", wants_more)
    model_code.import_model_code()
    assert asked == [model_code.MODELLING]
    assert utils.is_scipy_available is before and sys.meta_path == finders
    assert model_code.COMPILER not in sys.modules and model_code.TRACING not in sys.modules
