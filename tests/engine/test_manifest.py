"""The manifest: what is accepted comes back equal, what is not is explained in full, and nothing is imported or created for either."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from interp_tui_engine import catalog, manifest, untrusted
from interp_tui_engine.catalog import Kind
from interp_tui_engine.errors import ManifestError, Problem, UserError
from interp_tui_engine.specs import Table


class Case(Table):
    name: str
    family: Literal["monomial", "quadratic"] = "quadratic"


class FakeParams(Table):
    lr: float = Field(gt=0, allow_inf_nan=False, description="step size")
    steps: int = Field(10, ge=1, description="how many steps")
    cases: list[Case] = Field(default_factory=list, description="cases")
    observables: dict[str, int] = Field(default_factory=dict, description="dataset = batches")
    where: str | list[str] = Field("full", description="which part")
    size: float | None = Field(None, description="unset when left out")


def fake_check(request: manifest.Manifest) -> list[Problem]:
    return [Problem(f"params.observables.{name}", "no such data") for name in request.params.observables if name not in request.data]


NEEDS = frozenset({"model", "data"})
RUN: Any = None
FAKE = Kind(name="fake", title="Fake", question="?", group="Tools", needs=NEEDS, example={}, params=FakeParams, run=RUN, check=fake_check)
TEXT = st.text(max_size=10).filter(lambda text: all(not 0xD800 <= ord(c) < 0xE000 for c in text))
GOOD = """
kind = "fake"
[model]
[data.train]
source = "builtin:prose"
[params]
lr = 1e-4
"""


@pytest.fixture(autouse=True)
def fake_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    real = catalog.get
    monkeypatch.setattr(catalog, "kind_names", lambda: ("fake", "llc"))
    monkeypatch.setattr(catalog, "get", lambda name: FAKE if name == "fake" else real(name))


def problems_of(text: str, *overrides: str) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        manifest.parse(text, overrides=overrides)
    return caught.value.problems


def only(text: str, *overrides: str) -> Problem:
    (problem,) = problems_of(text, *overrides)
    return problem


# --- what is accepted


def test_defaults_are_filled_in() -> None:
    request = manifest.parse(GOOD)
    assert request.name == "run"
    assert request.seed == 100
    assert request.model is not None and request.model.source == "builtin:tiny"
    assert request.params.steps == 10


def test_resolved_manifest_comes_back_equal() -> None:
    request = manifest.parse(GOOD + 'cases = [{ name = "a" }]\nobservables = { train = 2 }\nwhere = ["x", "y"]\n')
    again = manifest.parse(request.to_toml(provenance={"python": "3", "none": None}, result={"sha256": {"losses": "00"}}))
    assert again == request
    assert again.digest() == request.digest()


@settings(max_examples=40, deadline=None)
@given(
    TEXT.filter(bool),
    st.integers(0, 2**63 - 1),
    st.floats(1e-300, 1e15),
    st.dictionaries(TEXT, st.just("builtin:code"), max_size=3),
)
def test_any_values_come_back_equal(name: str, seed: int, lr: float, sources: dict[str, str]) -> None:
    data = {key: {"source": source} for key, source in sources.items()} | {"train": {}}
    request = manifest.resolve({"kind": "fake", "name": name, "seed": seed, "model": {}, "data": data, "params": {"lr": lr}})
    assert manifest.parse(request.to_toml()) == request


def test_digest_depends_on_numbers_not_on_the_name_or_the_spelling() -> None:
    digest = manifest.parse(GOOD).digest()
    assert manifest.parse(GOOD.replace('"fake"', '"fake"\nname = "other"')).digest() == digest
    assert manifest.parse(GOOD.replace("1e-4", "0.0001\nsteps = 10")).digest() == digest
    assert manifest.parse(GOOD.replace("1e-4", "2e-4")).digest() != digest
    assert manifest.parse(GOOD, overrides=["seed=1"]).digest() != digest


def test_relative_paths_start_from_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}\n")
    file = tmp_path / "m.toml"
    file.write_text(GOOD + '[data.a]\nsource = "rows.jsonl"\n[data.b]\nsource = "texts"\n[data.c]\nsource = "org/name"\n')
    data = manifest.load(file).data
    assert data["a"].source == str(tmp_path / "rows.jsonl")
    assert data["b"].source == str(tmp_path / "texts")
    assert data["c"].source == "org/name"
    assert data["train"].source == "builtin:prose"


def test_a_run_folder_is_read_by_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_text(GOOD)
    assert manifest.load(tmp_path) == manifest.load(tmp_path / "manifest.toml")


# --- --set


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("params.lr=3e-5", ("params", "lr"), 3e-5),
        ("params.where=l0h1", ("params", "where"), "l0h1"),
        ('params.where=["a", "b"]', ("params", "where"), ["a", "b"]),
        ("params.observables={ train = 1 }", ("params", "observables"), {"train": 1}),
        ('data."a.b".rows=3', ("data", "a.b", "rows"), 3),
        ("name = spaced ", ("name",), "spaced"),
        ("name=", ("name",), ""),
        ("name=1\nseed = 2", ("name",), "1\nseed = 2"),
    ],
)
def test_override(text: str, path: tuple[str, ...], value: Any) -> None:
    tables: dict[str, Any] = {}
    problems, origins = manifest.override(tables, [text])
    assert not problems
    assert list(origins) == [path]
    for key in path:
        tables = tables[key]
    assert tables == value


@pytest.mark.parametrize("text", ["", "lr", "=3", "a b=3", "params..lr=3", "[x]=1"])
def test_override_that_is_none(text: str) -> None:
    problem = only(GOOD, text)
    assert problem.path.startswith("--set")
    assert "KEY=VALUE" in problem.message


def test_override_through_a_value() -> None:
    assert "params.lr is a value" in only(GOOD, "params.lr.x=3").message


def test_errors_say_that_they_come_from_set() -> None:
    problem = only(GOOD, "params.lr=-1")
    assert (problem.path, problem.line) == ("params.lr", None)
    assert "(from --set params.lr=-1)" in problem.message
    unknown = only(GOOD, "parms.lr=1")
    assert unknown.suggestion == "params"
    assert "--set" in unknown.message


def test_errors_of_the_file_keep_their_line_beside_set() -> None:
    problem = only(GOOD.replace("1e-4", "-1.0"), "params.steps=3")
    assert problem.line == 7
    assert "--set" not in problem.message


# --- what is not accepted


@pytest.mark.parametrize(
    ("change", "path", "line", "words", "suggestion"),
    [
        (("lr = 1e-4", "lr = -1e-4"), "params.lr", 7, ["-0.0001", "greater than 0"], None),
        (("lr = 1e-4", "lr = inf"), "params.lr", 7, ["finite"], None),
        (("lr = 1e-4", 'lr = "1e-4"'), "params.lr", 7, ["'1e-4'", "number", "without quotes"], None),
        (("lr = 1e-4", "lr = true"), "params.lr", 7, ["True", "number"], None),
        (("lr = 1e-4", "lr = 1e-4\nsteps = 1.5"), "params.steps", 8, ["1.5", "integer"], None),
        (("lr = 1e-4", "lr = 1e-4\nstpes = 3"), "params.stpes", 8, ["no key", "steps", "observables"], "steps"),
        (("lr = 1e-4", "lr = 1e-4\nwhere = 3"), "params.where", 8, ["3", "string", "list"], None),
        (("lr = 1e-4", "lr = 1e-4\nwhere = [3]"), "params.where", 8, ["string"], None),
        (("lr = 1e-4", "lr = 1e-4\nobservables = { train = 'x' }"), "params.observables.train", 8, ["'x'", "integer"], None),
        (
            ("lr = 1e-4", "lr = 1e-4\ncases = [\n{ name = 'a' },\n{ nam = 'a', name = 'b' }]"),
            "params.cases.1.nam",
            10,
            ["known: family, name"],
            "name",
        ),
        (
            ("lr = 1e-4", "lr = 1e-4\n[[params.cases]]\nname = 'a'\n[[params.cases]]\nfamily = 'x'\nname = ''"),
            "params.cases.1.family",
            11,
            ["'x'"],
            None,
        ),
        (("lr = 1e-4", "lr = 1e-4\n[[params.cases]]\n"), "params.cases.0.name", 8, ["missing"], None),
        (("lr = 1e-4", "lr = 1e-4\nobservables.code = 1"), "params.observables.code", 8, ["no such data"], None),
        (("lr = 1e-4", ""), "params.lr", 6, ["missing", "step size"], None),
        (("[model]", "[model]\ndevice = 'gpu'"), "model.device", 4, ["'gpu'", "cuda"], "cpu"),
        (("[model]", "[model]\ndtype = 'float23'"), "model.dtype", 4, ["'float32'", "'bfloat16'"], "float32"),
        (("[model]", "[model]\nlr = 3"), "model.lr", 4, ["no key"], "params.lr"),
        (("[model]", "[modle]"), "modle", 3, ["no key"], "model"),
        (("[model]", ""), "model", None, ["needs a [model] table"], None),
        (("[data.train]\nsource", "[model.x]\nsource"), "data", None, ["needs a [data.NAME] table"], None),
        (("[model]", "[model]\nsource = './no/such.gguf'"), "model.source", 4, ["no such file", "no/such.gguf"], None),
        (('kind = "fake"', 'kind = "lcl"'), "kind", 2, ["'lcl'", "fake", "llc"], "llc"),
        (('kind = "fake"', "kind = 3"), "kind", 2, ["3", "llc"], None),
        (('kind = "fake"', "kind = ['fake']"), "kind", 2, ["llc"], None),
        (('kind = "fake"', ""), "kind", 1, ["missing", "llc"], None),
        (('kind = "fake"', 'kind = "fake"\nseed = -1'), "seed", 3, ["-1"], None),
        (('kind = "fake"', 'kind = "fake"\nname = ""'), "name", 3, ["empty"], None),
        (("[params]", "[compute]\nmemory_budget = 'lots'\n[params]"), "compute.memory_budget", 7, ["'lots'", "256MiB"], None),
    ],
)
def test_one_problem(change: tuple[str, str], path: str, line: int | None, words: list[str], suggestion: str | None) -> None:
    assert change[0] in GOOD
    found = [problem for problem in problems_of(GOOD.replace(*change)) if problem.path == path]
    assert len(found) == 1
    assert found[0].line == line
    assert found[0].suggestion == suggestion
    for word in words:
        assert word in str(found[0])


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    text = 'kind = "fake"\nnmae = 1\n[model]\ndevice = "gpu"\n[data]\n[params]\nlr = -1\nsteps = "x"\n'
    problems = problems_of(text)
    assert [problem.path for problem in problems] == ["data", "nmae", "model.device", "params.lr", "params.steps"]
    assert [problem.line for problem in problems] == [None, 2, 4, 7, 8]


def test_an_unknown_kind_does_not_hide_the_other_problems() -> None:
    assert {problem.path for problem in problems_of('kind = "lcl"\nseed = "x"\n')} == {"kind", "seed"}


@pytest.mark.parametrize("table", ["params = 3", "model = 3", "data = 3", "data = []", "compute = 3", "data.train = 3", "[[params]]"])
def test_a_value_where_a_table_belongs(table: str) -> None:
    assert any("should be a table" in problem.message for problem in problems_of(f'kind = "fake"\n{table}\n'))


def test_toml_syntax_error_has_its_line() -> None:
    problem = only('kind = "fake"\nname = = 3\n')
    assert problem.line == 2
    assert "name = = 3" in problem.message


@pytest.mark.parametrize("text", ["\n[params\n", 'a = "', "x = [" * 5000, "a = 1\na = 2\n", "[a]\n[a]\n", "\x00"])
def test_broken_toml_is_a_manifest_error(text: str) -> None:
    assert problems_of(text)[0].path == "TOML"


def test_hostile_names_and_values_are_escaped() -> None:
    hostile = r'"\u001b]52;c;aGk=\u0007[/b]\u202e\n"'
    for text in (
        GOOD.replace('"fake"', hostile),
        GOOD + f"{hostile} = 1\n",
        GOOD.replace("1e-4", hostile),
        GOOD + f"observables = {{ {hostile} = 'x' }}\n",
    ):
        said = "\n".join(f"{problem.path}: {problem.message}" for problem in problems_of(text))
        assert "\x1b" not in said and "\u202e" not in said and "\x07" not in said
        assert "[/b]" in said


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such manifest"):
        manifest.load(tmp_path / "none.toml")


def test_what_editors_of_other_systems_write_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert manifest.load(tmp_path / "m.toml") == manifest.parse(GOOD, base=tmp_path)
    assert untrusted.read_toml(tmp_path / "m.toml")["kind"] == "fake"


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00GGUF")
    with pytest.raises(UserError, match="no UTF-8 text"):
        manifest.load(tmp_path / "binary")
    (tmp_path / "model.gguf").touch()
    os.truncate(tmp_path / "model.gguf", untrusted.MAX_TOML + 1)
    with pytest.raises(UserError, match="not a manifest"):
        manifest.load(tmp_path / "model.gguf")


def test_a_missing_file_offers_the_one_like_it(tmp_path: Path) -> None:
    (tmp_path / "smollm2.gguf").touch()
    with pytest.raises(ManifestError) as caught:
        manifest.parse(GOOD.replace("[model]", '[model]\nsource = "./smolm2.gguf"'), base=tmp_path)
    assert caught.value.problems[0].suggestion == "smollm2.gguf"


@pytest.mark.parametrize("source", ["./" + "x" * 5000, "~no-such-user/x", r"./a\u0000b"])
def test_impossible_paths_are_problems_not_crashes(source: str) -> None:
    assert only(GOOD.replace("[model]", f'[model]\nsource = "{source}"')).path == "model.source"


def test_numbers_that_nothing_can_compute_with_are_refused() -> None:
    """float32 arithmetic with them raises, or gives infinity, in the middle of a run."""
    for value in ("1e308", "1.1e15"):
        assert "more than a run can compute with; at most 1e+15" in only(GOOD, f"params.lr={value}").message
    for key in ("compute.checkpoint_every", "compute.memory_budget"):
        assert only(GOOD, f"{key}={'9' * 400}{'h' if 'check' in key else 'GB'}").path == key
    assert only(GOOD, "compute.threads=1000000").path == "compute.threads"
    assert only(GOOD, f"seed={2**63}").path == "seed"


SOME_KEYS = st.sampled_from(["lr", "train", "source", "name", "x"])


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans()),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(SOME_KEYS, inner, max_size=3)),
        max_leaves=8,
    ),
    st.sampled_from(["kind", "name", "seed", "model", "data", "params", "compute"]),
)
def test_no_value_anywhere_gets_past_the_explanation(value: Any, key: str) -> None:
    """Whatever stands under a key, the manifest is accepted or explained; nothing else is raised."""
    tables = {"kind": "fake", "model": {}, "data": {"train": {}}, "params": {"lr": 1.0}, key: value}
    try:
        request = manifest.resolve(tables)
    except ManifestError as error:
        assert error.problems
        assert all(problem.path and problem.message for problem in error.problems)
    else:
        assert math.isfinite(request.params.lr)


def test_which_scheduler_runs_it_does_not_make_it_another_request() -> None:
    here, there = manifest.parse(GOOD), manifest.parse(GOOD, overrides=["compute.executor=slurm", "compute.slurm.partition=gpu"])
    assert there.compute.slurm is not None and there.compute.slurm.partition == "gpu"
    assert here.digest() == there.digest() and manifest.parse(there.to_toml()) == there


@pytest.mark.parametrize(
    ("devices", "said"),
    [
        ('["cuda:0", "cuda:1"]', "fake runs on one device; llc are shared out"),
        ("[]", "is empty; name devices"),
        ('["gpu0"]', "'gpu0' is no device; a device is cpu, cuda, cuda:1 or mps"),
        ('["cuda:0", "cpu"]', "are of different kinds"),
    ],
)
def test_devices_that_cannot_be_used_are_refused_with_what_can(devices: str, said: str) -> None:
    found = problems_of(GOOD, f"compute.devices={devices}")
    assert {problem.path for problem in found} == {"compute.devices"} and said in " ".join(problem.message for problem in found)


def test_one_device_is_for_any_kind_but_not_beside_another() -> None:
    assert manifest.parse(GOOD, overrides=['compute.devices=["cuda:1"]']).compute.devices == ["cuda:1"]
    assert "both say where to compute" in only(GOOD, 'compute.devices=["cpu"]', "model.device=cpu").message
