"""To add a kind, sampler, dictionary architecture, family, site, view or theme is to add one file: each is tried in a copy of the package.

The files are as short as such files can be. They run in processes of their own, so that no other test sees them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

KIND = '''
"""Counts the words of a text."""

from collections.abc import Generator

from pydantic import Field

from ..events import Event, Metrics
from ..kind import Context, Kind, Result
from ..specs import Table


class Params(Table):
    """Which text."""

    text: str = Field("to be or not to be", description="the text whose words are counted")


def run(context: Context) -> Generator[Event, None, Result]:
    """Count, and say so."""
    words = len(context.manifest.params.text.split())
    yield Metrics("headline", 0, {"words": words})
    return Result({"words": words}, {"words": words}, f"# {words} words\\n")


KIND = Kind(
    name="word_count",
    title="Word count",
    question="How many words has this text?",
    group="Tools",
    needs=frozenset(),
    example={"params": {"text": "one two three"}},
    params=Params,
    run=run,
)
'''

SAMPLER = '''
"""SGD without noise: what a sampler's file must hold, and no more."""

from dataclasses import dataclass, replace

from torch import Tensor

METHOD = "plain_descent"
SETTINGS = {"shrink": 1.0}
LANGEVIN = False


@dataclass(frozen=True)
class State:
    weights: Tensor


def init(weights, config):
    return State(weights)


def step(state, gradient, noise, anchor, mask, config):
    force = gradient.mul(config.n_beta).add_(state.weights - anchor, alpha=config.localization)
    rate = 0.5 * config.lr * config.sampling_method_kwargs.get("shrink", SETTINGS["shrink"])
    return replace(state, weights=state.weights - rate * (force if mask is None else force * mask))


def conditioner(state, config):
    return None
'''

ARCHITECTURE = '''
"""ReLU codes raised to a power, with an L1 penalty: an architecture with a setting of its own."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from .architecture import Architecture, Pass, preactivations, squared_error
from .sparse import from_dense

ARCHITECTURE = "powered"
SETTINGS = {"l1": 0.01, "power": 1.5}


@dataclass(frozen=True)
class Powered(Architecture):
    l1: float
    power: float
    name: ClassVar[str] = ARCHITECTURE
    stored_as: ClassVar[str] = "powered"
    revives_dead: ClassVar[bool] = False

    @classmethod
    def of(cls, latents, sparsity):
        return cls(sparsity.l1, sparsity.own["power"])

    @classmethod
    def restored(cls, config, ours):
        return cls(0.0, float(config["power"]))

    def stored_settings(self):
        return {"power": self.power}

    def begin(self, weights):
        return weights

    def train(self, weights, x_BD, pressure):
        codes = preactivations(weights, x_BD).relu().clamp_min(1e-6) ** self.power
        reconstruction = codes @ weights.decoder + weights.b_dec
        error = squared_error(x_BD, reconstruction)
        return Pass(reconstruction, error + self.l1 * pressure * codes.sum(1).mean(), error, (codes.detach() > 1e-3).sum(0).float())

    @torch.no_grad()
    def encode(self, weights, x_BD):
        return from_dense(preactivations(weights, x_BD).float().relu() ** self.power)
'''

VIEW = '''
"""A view of word counts."""

from textual.app import ComposeResult
from textual.widgets import Static

from .base import RunView


class WordCountView(RunView):
    """One line."""

    KINDS = ("word_count",)

    def compose(self) -> ComposeResult:
        yield Static("words")

'''


FAMILY = '''
"""An architecture whose modules are named as Llama's."""

from dataclasses import replace

from .llama import LLAMA

FAMILIES = (replace(LLAMA, name="added", model_types=("added_type",)),)
'''


PLACE = '''
"""mlp_read: what the MLP reads, after its norm."""

from ..points.place import BlockParts, Place


def find(block: BlockParts):
    from ..points.hook_point import HookPoint

    return HookPoint(block.mlp, "input")


