"""Attribution: gradient × activation against differences by hand, the exact check against interventions done otherwise, and its edges."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp_tui_engine import atomic, notices
from interp_tui_engine.errors import UserError
from interp_tui_engine.events import Progress
from interp_tui_engine.experiments.attribution_graph.compute import checked_of
from interp_tui_engine.features import jsonl, records
from interp_tui_engine.features.attribution import Feature, PromptBatch, exact, shares, weights
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.results.attribution_graph import Checked
from interp_tui_engine.runfolder import RunFolder
from interp_tui_engine.runtime.context import Interrupted
from interp_tui_engine.sites.dissect import site_map_of
from interp_tui_engine.sites.hooks import Edit, activations
from interp_tui_engine.sites.site import Site
from interp_tui_engine.sites.site_map import SiteMap
from out_of_memory import room_for

TINY = {"model": {"source": "builtin:tiny"}}
IDS = torch.tensor([[5, 9, 200, 31, 7], [11, 90, 14, 14, 14]])
LAST = torch.tensor([4, 2])


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("builtin:tiny")


def features(width: int) -> list[Feature]:
    generator = torch.Generator().manual_seed(1)

    def one(layer: int) -> Feature:
        direction = torch.nn.functional.normalize(torch.randn(width, generator=generator), dim=0)
        return Feature(layer, lambda x: x.float() @ direction, direction, 0.1)

    return [one(0), one(1), one(1), one(3)]


def prompts() -> PromptBatch:
    return PromptBatch(IDS, LAST, lambda logits: logits[:, 17] - logits[:, 40])


def by_hand(site_map: SiteMap, found: list[Feature], source: int, share: float) -> Tensor:
    """Targets summed over prompts with a share of the source's value taken away at each real position."""
    feature = found[source]
    real = torch.arange(IDS.shape[1]) <= LAST[:, None]

    def remove(value: Tensor) -> Tensor:
        away = (feature.read(value) - 0.1) * real
        return value - share * away[..., None] * feature.writes

    layers = [Site("resid_post", layer) for layer in range(4)]
    values = activations(site_map, IDS, layers, [Edit(Site("resid_post", feature.layer), remove)] if share else [])
    at_last = {site.layer: value[torch.arange(2), LAST] for site, value in values.items()}
    logits = site_map.unembed(at_last[3])
    return torch.stack([(logits[:, 17] - logits[:, 40]).sum(), *(other.read(at_last[other.layer]).sum() for other in found)]).detach()


def test_weights_are_slopes_and_exact_is_the_difference(model: LoadedModel) -> None:
    site_map = site_map_of(model)
    found = features(site_map.d_model)
    estimate = torch.stack(list(weights(site_map, found, prompts(), 0, 1.0)), dim=1)  # (source, target)
    clean = exact(site_map, found, prompts(), None)
    torch.testing.assert_close(clean, by_hand(site_map, found, 0, 0.0), rtol=1e-4, atol=1e-4)
    for source, feature in enumerate(found):
        torch.testing.assert_close(exact(site_map, found, prompts(), source), by_hand(site_map, found, source, 1.0), rtol=1e-4, atol=1e-4)
        step = 0.02
        slope = (by_hand(site_map, found, source, -step) - by_hand(site_map, found, source, step)) / (2 * step)
        later = torch.tensor([True, *(other.layer > feature.layer for other in found)])
        # a central difference is off by step²/6 of the third derivative, and by rounding of 1e-6 of the values over the step
        torch.testing.assert_close(estimate[source][later], slope[later], rtol=0.02, atol=2e-3)
        assert not estimate[source][~later].any(), "nothing acts on its own layer or an earlier one"
    assert all(parameter.grad is None for parameter in model.module.parameters()), "gradients are of activations alone"


