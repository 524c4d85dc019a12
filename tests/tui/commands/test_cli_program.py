"""The program itself: how words are routed, what --help costs, what is imported, and what happens when something unforeseen does."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import Cli, cli, request_file

from interp_tui import cli as program
from interp_tui.__main__ import main
from interp_tui.commands import doctor
from interp_tui_engine.errors import RunFailed, UserError

__all__ = ["cli", "request_file"]
HEAVY = ("torch", "transformers", "textual", "zarr", "xarray", "datasets", "sklearn")


@pytest.mark.parametrize(
    ("typed", "routed"),
    [
        ([], []),
        (["--help"], ["--help"]),
        (["list"], ["list"]),
        (["--json", "list"], ["list", "--json"]),
        (["--runs", "d", "list", "--json"], ["list", "--runs", "d", "--json"]),
        (["./runs/x"], ["open", "./runs/x"]),
        (["--runs", "d", "20260102-030405-llc-x"], ["open", "20260102-030405-llc-x", "--runs", "d"]),
        (["a/manifest.toml"], ["open", "a/manifest.toml"]),
        (["--batch", "m.toml", "--json"], ["--batch", "m.toml", "--json"]),
        (["--json", "--batch=m.toml"], ["--json", "--batch=m.toml"]),
        (["show", "list"], ["show", "list"]),
        (["help"], ["--help"]),
        (["help", "show"], ["show", "--help"]),
        (["version"], ["--version"]),
    ],
)
def test_routing(typed: list[str], routed: list[str]) -> None:
    assert program.route(typed) == routed


def test_an_existing_folder_of_any_name_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "listt").mkdir()
    assert program.route(["listt"]) == ["open", "listt"]


@pytest.mark.parametrize(("typed", "meant"), [("lst", "list"), ("vaildate", "validate"), ("docter", "doctor"), ("sotp", "stop")])
def test_a_typo_offers_the_nearest_command(cli: Cli, typed: str, meant: str) -> None:
    answer = cli(typed)
    assert answer.code == 2 and f"Did you mean '{meant}'?" in answer.err


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_a_stream_that_the_caller_has_closed_is_no_fault(closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, closed, None)
    assert main(["list", "--runs", str(tmp_path)]) == 0
    assert main([]) == 2  # the app needs a terminal


def test_output_that_finds_no_space_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["locate"]) == 1
        monkeypatch.undo()
        full.buffer.raw.close()  # what is left in its buffer goes nowhere
    said = capsys.readouterr().err
    assert "what this prints cannot be written" in said and "fault" not in said


def test_run_is_no_command_and_says_what_is(cli: Cli) -> None:
    assert "interp-tui --batch llc.toml runs a manifest" in cli("run", "llc.toml").err


def test_a_manifest_in_the_place_of_a_run(cli: Cli) -> None:
    assert "interp-tui --batch m.toml runs it" in cli("m.toml").err


@pytest.mark.parametrize("arguments", [["--out", "x"], ["--set", "a=1"], ["--dry-run"], ["--plain"], ["--resume"]])
def test_options_of_batch_without_it(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.code == 2 and "only with --batch" in answer.err


@pytest.mark.parametrize(
    "arguments", [["list", "--sate", "done"], ["show"], ["export", "x"], ["--nonsense"], ["validate"], ["list", "--runs"], ["--batch"]]
)
def test_wrong_options_are_explained(cli: Cli, arguments: list[str]) -> None:
    answer = cli(*arguments)
    assert answer.code == 2 and answer.err.startswith("error: ") and "--help" in answer.err
    assert answer.out == ""


def test_wrong_options_as_json(cli: Cli) -> None:
    answer = cli("list", "--json", "--sate", "done")
    assert answer.code == 2 and answer.err == "" and answer.records[0]["type"] == "error"


def test_help_names_every_command(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.code == 0
    for name in program.command_names():
        assert f"\n  {name} " in answer.out
        help_text = cli(name, "--help").out
        assert help_text.startswith(f"Usage: interp-tui {name}")
    assert "open " not in answer.out.split("Commands:")[1]
    assert cli("--version").code in (0, 1)


def test_the_app_needs_a_terminal(cli: Cli, make_run: object) -> None:
    answer = cli()
    assert answer.code == 2 and "needs a terminal" in answer.err


# --- errors of every sort


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (UserError("a is wrong", "do b"), 2, ["error: a is wrong", "do b"]),
        (RunFailed("it stopped", "try c"), 1, ["error: it stopped", "try c"]),
        (ZeroDivisionError("division by zero"), 1, ["error: ZeroDivisionError: division by zero", "error.log"]),
        (RecursionError("too deep"), 1, ["RecursionError", "error.log"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_what_happens_is_words_and_a_code(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, problem: BaseException, code: int, words: list[str]
) -> None:
    def fail(runs: object) -> object:
        raise problem

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(doctor, "examine", fail)
    answer = cli("doctor")
    assert answer.code == code
    for word in words:
        assert word in answer.err
    answer = cli("doctor", "--json")
    assert answer.code == code and answer.err == ""
    if words:
        assert json.loads(answer.out)["exit_code"] == code
    if "error.log" in words:
        (log,) = tmp_path.rglob("error.log")
        assert "Traceback" in log.read_text()


def test_a_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from interp_tui.__main__ import main

    monkeypatch.setenv("INTERP_TUI_DEBUG", "1")
    assert main(["show", "none"]) == 2
    assert "Traceback" in capsys.readouterr().err


# --- light


def run(*arguments: str, code: int = 0, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Run the program in a process of its own; returns it and the CPU seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "interp_tui", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == code, done.stderr
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(("arguments", "limit"), [(["--help"], 0.3), (["validate", "m.toml"], 0.7)])
def test_quick(request_file: Path, arguments: list[str], limit: float) -> None:
    """CPU time, the best of three: on a machine with nothing else to do that is the wall time."""
    assert min(run(*arguments)[1] for _ in range(3)) < limit


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate", "m.toml"], ["--batch", "m.toml", "--dry-run"], ["new", "llc"], ["list"], ["doctor"]]
)
def test_nothing_heavy_is_imported(request_file: Path, arguments: list[str]) -> None:
    script = (
        "import sys\nfrom interp_tui.__main__ import main\ncode = main(sys.argv[1:])\n"
        f"sys.stderr.write('heavy: ' + repr([m for m in {HEAVY!r} if m in sys.modules]))\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    # doctor looks through the themes, which are Textual's
    assert done.stderr.endswith("heavy: ['textual']" if arguments == ["doctor"] else "heavy: []")


def test_help_does_without_what_it_does_not_need() -> None:
    script = (
        "import sys\nfrom interp_tui.__main__ import main\nmain(['--help'])\n"
        "print([m for m in ('pydantic', 'rich', 'psutil') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


@pytest.mark.parametrize(
    ("typed", "offered"), [("interp-tui sh", "show"), ("interp-tui new ll", "llc"), ("interp-tui list --st", "--state")]
)
def test_the_shell_is_answered(typed: str, offered: str) -> None:
    done, _ = run(_INTERP_TUI_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=str(len(typed.split()) - 1))
    assert offered in done.stdout.split()


def test_a_terminal_without_unicode_gets_escapes() -> None:
    done, _ = run("new", "llc", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert "\\u03b5" in done.stdout
