"""The filter's small language."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from interp_tui.runs.filters import FilterDefinition, asks_for_archived, compile_filter, named
from interp_tui.runs.session import read_run
from interp_tui_engine.runfolder import RunFolder

MakeRun = Callable[..., RunFolder]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", {"a", "b", "c"}),
        ("kind = llc", {"a", "b"}),
        ("kind=llc&done", {"a"}),
        ("kind = llc & !done", {"b"}),
        ("llc > 5", {"a"}),
        ("llc_mean<=5", {"b"}),
        ("kind != llc | failed", {"b", "c"}),
        ("model ~ PYTHIA", {"b"}),
        ("age < 1h", {"a"}),
        ("age > 1d", {"c"}),
        ("state=crashed", {"c"}),
        ("nothing like it", set()),
        ("a]b[", set()),
    ],
)
def test_terms(make_run: MakeRun, text: str, names: set[str]) -> None:
    folders = [
        make_run("a", age=60, headline={"llc_mean": 38.2}),
        make_run("b", age=7200, state="failed", model="pythia-70m", headline={"llc_mean": 2.0}),
        make_run("c", age=200_000, state="crashed", kind="sample"),
    ]
    matches = compile_filter(text)
    assert {run.status.name for run in map(read_run, folders) if matches(run)} == names


@pytest.mark.parametrize("text", ["llc > many", "= 5", "age < soon"])
def test_what_is_no_filter_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_filter(text)


@pytest.mark.parametrize("value", [10**400, -(10**400), True, None, [1], "7"])
def test_a_headline_that_is_no_number_of_this_world_matches_nothing(make_run: MakeRun, value: object) -> None:
    run = read_run(make_run("a", headline={"llc_mean": value}))
    assert not compile_filter("llc > 5")(run) and not compile_filter("llc < 5")(run)


def test_a_kept_filter_stands_for_what_it_was_kept_as(make_run: MakeRun) -> None:
    runs = [read_run(make_run(name, state=state)) for name, state in (("a", "done"), ("b", "failed"), ("c", "crashed"))]
    kept = {"bad": "failed | crashed", "worst": "@bad & name = c", "loop": "@pool", "pool": "@loop"}

    def names(text: str) -> list[str]:
        matches = compile_filter(text, [], kept)
        return [run.status.name for run in runs if matches(run)]

    assert names("@bad") == ["b", "c"] and names("@bad & name = b") == ["b"] and names("!@bad") == ["a"] and names("@worst") == ["c"]
    assert names("@new = state = done") == ["a"], "as it is typed it shows what it will stand for"
    for text, said in (("@bda", "did you mean '@bad'?"), ("@zzz", "kept: @bad, @worst"), ("@loop", "no filter is kept as '@loop'")):
        with pytest.raises(ValueError, match=said):
            compile_filter(text, [], kept)
    with pytest.raises(ValueError, match="no filter is kept as '@self'"):
        compile_filter("@self = @self & done", [], kept)


def test_a_kept_filter_may_ask_for_archived_runs() -> None:
    kept = {"old": "archived = yes", "loop": "@loop"}
    assert asks_for_archived("@old & done", kept) and asks_for_archived("@mine = archived = no", kept)
    assert not asks_for_archived("@loop", kept) and not asks_for_archived("@old & done")


def test_what_gives_a_filter_a_name() -> None:
    assert named("@bad = failed | crashed") == FilterDefinition("bad", "failed | crashed")
    assert named(" @bad=") == FilterDefinition("bad", "")
    assert named("@bad") is None and named("kind = llc") is None and named("@bad == llc") is None and named("@two words = a") is None
