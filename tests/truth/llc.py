"""LLC: how often the 95 % interval of one run holds what endless chains with its settings would give.

The truth is exact for the quadratic (an AR(1) process); for reduced-rank regression and the model it is the mean of runs that have forty
to a hundred times as many draws in all.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

import interp_tui_engine as engine
from interp_tui_engine import manifest
from interp_tui_engine.api.sampling import sample_function
from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.estimators.learning_coefficients import quadratic_sgld
from interp_tui_engine.estimators.llc import Baseline, compute_llc
from interp_tui_engine.samplers.target.prefix_cache import PrefixCache

from . import record
from .outcome import Outcome

LLC = Callable[[int, dict[str, Any]], xr.Dataset]
"""(seed, settings to change) -> the LLC of one run."""
DEMO = Path(__file__).resolve().parents[2] / "examples" / "manifests" / "llc.toml"


def outcomes(quick: bool) -> Iterator[Outcome]:
    """Coverage over seeds; the model and the demo's own setting only in the long form."""
    seeds = range(16 if quick else 200)
    long_runs = 2 if quick else 20
    yield _coverage("quadratic, rows 0.83 nats apart", _quadratic, seeds, exact=QUADRATIC_TRUTH)
    yield _coverage("the same, baseline = init", _quadratic, seeds, exact=QUADRATIC_TRUTH, baseline="init")
    yield _coverage("reduced-rank regression 5-3-5, rank 1", _regression, seeds, long_runs=long_runs)
    if not quick:
        yield tiny_coverage(seeds, "l3 mlp")
        yield tiny_coverage(seeds)
        yield _agreement(range(100, 105))


def tiny_coverage(seeds: range, restriction: str = "full") -> Outcome:
    """Of the embedded model, whose truth is the mean of four runs of 200 draws a chain: known to a sixth of one run's error."""
    part = "" if restriction == "full" else f", {restriction}"
    return _coverage(f"builtin:tiny{part}, 16 tokens", _tiny(restriction), seeds, long_runs=4, draws=200)


def _coverage(
    case: str,
    llc: LLC,
    seeds: range,
    *,
    exact: float | None = None,
    long_runs: int = 1,
    draws: int = 500,
    baseline: Baseline = "paired",
) -> Outcome:
    truth, doubt = (exact, 0.0) if exact is not None else _long_run(case, llc, long_runs, draws)

    def run(seed: int) -> list[float]:
        found = llc(seed, {"baseline": baseline})
        return [float(found[name]) for name in ("llc_mean", "llc_std_error", "llc_low", "llc_high")]

    means, errors, low, high = np.array(record.each(f"llc, {case}", seeds, run)).T
    hits = int(((low <= truth) & (truth <= high)).sum())
    spread = f"λ̂ {means.mean():.4g}, spread {means.std(ddof=1):.2g}, stated error {np.median(errors):.2g}, truth {truth:.4g} ± {doubt:.1g}"
    return Outcome("llc", "coverage", case, hits, len(means), 0.95, spread)


def _long_run(case: str, llc: LLC, runs: int, draws: int) -> tuple[float, float]:
    """The mean of `runs` runs of so many draws a chain, each with a seed of its own that no short run has; and its error."""

    def run(seed: int) -> float:
        return float(llc(seed, {"num_draws": draws}).llc_mean)

    means = np.array(record.each(f"llc, {case}, {draws} draws a chain", range(10_000, 10_000 + runs), run))
    return float(means.mean()), float(means.std(ddof=1)) / len(means) ** 0.5


CURVATURES = np.linspace(0.5, 4.0, 24)
DRAWS = 100
SETTING: dict[str, Any] = {"lr": 2e-3, "n_beta": 100.0, "localization": 10.0, "num_burnin_steps": 60, "num_draws": DRAWS, "num_chains": 4}
QUADRATIC_TRUTH = quadratic_sgld(CURVATURES.tolist(), SETTING["n_beta"], SETTING["localization"], SETTING["lr"])


def _quadratic(seed: int, changes: dict[str, Any]) -> xr.Dataset:
    """½ Σ h w² plus an offset that is the row's own, as a text's loss is."""
    h = torch.tensor(CURVATURES, dtype=torch.float32)
    rows = 0.83 * torch.randn(2048, 1, generator=torch.Generator().manual_seed(seed))
    settings = {**SETTING, "batch_size": 32, "num_init_loss_batches": 8, "init_seed": seed, "chains": "threads", **changes}
    return compute_llc(sample_function(lambda p, b: (p["w"] ** 2 * h).sum() / 2 + b[:, 0], {"w": torch.zeros(len(h))}, rows, **settings))


def _regression(seed: int, changes: dict[str, Any]) -> xr.Dataset:
    """Squared error of y = B A x on noisy data at the true weights; the data are the same for every seed, their order is not."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.zeros(3, 5), torch.zeros(5, 3)
    a[0, 0] = b[0, 0] = 1.0
    x = torch.randn(2048, 5, generator=generator)
    y = x @ (b @ a).T + torch.randn(2048, 5, generator=generator)
    settings = {**SETTING, "batch_size": 64, "num_init_loss_batches": 1, "init_seed": seed, "chains": "threads", **changes}
    return compute_llc(
        sample_function(lambda p, d: (d[1] - d[0] @ p["a"].T @ p["b"].T).square().sum(1) / 2, {"a": a, "b": b}, (x, y), **settings)
    )


def _tiny(restriction: str) -> LLC:
    """The embedded model on rows of prose, 4 × 20 draws. A weight forgets itself within three steps of this size at this localization, so
    that few steps make a run and two hundred runs some ten minutes; localization holds the chains more than the loss does."""
    model = engine.load_model("builtin:tiny", device="cpu")
    tables = {"kind": "llc", "model": {"source": "builtin:tiny"}, "params": {"lr": 1e-5, "n_beta": 1.0}}
    request = manifest.resolve({**tables, "name": "rows", "data": {"train": {"source": "builtin:prose", "context": 16, "rows": 512}}})
    rows = load_rows(request.data["train"], model.tokenizer, name="train")
    masks = None if restriction == "full" else engine.create_param_masks(model.module, restriction)
    prefixes = PrefixCache(64 << 20)

    def llc(seed: int, changes: dict[str, Any]) -> xr.Dataset:
        settings: dict[str, Any] = {"lr": 6e-4, "n_beta": 100.0, "localization": 1000.0, "num_burnin_steps": 8, "num_draws": 20}
        settings |= {"num_chains": 4, "batch_size": 4, "num_init_loss_batches": 1, "init_seed": seed, **changes}
        return engine.llc(model.module, rows, {}, param_masks=masks, prefixes=prefixes, **settings)

    return llc


def _agreement(seeds: range) -> Outcome:
    """The demo's own setting: pairs of seeds whose λ̂ are within two standard errors of their difference."""

    def run(seed: int) -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            result = engine.run(manifest.load(DEMO, [f"seed={seed}"]), out=Path(folder) / str(seed)).result()
        assert result is not None
        return [float(result["llc_mean"]), float(result["llc_std_error"])]

    found = record.each("llc, the demo", seeds, run)
    pairs = list(itertools.combinations(found, 2))
    hits = sum(abs(first - second) <= 1.96 * np.hypot(e, f) for (first, e), (second, f) in pairs)
    listed = ", ".join(f"{mean:.4g} ± {error:.2g}" for mean, error in found)
    return Outcome("llc", "coverage", "examples/manifests/llc.toml, pairs of five seeds", hits, len(pairs), 0.95, listed)
