"""The kernels compiled for GPUs that are not there: whether they compile, read 16 bytes at once, and round as the reference does."""

from __future__ import annotations

import pytest
from compiled import Compiled, compiled

CAPABILITIES = [80, 90]
"""A100 and H100/H200."""


def contracted(code: Compiled) -> list[str]:
    """Instructions that round once where the reference rounds twice."""
    return [name for name in code.instructions if name.startswith("fma")]


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("method", "state"), [(0, 0), (1, 1), (2, 1)], ids=["sgld", "rmsprop_sgld", "sgnht"])
def test_an_update_compiles_to_wide_accesses_without_contraction(method: int, state: int, capability: int) -> None:
    types = dict.fromkeys(("weights", "first", "second", "published", "partials"), "*fp32")
    types |= dict.fromkeys(("segments", "gradients", "where", "steps", "keys", "lasts"), "*i64")
    types |= dict.fromkeys(("noise_scale", "gradient_scale", "pull", "decay", "half", "alpha", "rest", "delta", "box"), "fp32")
    types |= dict.fromkeys(("stride", "gradient_stride", "tiles"), "i32")
    constants = {"METHOD": method, "MASKED": True, "PULL": True, "DECAY": False, "BOX": False, "PUBLISH": False, "GRADIENT": "float32"}
    wide = ["weights", "first", "second", "published", "stride", "gradient_stride"]
    module = "interp_tui_engine.samplers.fused.update_triton"
    code = compiled(module, "_update", types, constants | {"TILE": 4096, "CHUNK": 1024}, wide, capability)
    assert not contracted(code)
    # a chunk is 8 weights of each of 128 threads: w, w0, g, mask and the sampler's vector are read four at a time, w and the vector written
    assert code.instructions["ld.global.v4.b32"] == 2 * (4 + state) and code.instructions["st.global.v4.b32"] == 2 * (1 + state)
    assert code.stack == 0 and code.registers <= 128, "so that four programs share a multiprocessor"
    assert not any("approx" in name for name in code.instructions), "roots and quotients are exact"


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_sums_and_noise_compile(capability: int) -> None:
    pointers = dict.fromkeys(("partials", "squares", "norms", "heat"), "*fp32") | {"thermal": "*fp64", "tiles": "i32"}
    total = compiled("interp_tui_engine.samplers.fused.update_triton", "_total", pointers, {"WIDE": 1024}, ["partials"], capability)
    assert not contracted(total)
    types = {"out": "*fp32", "stride": "i32", "count": "i32", "first": "i32", "steps": "*i64", "keys": "*i64", "lasts": "*i64"}
    fill = compiled("interp_tui_engine.samplers.philox_triton", "_fill", types, {"QUADS": 256}, ["out", "stride"], capability)
    assert not contracted(fill) and fill.stack == 0
