"""Our side of the patching and caching benches."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from interp_tui_engine.api.one_pass import causal_trace
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import activations
from interp_tui_engine.sites.site import Site

from .passes_work import ANSWER, CLEAN, CORRUPT, OTHER, Work, answer


class Ours(Work):
    """The public call, prompts to grid; and one full forward pass a patch, which is what the fast path must equal."""

    def patch(self, way: str) -> Tensor:
        if way == "loop":
            return self._loop()
        found = causal_trace(
            self.module,
            clean=CLEAN,
            corrupt=CORRUPT,
            answer=ANSWER,
            counterfactual=OTHER,
            sites=("resid_post",),
            tokenizer=self.tokenizer,
        )
        return found.corrupt_metric + found.recovery["resid_post"] * (found.clean_metric - found.corrupt_metric)

    def _loop(self) -> Tensor:
        streams = [layer.register_forward_hook(self._keep(index)) for index, layer in enumerate(self.module.model.layers)]
        self._clean: dict[int, Tensor] = {}
        self.module(self.clean)
        for handle in streams:
            handle.remove()
        grid = torch.zeros(self.layers, self.clean.shape[1])
        for layer in range(self.layers):
            for position in range(self.clean.shape[1]):
                handle = self.module.model.layers[layer].register_forward_hook(self._put(layer, position))
                grid[layer, position] = self.gap(self.module(self.corrupt).logits[0, -1])
                handle.remove()
        return grid

    def _keep(self, layer: int):  # type: ignore[no-untyped-def]
        return lambda module, args, output: self._clean.__setitem__(layer, output.clone())

    def _put(self, layer: int, position: int):  # type: ignore[no-untyped-def]
        def hook(module: object, args: object, output: Tensor) -> Tensor:
            output = output.clone()
            output[:, position] = self._clean[layer][:, position]
            return output

        return hook

    def cache(self) -> Mapping[str, Tensor]:
        site_map = site_map_of(self.module)
        sites = [Site(name, layer) for layer in range(self.layers) for name in ("resid_pre", "resid_mid", "resid_post")]
        return {str(site): value for site, value in activations(site_map, self.ids, sites).items()}

    def logits(self) -> Tensor:
        return self.module(self.clean).logits[0, -1]


if __name__ == "__main__":
    answer(Ours)
