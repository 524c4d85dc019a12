"""Changes at prompts' last tokens, computed from where they are made: those of whole forward passes, whatever the family."""

from __future__ import annotations

import pytest
import torch

from interp_tui_engine.experiments._features.last_token import last_token
from interp_tui_engine.experiments._features.space import PaddedPrompts
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations
from interp_tui_engine.sites.site import Site
from references.tiny_families import FAMILIES, tiny_family


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_changed_runs_are_those_of_whole_passes(family: str) -> None:
    model = tiny_family(family)
    site_map = site_map_of(model)
    generator = torch.Generator().manual_seed(0)
    lengths = [5, 7, 5, 7, 5]
    rows = [torch.randint(3, 60, (length,), generator=generator).tolist() for length in lengths]
    ids = torch.tensor([row + [row[-1]] * (7 - len(row)) for row in rows])
    runs = last_token(site_map, PaddedPrompts(ids, torch.tensor(lengths) - 1), batch=2)
    if runs is None:  # its blocks cannot be given a last token alone: changes are made in whole passes
        return
    changes_KPD = torch.randn(3, 5, site_map.d_model, generator=generator)
    chosen = [3, 0, 4]
    final = Site("resid_post", site_map.num_layers - 1)
    for layer in (0, site_map.num_layers - 1):
        fast = runs.finals(layer, changes_KPD, chosen)
        for k, change_PD in enumerate(changes_KPD):
            for column, place in enumerate(chosen):

                def add(value: torch.Tensor, delta: torch.Tensor = change_PD[place]) -> torch.Tensor:
                    new = value.clone()
                    new[:, -1] += delta
                    return new

                whole = activations(site_map, torch.tensor([rows[place]]), [final], [Edit(Site("resid_post", layer), add)])[final][0, -1]
                # two orders of the same float32 sums
                torch.testing.assert_close(fast[k, column], whole.float(), rtol=1e-4, atol=1e-4)
