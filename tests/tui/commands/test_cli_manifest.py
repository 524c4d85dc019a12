"""validate, new, schema, and every kind of bad input: explained in full, exit code 2, nothing created."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from cli_tools import HOSTILE, MANIFEST, Cli, cli, request_file

from interp_tui_engine import catalog, manifest

__all__ = ["cli", "request_file"]


def inside(path: Path) -> set[Path]:
    return set(path.rglob("*"))


# --- validate


def test_a_valid_manifest(cli: Cli, request_file: Path) -> None:
    answer = cli("validate", request_file)
    assert answer.code == 0
    assert answer.out.startswith("ok") and manifest.load(request_file).digest() in answer.out


def test_resolved_is_the_manifest_with_every_default(cli: Cli, request_file: Path) -> None:
    answer = cli("validate", request_file, "--resolved", "--set", "params.lr=2e-4")
    request = manifest.parse(answer.out)
    assert request.params.lr == 2e-4
    assert "num_draws = 200" in answer.out


def test_resolved_says_where_each_value_came_from(cli: Cli, request_file: Path) -> None:
    request_file.write_text(MANIFEST + "observables = { train = 2 }\n")
    answer = cli("validate", request_file, "--resolved", "--set", "params.lr=2e-4", "--set", "seed=7")
    lines = answer.out.splitlines()
    assert lines[0] == f"# values without a mark stand in {request_file}"
    assert "seed = 7  # --set" in lines and "lr = 0.0002  # --set" in lines
    assert "n_beta = 30.0" in lines and 'kind = "llc"' in lines and "train = 2" in lines
    assert "num_draws = 200  # default" in lines and 'dtype = "float32"  # default' in lines
    assert manifest.parse(answer.out).digest() == manifest.load(request_file, ["params.lr=2e-4", "seed=7"]).digest()


def test_validate_as_json(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(MANIFEST.replace("1e-4", "-1"))
    answer = cli("validate", request_file, tmp_path / "bad.toml", "--json")
    assert answer.code == 2
    good, bad = answer.records
    assert good["ok"] is True and len(good["sha256"]) == 64
    assert bad["type"] == "error" and bad["exit_code"] == 2
    assert bad["problems"][0] | {"message": ""} == {"path": "params.lr", "message": "", "line": 9, "value": -1, "suggestion": None}
    assert answer.err == ""


def test_every_manifest_is_checked(cli: Cli, request_file: Path, tmp_path: Path) -> None:
    answer = cli("validate", tmp_path / "none.toml", request_file)
    assert answer.code == 2
    assert "no such manifest" in answer.err and answer.out.startswith("ok")


BAD = {
    "unknown key": (MANIFEST + "num_chian = 3\n", ["line 11", "params.num_chian", "num_chains"]),
    "wrong type": (MANIFEST + 'num_chains = "four"\n', ["line 11", "params.num_chains", "'four'", "integer"]),
    "negative lr": (MANIFEST.replace("1e-4", "-1e-4"), ["line 9", "params.lr", "-0.0001", "greater than 0"]),
    "unknown kind": (MANIFEST.replace('"llc"', '"lcl"'), ["line 2", "kind", "'lcl'", "Did you mean 'llc'?"]),
    "missing file": (MANIFEST.replace("builtin:tiny", "./none.gguf"), ["line 5", "model.source", "none.gguf", "no such file"]),
    "unknown device": (MANIFEST.replace("[data", 'device = "gpu"\n[data'), ["line 6", "model.device", "'gpu'", "cpu"]),
    "syntax": (MANIFEST + "num_chains = = 3\n", ["line 11", "num_chains = = 3"]),
    "several": (MANIFEST.replace("1e-4", "-1") + 'name = 3\nnum_draws = "x"\n', ["3 problems", "params.lr", "params.num_draws"]),
    "empty": ("", ["kind", "missing"]),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", [("validate",), ("--batch",), ("--dry-run", "--batch"), ("--json", "--batch")], ids=" ".join)
def test_bad_manifest(cli: Cli, tmp_path: Path, name: str, command: tuple[str, ...]) -> None:
    text, words = BAD[name]
    path = tmp_path / "bad.toml"
    path.write_text(text)
    before = inside(tmp_path)
    answer = cli(*command, path)
    assert answer.code == 2
    assert inside(tmp_path) == before
    if "--json" in command:
        (record,) = answer.records
        assert record["type"] == "error" and record["problems"] and answer.err == ""
        return
    assert answer.out == ""
    assert answer.err.startswith(f"error: {path}")
    for word in words:
        assert word in answer.err


@pytest.mark.parametrize("setting", ["params.lr=-1", "lr", "parms.lr=1", "params.lr.x=1", "kind=lcl", "a b=1"])
def test_bad_set(cli: Cli, request_file: Path, tmp_path: Path, setting: str) -> None:
    before = inside(tmp_path)
    answer = cli("--batch", request_file, "--set", setting)
    assert answer.code == 2
    assert f"--set {setting}" in answer.err
    assert inside(tmp_path) == before


@pytest.mark.parametrize(
    "text",
    [
        MANIFEST.replace('"tiny"', json.dumps(HOSTILE)).replace("1e-4", "-1"),
        MANIFEST.replace('"llc"', json.dumps(HOSTILE)),
        MANIFEST + f"{json.dumps(HOSTILE)} = 1\n",
        MANIFEST.replace('"builtin:tiny"', json.dumps("./" + HOSTILE)),
        MANIFEST + f"observables = {{ {json.dumps(HOSTILE)} = 1 }}\n",
        MANIFEST + f"# {HOSTILE}\nx = = {HOSTILE}\n".replace("\x07", "").replace("\x1b", ""),
    ],
)
def test_hostile_text_is_shown_as_text(cli: Cli, tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile.toml"
    path.write_text(text)
    for command in (("validate",), ("--batch",), ("--json", "--batch")):
        answer = cli(*command, path)
        assert answer.code == 2
        assert answer.is_safe()


def test_hostile_file_name_and_arguments(cli: Cli, tmp_path: Path) -> None:
    for arguments in (
        ("validate", tmp_path / HOSTILE),
        ("show", HOSTILE),
        (HOSTILE,),
        ("new", HOSTILE),
        ("--batch", HOSTILE, "--json"),
        ("list", "--state", HOSTILE),
    ):
        answer = cli(*arguments)
        assert answer.code == 2
        assert answer.is_safe()


def test_files_that_are_no_manifest(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "binary", tmp_path / "none", tmp_path, tmp_path / ("x" * 3000), "a\0b"):
        assert cli("validate", path).code == 2


# --- new


@pytest.mark.parametrize("kind", catalog.kind_names())
def test_new_runs_as_it_is(cli: Cli, kind: str) -> None:
    answer = cli("new", kind)
    assert answer.code == 0
    example = manifest.resolve({"kind": kind, **catalog.get(kind).example})
    request = manifest.parse(answer.out)
    assert request.digest() == example.digest()
    for name, field in catalog.get(kind).params.model_fields.items():
        assert f"\n{name} = " in answer.out or f"\n# {name} =" in answer.out
        assert (field.description or "").split()[0] in answer.out


@pytest.mark.parametrize("kind", catalog.kind_names())
def test_every_default_that_new_shows_is_the_default(cli: Cli, kind: str) -> None:
    """With the comment signs taken away, the manifest still means the same; keys that are unset have no value to uncomment."""
    text = cli("new", kind).out
    lines = [re.sub(r"^# (?=\w+ = (?! *#))", "", line) for line in text.splitlines()]
    assert "".join(lines) != text.replace("\n", "")
    assert manifest.parse("\n".join(lines)).digest() == manifest.parse(text).digest()


def test_new_writes_a_new_file_only(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "llc.toml"
    assert cli("new", "llc", "-o", path).last == str(path)
    assert cli("validate", path).code == 0
    before = path.read_text()
    answer = cli("new", "llc", "-o", path)
    assert answer.code == 2 and "file exists" in answer.err
    assert path.read_text() == before
    assert cli("new", "llc", "-o", tmp_path / "no" / "such" / "x.toml").code == 2


def test_new_without_a_kind_lists_them(cli: Cli) -> None:
    answer = cli("new")
    assert answer.code == 0 and "llc" in answer.out


def test_new_from_a_run(cli: Cli, make_run: Any, runs_root: Path) -> None:
    make_run("mine")
    answer = cli("new", "--from", "mine")
    tables = tomli.loads(answer.out)
    assert tables["name"] == "mine" and tables["params"]["num_chains"] == 4
    assert cli("new", "sample", "--from", "mine").code == 2


def test_new_of_no_kind(cli: Cli) -> None:
    answer = cli("new", "lcl")
    assert answer.code == 2 and "Did you mean 'llc'?" in answer.err


# --- schema


@pytest.mark.parametrize("kind", catalog.kind_names())
def test_schema_of_a_kind(cli: Cli, kind: str) -> None:
    schema = json.loads(cli("schema", kind).out)
    assert schema["properties"]["kind"]["const"] == kind
    assert schema["additionalProperties"] is False
    params = schema["$defs"][schema["properties"]["params"]["$ref"].rsplit("/", 1)[1]]
    assert set(catalog.get(kind).params.model_fields) == set(params["properties"])


def test_schema_of_all_kinds(cli: Cli) -> None:
    schema = json.loads(cli("schema").out)
    assert set(schema["discriminator"]["mapping"]) == set(catalog.kind_names())
    assert cli("schema", "lcl").code == 2


def test_schema_of_what_a_kind_writes(cli: Cli) -> None:
    result = json.loads(cli("schema", "llc", "--result").out)
    assert {"llc_mean", "usable", "seconds", "uncertainty"} <= set(result["required"]) | set(result["properties"])
    assert "nats a token" in result["properties"]["init_loss"]["description"]
    assert "rhat" in json.loads(cli("schema", "llc", "--headline").out)["properties"]
    live = json.loads(cli("schema", "llc", "--live").out)
    assert set(live) == {"chains", "estimate", "verdict"} and "trace" in live["chains"]["properties"]


def test_schema_of_results_wants_one_kind_and_one_question(cli: Cli) -> None:
    for asked in (("--result",), ("llc", "--result", "--live")):
        done = cli("schema", *asked)
        assert done.code == 2 and "one KIND" in done.err
