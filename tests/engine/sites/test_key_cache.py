"""The cache of keys and values goes by the name that the installed transformers has for it: a warning today is an error tomorrow."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from interp_tui_engine.models.load import load_model
from interp_tui_engine.probes.steering import continuation
from interp_tui_engine.sites.branched_run import record
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.key_cache import cache_argument, cache_in

IDS = torch.tensor([[3, 14, 15, 92, 65]])


def test_no_deprecated_name_is_used() -> None:
    model = load_model("builtin:tiny", device="cpu")
    site_map = site_map_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base = record(site_map, IDS)
        written = continuation(model.module, site_map, IDS, 4, None, end=None)
    assert len(base.resid_pre) == site_map.num_layers + 1
    whole = IDS
    for _ in range(4):  # each token by a pass over the whole text, without a cache
        with torch.no_grad():
            whole = torch.cat([whole, model.module(whole, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert written.ids == whole[0, 5:].tolist()


def test_both_names_are_known() -> None:
    class Older:
        def forward(self, ids: Any, past_key_values: Any = None) -> None: ...

    class Newer:
        def forward(self, ids: Any, cache: Any = None) -> None: ...

    assert (cache_argument(Older()), cache_argument(Newer())) == ("past_key_values", "cache")
    assert cache_in({"past_key_values": 1}) == 1 and cache_in({"cache": 2}) == 2 and cache_in({}) is None
