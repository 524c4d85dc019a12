"""What the runs there are know of one token: read from results and logs of each kind, the very text before the same word elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import zarr
from posterior_runs import PARTS, WORDS, susceptibilities

from interp_tui.runs import token_facts
from interp_tui.runs.token_at import KnownOfToken, TokenAt, bare, places
from interp_tui.runs.token_facts import TokenPart, facts
from interp_tui.screens.token import values_for
from interp_tui.text.numbers import number
from interp_tui.text.sanitise import clean
from interp_tui_engine import atomic
from interp_tui_engine.events import Metrics
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]
FRANCE = ("The", " capital", " of", " France")
MODEL = {"model": {"source": "builtin:tiny", "revision": "final"}}
TOKEN = TokenAt(FRANCE, "builtin:tiny", "final")


def known(parts: list[TokenPart], kind: str) -> KnownOfToken:
    found = next(part.known for part in parts if part.kind == kind)
    assert found is not None
    return found


def lens(make_run: MakeRun, name: str, tokens: tuple[str, ...], tables: Any = MODEL, **about: Any) -> RunFolder:
    top = [[f" {word.strip()}ish"] for word in tokens]
    cells = [
        Metrics("cells", 0, {"tokens": list(tokens), "layers": 2}),
        *(Metrics("cells", 1 + at, {"layer": at, "top": top, "top_prob": [[0.5 + at / 4]] * len(tokens)}) for at in range(2)),
    ]
    return make_run(name, kind="logit_lens", events=cells, tables=tables, **about)


def test_a_token_is_found_where_most_of_the_text_before_it_is_the_same() -> None:
    text = [" France", "The", " capital", " of", " France", " of", " France"]
    assert [place for place, _ in places(text, TOKEN)] == [4, 6, 0]
    assert places(FRANCE, TOKEN) == [(3, True)]
    assert places(["So", *FRANCE], TOKEN) == [(4, False)], "more stands before it"
    assert places(["a"], TokenAt(("",))) == [] and places([], TOKEN) == []


def test_a_token_of_nothing_but_space_is_a_token_too() -> None:
    newline = TokenAt(("x", "\n"))
    assert newline.word == "\n" and places(["x", "\n", "x", "\n"], newline) == [(1, True), (3, False)]


def test_the_very_text_comes_before_the_newest(make_run: MakeRun) -> None:
    elsewhere = lens(make_run, "new", ("In", " France", "."), age=1.0)
    same = lens(make_run, "old", (*FRANCE, " is"), age=99.0)
    found = known(facts(TOKEN, [elsewhere, same]), "logit_lens")
    assert found.folder == same and found.whole and found.lines == ("L0  ‘Franceish’ 0.50", "L1  ‘Franceish’ 0.75")
    alone = known(facts(TOKEN, [elsewhere]), "logit_lens")
    assert not alone.whole and alone.lines[0] == "in another text: … In France"


def test_another_model_and_an_unfinished_run_say_nothing(make_run: MakeRun) -> None:
    other = lens(make_run, "other", FRANCE, {"model": {"source": "other"}})
    earlier = lens(make_run, "earlier", FRANCE, {"model": {"source": "builtin:tiny", "revision": "step-100"}})
    going = lens(make_run, "going", FRANCE, state="running")
    assert all(part.known is None for part in facts(TOKEN, [other, earlier, going]))


def test_heads_that_look_at_it(make_run: MakeRun) -> None:
    row = [[1.0], [0.5, 0.5], [0.2, 0.2, 0.6], [0.1, 0.1, 0.1, 0.7], [0.0, 0.0, 0.0, 0.9, 0.1]]
    cells = [
        Metrics("cells", 0, {"tokens": [*FRANCE, " is"], "layers": [0], "heads": 1, "named": [{"head": "L0H0", "name": "previous token"}]}),
        Metrics("cells", 1, {"layer": 0, "pattern": [row]}),
    ]
    folder = make_run("a", kind="attention", events=cells, tables=MODEL)
    assert known(facts(TOKEN, [folder]), "attention").lines == ("L0H0 (previous token head) from ‘is’ with 0.90",)
    last = known(facts(TokenAt((*FRANCE, " is")), [folder]), "attention")
    assert last.lines == (
        "it is the last token: nothing looks back at it",
        "L0H0 (previous token head) brings it ‘France’ with 0.90",
    )


def test_what_depends_on_it(make_run: MakeRun) -> None:
    result = {"tokens": [*FRANCE, " is"], "layers": [0, 1], "recovery": {"resid_post": [[0, 0, 0, 0.85, 0], [0, 0, 0, 0.1, 1.0]]}}
    result |= {"top_heads": [{"head": "L0H1", "position": 3, "recovery": 0.83}, {"head": "L1H3", "position": 4, "recovery": 0.4}]}
    folder = make_run("t", kind="causal_trace", result=result, tables=MODEL)
    lines = known(facts(TOKEN, [folder]), "causal_trace").lines
    assert lines == ("resid_post: most at L0, which restores 0.850 of the answer", "head L0H1 restores 0.830")


def test_features_that_fire_on_it_with_their_labels(make_run: MakeRun) -> None:
    def card(name: str, label: str, **example: Any) -> dict[str, Any]:
        return {"feature_id": name, "label": label, "metadata": {"activating": [example]}}

    folder = make_run("f", kind="inspect", tables=MODEL)
    cards = [
        card("F1", "countries", tokens=["In", " France"], values=[0.0, 4.0]),
        card("F2", "silent here", tokens=list(FRANCE), values=[1.0, 0.0, 0.0, 0.0]),
        card("F3", "after capital of", tokens=list(FRANCE), values=[0.0, 0.0, 0.0, 2.0]),
        card("F4", "", text="The capital of France", activation=1.0),
    ]
    atomic.write_json(folder.path / "report.json", {"cards": cards})
    found = known(facts(TOKEN, [folder]), "inspect")
    assert found.whole and found.lines == ("F3 2.00  after capital of", "F4 1.00", "F1 4.00  countries")


def test_what_it_responds_to_and_moves_with(make_run: MakeRun) -> None:
    rows = [{"token": " France", "value": -0.5, "std_error": 0.1, "clear": True}, {"token": " Peru", "value": 2.0}]
    sus = make_run("s", kind="susceptibilities", result={"top_tokens": {"l0h1": rows}}, tables=MODEL)
    pairs = [
        {"text_1": "The capital of France is Paris", "text_2": "The capital of Japan is Tokyo", "value": 0.4},
        {"text_1": "def main():", "text_2": "wine from France", "value": 0.9},
    ]
    bif = make_run("b", kind="bif", result={"top_pairs": pairs}, tables=MODEL)
    parts = facts(TOKEN, [sus, bif])
    assert known(parts, "susceptibilities").lines == ("l0h1: χ -0.500 ± 0.10",)
    moves = known(parts, "bif")
    assert moves.whole and moves.lines == ("0.400  The capital of Japan is Tokyo", "0.900  def main():")


def test_a_token_of_the_data_has_its_responses_and_those_most_like_them(make_run: MakeRun) -> None:
    folder = susceptibilities(make_run)
    result = folder.result() or {}
    assert result["ranked_by"] == "covariance"
    sus = zarr.open_array(folder.path / "susceptibilities.zarr/susceptibilities/covariance", mode="r")[...]
    ids = zarr.open_array(folder.path / "susceptibilities.zarr/context/input_ids", mode="r")[...]
    row = [WORDS[one] for one in ids[13:26].tolist()]  # the second row of the first data set
    found = known(facts(TokenAt(tuple(row[:6])), [folder]), "susceptibilities")
    strongest = np.argsort(-np.abs(sus[12 + 4]))[:4]
    assert found.whole and len(found.lines) == 5
    assert [line.split(":")[0] for line in found.lines[:4]] == [PARTS[part] for part in strongest]
    assert found.lines[0].split(": ")[1] == f"covariance {number(float(sus[12 + 4][strongest[0]]), 3)}"
    scaled = sus / sus.std(axis=0)
    cosines = scaled @ scaled[12 + 4] / np.linalg.norm(scaled, axis=1) / np.linalg.norm(scaled[12 + 4])
    words = [bare(WORDS[one]) for one in np.delete(ids.reshape(-1, 13), 0, axis=1).ravel()]  # a row's first is predicted from nothing
    nearest = next(entry for entry in np.argsort(-cosines) if words[entry] != bare(row[5]))
    assert found.lines[4].startswith(f"parts respond alike to ‘{clean(words[nearest], limit=20)}’ {cosines[nearest]:.2f}, ")
    moved = known(facts(TokenAt(("elsewhere", row[5])), [folder]), "susceptibilities")
    assert not moved.whole and moved.lines[0].startswith("in another text: … ")


def test_steps_of_pipelines_are_asked_too(make_run: MakeRun) -> None:
    outer = make_run("p", kind="pipeline", tables={})
    inner = lens(make_run, "inner", FRANCE)
    (outer.path / "steps").mkdir()
    inner.path.rename(outer.path / "steps" / "lens")
    assert known(facts(TOKEN, [outer]), "logit_lens").folder.path == outer.path / "steps" / "lens"


@pytest.mark.parametrize("kind", [*token_facts.TITLES])
def test_damaged_results_say_nothing(make_run: MakeRun, kind: str) -> None:
    odd = {"tokens": [1, None], "layers": "x", "recovery": [3], "top_heads": 2, "top_tokens": {"a": 1}, "top_pairs": [1, {"value": "x"}]}
    cells = [Metrics("cells", 0, {"tokens": list(FRANCE), "layer": 0, "top": 3, "pattern": [[1]], "named": [1]})]
    folder = make_run("odd", kind=kind, result=odd, events=cells, tables=MODEL)
    atomic.write_json(folder.path / "report.json", {"cards": [{"metadata": {"activating": [{"tokens": list(FRANCE), "values": [1]}]}}, 3]})
    for part in facts(TOKEN, [folder]):
        assert part.known is None or part.kind == "attention"


def test_a_run_that_is_missing_starts_from_the_text() -> None:
    assert values_for("logit_lens", TOKEN) == {
        ("model", "source"): "builtin:tiny",
        ("model", "revision"): "final",
        ("params", "prompt"): "The capital of France",
    }
    assert ("params", "prompt") not in values_for("bif", TOKEN)
