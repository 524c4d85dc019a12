"""The command line: what may be typed, and which function of commands/ answers it. Light: nothing heavy is imported before it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from interp_tui_engine.errors import UserError
from interp_tui_engine.trust import set_allowed

from .commands import (
    compare,
    completion,
    control,
    demo,
    doctor,
    export,
    gc,
    keys,
    label,
    locate,
    mcp,
    new,
    open_app,
    plan,
    queue,
    replay,
    report,
    restrict,
    runs,
    validate,
)
from .commands.shared import RunsOption, SetOption

PROGRAM = "interp-tui"
VALUE_OPTIONS = ("--batch", "--out", "--runs", "--set")
"""Options of the program itself that take a value: the word after them is no sub-command."""

app = typer.Typer(
    name=PROGRAM,
    add_completion=False,  # `interp-tui completion` does that without two more options in every --help
    rich_markup_mode=None,  # plain help: rich's would cost half of the time that --help may take
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

BatchOption = Annotated[Path | None, typer.Option("--batch", metavar="M.toml", help="Run this manifest, or a run folder's, headless.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="With --batch: the run folder to make.")]
JsonOption = Annotated[bool, typer.Option("--json", help="With --batch: one event a line on stdout and nothing else.")]
PlainOption = Annotated[bool, typer.Option("--plain", help="With --batch: plain lines, as in a pipe.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="With --batch: go on with the run folder given, or with --out.")]
DetachOption = Annotated[bool, typer.Option("--detach", help="With --batch: start the run and return; it outlives this terminal.")]
ReuseOption = Annotated[bool, typer.Option("--reuse", help="With --batch: if an equal run has finished, name it instead.")]
TrustOption = Annotated[bool, typer.Option("--trust", help="With --batch: let the model run code of its own, and open pickled weights.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="With --batch: check, print the estimate, create nothing.")]
VersionOption = Annotated[bool, typer.Option("--version", "-V", help="Print the version.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    batch: BatchOption = None,
    out: OutOption = None,
    runs: RunsOption = None,
    json: JsonOption = False,
    plain: PlainOption = False,
    set_: SetOption = None,
    resume: ResumeOption = False,
    detach: DetachOption = False,
    reuse: ReuseOption = False,
    dry_run: DryRunOption = False,
    trust: TrustOption = False,
    version: VersionOption = False,
) -> int:
    """Look inside language models: a workbench for the terminal.

    \b
    interp-tui               opens the app
    interp-tui RUN_FOLDER    opens that run
    interp-tui --batch M     runs a manifest headless
    """
    if context.invoked_subcommand is not None:
        return 0
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"{PROGRAM} {version_of(PROGRAM)}")
        return 0
    if batch is None:
        options = {"--out": out, "--set": set_, "--json": json, "--plain": plain, "--resume": resume, "--detach": detach}
        stray = [name for name, given in (options | {"--reuse": reuse, "--dry-run": dry_run, "--trust": trust}).items() if given]
        if stray:
            raise UserError(f"{', '.join(stray)}: only with --batch M.toml", f"{PROGRAM} --help shows what there is")
        return open_app.open_(None, runs)
    from .commands import batch as batch_command

    set_allowed(trust)
    chosen = batch_command.Options(out, runs, json, plain, tuple(set_ or ()), resume, detach, reuse, dry_run)
    return batch_command.run(batch, chosen)


app.command("open", hidden=True)(open_app.open_)
app.command("new")(new.new)
app.command("validate")(validate.validate)
app.command("schema")(validate.schema)
app.command("list")(runs.list_)
app.command("show")(runs.show)
app.command("attach")(control.attach)
app.command("resume")(control.resume)
app.command("pause")(control.pause)
app.command("unpause")(control.unpause)
app.command("stop")(control.stop)
app.command("replay")(replay.replay)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("label")(label.label)
app.command("gc")(gc.gc)
app.command("report")(report.report)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("restrict")(restrict.restrict)
app.command("queue")(queue.queue)
app.command("plan")(plan.plan)
app.command("keys")(keys.keys)
app.command("mcp")(mcp.mcp)
app.command("locate")(locate.locate)
app.command("completion")(completion.completion)


def command_names() -> list[str]:
    """The sub-commands, hidden ones left out."""
    return [command.name for command in app.registered_commands if command.name and not command.hidden]


def route(arguments: Sequence[str]) -> list[str]:
    """The arguments with the sub-command in front: `interp-tui --json list` is `list --json`, and `interp-tui RUN` is `open RUN`.

    Raises UserError, naming the nearest sub-command, for a word that is neither a command nor a path.
    """
    arguments = list(arguments)
    at = _first_word(arguments)
    if at is None or any(word == "--batch" or word.startswith("--batch=") for word in arguments):
        return arguments
    word = arguments[at]
    rest = [*arguments[:at], *arguments[at + 1 :]]
    if word == "help":
        return [*route(rest), "--help"] if _first_word(rest) is not None else ["--help"]
    if word == "version":
        return ["--version"]
    if word in command_names() or word == "open":
        return [word, *rest]
    if word == "run":
        manifest = rest[0] if rest else "M.toml"
        raise UserError("there is no command 'run'", f"{PROGRAM} --batch {manifest} runs a manifest; {PROGRAM} alone opens the app")
    if word.endswith(".toml") and not word.endswith("manifest.toml"):
        hint = f"{PROGRAM} --batch {word} runs it; {PROGRAM} validate {word} checks it"
        raise UserError(f"{word!r} is a manifest, not a run folder", hint)
    if "/" in word or word.startswith((".", "~")) or word[:1].isdigit() or Path(word).exists() or _names_a_run(word, rest):
        return ["open", word, *rest]
    import difflib

    close = difflib.get_close_matches(word, command_names(), n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}?" if close else f"{PROGRAM} --help shows what there is"
    raise UserError(f"no such command or run folder: {word!r}", hint)


def _names_a_run(word: str, rest: Sequence[str]) -> bool:
    """Whether the word is part of a run's name, as `attach` and `show` take it."""
    from interp_tui_engine.runfolder import find_runs, runs_root

    given = next((rest[at + 1] for at, option in enumerate(rest[:-1]) if option == "--runs"), None)
    given = given or next((option.removeprefix("--runs=") for option in rest if option.startswith("--runs=")), None)
    return any(word in run.path.name for run in find_runs(runs_root(Path(given) if given else None)))


def _first_word(arguments: Sequence[str]) -> int | None:
    takes_value = False
    for index, word in enumerate(arguments):
        if takes_value:
            takes_value = False
        elif word.startswith("-"):
            takes_value = word in VALUE_OPTIONS
        else:
            return index
    return None


def run(arguments: Sequence[str]) -> int:
    """Run the command line. Returns the exit code; raises what went wrong."""
    completion.answer_the_shell()
    if arguments and arguments[0] in ("list", "attach") and "--help" not in arguments:
        queue.pass_by()
    set_allowed(False)
    code = app(args=route(arguments), prog_name=PROGRAM, standalone_mode=False)
    return code if isinstance(code, int) else 0
