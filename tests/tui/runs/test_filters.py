"""The filter's small language."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from interp_tui.runs.filters import compile_filter
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