def test_the_way_to_absent_is_what_is_averaged_over(model: LoadedModel) -> None:
    """With all features of the share 0 the model is at what `absent` says; along the way the average comes nearer to what is exact."""
    site_map = site_map_of(model)
    found = features(site_map.d_model)[:1]
    lost = exact(site_map, found, prompts(), None) - exact(site_map, found, prompts(), 0)
    average = torch.stack([next(weights(site_map, found, prompts(), 0, share)) for share in shares(64)]).mean(0)
    # for one feature of which the path is its own, the gradient theorem: the integral is the difference; midpoints leave (1/64)²/24 of t''
    torch.testing.assert_close(average, lost[:1], rtol=2e-3, atol=2e-4)
    assert shares(1) == [1.0] and shares(2) == [0.25, 0.75]


def test_padding_plays_no_part(model: LoadedModel) -> None:
    site_map = site_map_of(model)
    found = features(site_map.d_model)
    alone = [PromptBatch(IDS[i : i + 1, : LAST[i] + 1], LAST[i : i + 1], prompts().metric) for i in range(2)]
    together = torch.stack(list(weights(site_map, found, prompts(), 0, 1.0)))
    apart = sum(torch.stack(list(weights(site_map, found, one, 0, 1.0))) for one in alone)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4)


def report(folder: Path, names: list[str]) -> str:
    fingerprint: dict[str, Any] = {"activation_signature": [], "decoder_signature": [], "text_vector": [], "causal_vector": []}
    cards = [
        {"feature_id": name, "model": "builtin:tiny", "layer": int(name[1]), "label": name, "fingerprint": fingerprint} for name in names
    ]
    atomic.write_json(folder / "report.json", {"model": "builtin:tiny", "criterion": {"text": "a capital"}, "cards": cards})
    return str(folder / "report.json")


def test_the_graph_has_checked_edges_to_features_and_to_the_criterion(run_kind: Any, tmp_path: Path) -> None:
    given = {"report": report(tmp_path, ["L1:D95", "L2:D95", "L3:D30", "L2:D7"]), "prompts": "builtin:capital", "most_prompts": 8}
    result, events, folder = run_kind("attribution_graph", tables=TINY, **given, exact=4)
    graph = json.loads((folder.path / "graph.json").read_text())
    edges = [edge for edge in graph["edges"] if edge["type"] == "attribution"]
    assert {edge["target"] for edge in edges} >= {"criterion", "builtin:tiny:L3:D30"}
    for targets in (["criterion"], [f"builtin:tiny:{name}" for name in ("L2:D95", "L3:D30", "L2:D7")]):
        sizes = [abs(edge["attribution"]) for edge in edges if edge["target"] in targets]
        assert sizes == sorted(sizes, reverse=True) and len(sizes) > 1
    assert all(edge["exact"] is not None for edge in edges[:4])
    assert result.values["prompts"] == 8 and "| gradient × activation | exact |" in result.report
    assert "attribution" in (folder.path / "figures" / "graph.svg").read_text()
    assert result.values["checked_criterion"]["edges"] + result.values["checked_features"]["edges"] == result.values["checked"]
    assert "edges to `criterion` checked" in result.report and "edges to features checked" in result.report
    assert result.values["metric"] == "logit_diff", "no interventions, no metric of theirs"
    whole = sum(isinstance(event, Progress) and event.done > 0 and event.unit != "nodes" for event in events)
    assert whole == 5 * 5 + 4, "five shares of the criterion and four features; what is clean and three sources"
    for most in (3, 25, 27):  # among the targets, at the first source, among the sources
        polls, at = iter(["go"] * most), RunFolder.create(folder.path.parent / f"stopped-{most}")
        with pytest.raises(Interrupted):
            run_kind("attribution_graph", tables=TINY, again=at, orders=lambda polls=polls: next(polls, "stop"), **given, exact=4)
        counted = itertools.count()
        again, _, _ = run_kind(
            "attribution_graph", tables=TINY, again=at, orders=lambda counted=counted: str(next(counted)), **given, exact=4
        )
        assert again.digests == result.digests and next(counted) == whole - most, "what is done is not done again"


