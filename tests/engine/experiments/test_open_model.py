"""However a kind uses its model, it opens it in one way: with the threads asked for, recorded, from every key of [model]."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from interp_tui_engine import catalog, manifest
from interp_tui_engine.events import RunStarted
from interp_tui_engine.models import load
from interp_tui_engine.runtime import open_model

READS_A_MODEL = [
    kind.name
    for kind in catalog.kinds()
    if "model" in kind.needs and kind.group in ("One forward pass", "Features") and kind.name != "pipeline"
]


class Opened(Exception):
    """The model was about to be loaded."""


@pytest.mark.parametrize("kind", READS_A_MODEL)
def test_every_key_of_the_model_table_reaches_the_loader(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def loader(source: str, **keys: object) -> None:
        seen.update(source=source, threads=torch.get_num_threads(), **keys)
        raise Opened

    monkeypatch.setattr(load, "load_model", loader)
    example = catalog.get(kind).example
    model = {**example.get("model", {}), "dtype": "bfloat16", "partial": True, "device": "cpu"}
    request = manifest.resolve({"kind": kind, **example, "model": model, "compute": {"threads": 1}})
    before = torch.get_num_threads()
    try:
        with pytest.raises(Opened):
            for _ in open_model.open_model(request):
                pass
    finally:
        torch.set_num_threads(before)
    assert (seen["dtype"], seen["partial"], seen["device"], seen["threads"]) == ("bfloat16", True, "cpu", 1)


def test_the_threads_are_recorded() -> None:
    model = SimpleNamespace(identity={"weights_sha256": "ab"}, device=torch.device("cpu"), devices=1)
    context = SimpleNamespace(manifest=SimpleNamespace(kind="probe", name="x"), resumed=False)
    event = open_model.run_started(context, model)  # type: ignore[arg-type]
    assert isinstance(event, RunStarted) and event.provenance["compute"] == {"threads": torch.get_num_threads()}
    assert event.provenance["weights_sha256"] == "ab"


def test_no_kind_calls_the_loader_itself() -> None:
    """There were four ways, and three of them forgot a key."""
    folder = Path(catalog.__file__).parent / "experiments"
    callers = [str(path.relative_to(folder)) for path in folder.rglob("*.py") if "load_model(" in path.read_text()]
    assert callers == []