PLACE = Place(
    name="mlp_read",
    meaning="what the MLP reads",
    shape="(batch, pos, d_model)",
    listed=12,
    order=7,
    find=find,
    bridge="mlp.hook_in",
    aliases=("read",),
)
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of both source trees with one more file of each sort."""
    root = tmp_path_factory.mktemp("package")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "engine" / "interp_tui_engine", root / "interp_tui_engine", ignore=ignore)
    shutil.copytree(ROOT / "tui" / "interp_tui", root / "interp_tui", ignore=ignore)
    shutil.copytree(ROOT / "themes", root / "interp_tui" / "themes")
    engine = root / "interp_tui_engine"
    (engine / "experiments" / "word_count.py").write_text(KIND)
    (engine / "samplers" / "plain_descent.py").write_text(SAMPLER)
    (engine / "dictionaries" / "powered.py").write_text(ARCHITECTURE)
    (engine / "models" / "families" / "added.py").write_text(FAMILY)
    (engine / "sites" / "places" / "mlp_read.py").write_text(PLACE)
    (root / "interp_tui" / "views" / "word_count.py").write_text(VIEW)
    (root / "interp_tui" / "themes" / "mine.toml").write_text((ROOT / "themes" / "dark.toml").read_text())
    return root


def use(package: Path, *arguments: str, folder: Path) -> str:
    """What `interp-tui` with these arguments prints, run from the copy."""
    environment = os.environ | {"PYTHONPATH": str(package), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "interp_tui", *arguments], capture_output=True, text=True, env=environment, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(package: Path, code: str) -> str:
    """What a few lines of Python print, run over the copy."""
    environment = os.environ | {"PYTHONPATH": str(package)}
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment, check=True).stdout.strip()


def batch(package: Path, folder: Path, manifest: str) -> dict[str, object]:
    """The result of a manifest run to its end."""
    (folder / "m.toml").write_text(manifest)
    use(package, "--batch", "m.toml", "--out", "run", "--plain", folder=folder)
    found = json.loads((folder / "run" / "result.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_kind(package: Path, tmp_path: Path) -> None:
    use(package, "new", "word_count", folder=tmp_path)
    assert json.loads(use(package, "schema", "word_count", folder=tmp_path))["title"]
    found = batch(package, tmp_path, 'kind = "word_count"\n[params]\ntext = "one two three four"\n')
    assert found["words"] == 4


def test_a_sampler(package: Path, tmp_path: Path) -> None:
    text = """
    kind = "llc"
    model.source = "builtin:tiny"
    data.train = { source = "builtin:prose", context = 8, rows = 16 }
    params = { lr = 1e-6, n_beta = 1.0, localization = 1.0, num_chains = 1, num_draws = 3, batch_size = 4, num_init_loss_batches = 1, sampling_method = "plain_descent", sampling_method_kwargs = { shrink = 0.5 }, sampling_data = "train" }
    """  # noqa: E501
    found = batch(package, tmp_path, "\n".join(line.strip() for line in text.splitlines()))
    assert found["healthy_chains"] == [0]


def test_a_dictionary_architecture(package: Path, tmp_path: Path) -> None:
    text = """
    kind = "train_sae"
    model.source = "builtin:tiny"
    data.train = { source = "builtin:prose", context = 16, rows = 40 }
    params = { layer = 1, architecture = "powered", architecture_settings = { power = 1.25 }, latents = 32, tokens = 512, batch_size = 64 }
    """
    found = batch(package, tmp_path, "\n".join(line.strip() for line in text.splitlines()))
    assert found["architecture"] == "powered"
    code = (
        "import sys; from pathlib import Path; from interp_tui_engine.dictionaries import sae_lens; "
        f"print(sae_lens.load(next(Path({str(tmp_path / 'run')!r}).rglob('cfg.json')).parent).architecture.power)"
    )
    assert ask(package, code) == "1.25", "written and read again"


def test_a_view(package: Path) -> None:
    code = "from interp_tui import views; print(views.view_for('word_count').__name__)"
    assert ask(package, code) == "WordCountView"


def test_a_theme(package: Path) -> None:
    code = "from interp_tui.terminal.themes import load_themes; print('mine' in load_themes()[0])"
    assert ask(package, code) == "True"


def test_a_model_family(package: Path) -> None:
    code = (
        "from types import SimpleNamespace; from interp_tui_engine.models.families import family_in; "
        "print(family_in(SimpleNamespace(model_type='added_type'), ()).name)"
    )
    assert ask(package, code) == "added"


def test_a_hook_site(package: Path) -> None:
    code = """
import torch
from interp_tui_engine import load_model
from interp_tui_engine.sites.hooks import capture
from interp_tui_engine.sites.site import parse
from interp_tui_engine.sites.dissect import site_map_of
model = load_model("builtin:tiny", device="cpu")
site = parse("L1.read")
with torch.no_grad(), capture(site_map_of(model), [site, parse("L1.resid_mid")]) as values:
    model.module(torch.arange(1, 6)[None])
block = model.module.model.layers[1]
print(site, torch.equal(values[site], block.post_attention_layernorm(values[parse("L1.resid_mid")])))
"""
    assert ask(package, code) == "L1.mlp_read True"