def test_prompts_that_do_not_fit_pass_in_parts(run_kind: Any, tmp_path: Path) -> None:
    given = {"report": report(tmp_path, ["L1:D95", "L3:D30"]), "prompts": "builtin:capital", "most_prompts": 4, "exact": 2, "steps": 2}
    found, said = [], list[str]()
    for rows in (64, 1):
        with room_for(rows) as refused, notices.heard_by(said.append):
            _, _, folder = run_kind("attribution_graph", tables=TINY, **given)
        assert bool(said) == bool(refused) == (rows == 1)
        edges = [edge for edge in json.loads((folder.path / "graph.json").read_text())["edges"] if edge["type"] == "attribution"]
        found.append({(edge["source"], edge["target"]): (edge["attribution"], edge["exact"]) for edge in edges})
    assert found[0].keys() == found[1].keys() and len(found[0]) == 3
    for edge, numbers in found[0].items():
        assert found[1][edge] == pytest.approx(numbers, rel=1e-3, abs=1e-5)


def test_edges_end_at_the_metric_that_the_effects_are_of(run_kind: Any, tmp_path: Path) -> None:
    """A latent or dimension that raises all capitals moves the odds against all else up, and those against other capitals anywhere."""
    given = {"criterion": "a capital", "prompts": "builtin:capital", "targets": ["L2:D95", "L2:D30"], "to": "mean", "metric": "log_odds"}
    moved, _, at = run_kind("interventions", tables=TINY, **given, controls=[], plain_rows=0, most_prompts=8)
    rows = [
        records.record("builtin:tiny", f"p{i}", f"text {i}", float(i % 2), {"L2:D95": i % 2 + 0.1 * i, "L2:D30": i % 3}) for i in range(24)
    ]
    jsonl.write(tmp_path / "r.jsonl", rows)
    _, _, ranked = run_kind("inspect", criterion="a capital", records=["r.jsonl"], interventions=str(at.path), permutations=0)
    graph = run_kind("attribution_graph", tables=TINY, report=str(ranked.path), prompts="builtin:capital", most_prompts=8)
    assert graph[0].values["metric"] == "log_odds"
    written = json.loads((graph[2].path / "graph.json").read_text())
    exact = {edge["source"]: edge["exact"] for edge in written["edges"] if edge["target"] == "criterion" and edge["type"] == "attribution"}
    effects = {f"builtin:tiny:{line['feature_id']}": line["effect"] for line in moved.values["effects"]}
    # taken away at every token here, at the last one there; of most features the last is what counts
    assert exact.keys() == effects.keys() and all(exact[name] * effects[name] > 0 for name in exact)


def test_edges_of_two_units_are_checked_apart() -> None:
    """Edges to the criterion of the wrong sign do not hide behind large edges to features that agree."""
    criterion = [{"target": "criterion", "attribution": -value / 100, "exact": value / 100} for value in (1.0, 2.0, 4.0)]
    others = [{"target": "f", "attribution": value, "exact": value} for value in (10.0, 20.0, 45.0)]
    checked = checked_of([*criterion, *others, {"target": "f", "attribution": 1.0, "exact": None}])
    assert checked.checked_criterion == Checked(edges=3, correlation=pytest.approx(-1.0), opposed=3)
    assert checked.checked_features == Checked(edges=3, correlation=pytest.approx(1.0), opposed=0)
    assert (checked.checked, checked.opposed, checked.correlation_with_exact) == (6, 3, None)
    assert checked_of(others).correlation_with_exact == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("params", "tables", "said"),
    [
        ({"prompts": "builtin:capital"}, None, "model: is missing; params.prompts are run on it"),
        ({"prompts": "builtin:capitol"}, TINY, "did you mean builtin:capital"),
        ({"prompts": "builtin:capital", "features": "sae"}, TINY, "params.sae: is missing"),
        ({"sae": "x"}, TINY, "params.sae: is given, but there are no params.prompts"),
        ({"prompts": "builtin:capital", "names": ["L9:D1"]}, TINY, "L9"),
        ({"prompts": "builtin:capital", "names": ["L2:D500"]}, TINY, "none of the report's features is among the model's"),
    ],
)
def test_what_cannot_be_attributed_is_said(run_kind: Any, tmp_path: Path, params: dict[str, Any], tables: Any, said: str) -> None:
    params = dict(params)
    names = params.pop("names", ["L2:D95"])
    with pytest.raises(UserError, match=said):
        run_kind("attribution_graph", tables=tables, report=report(tmp_path, names), **params)
