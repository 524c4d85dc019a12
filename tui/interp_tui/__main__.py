"""The `interp-tui` program: runs the command line and turns whatever happens into an exit code and words, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `interp-tui` with the arguments, sys.argv's when not given. Returns the exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in argv
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show λ shows \u03bb
    try:
        from . import cli

        code = cli.run(argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        from .commands.progress_display import silence

        silence()
        return DONE
    except Exception as error:
        return _explain(error, as_json)


def _open_closed_streams() -> None:
    """Have stdin, stdout and stderr where the caller has closed them (`>&-`): else the next file that is opened would take their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for as long as the process lives


def _explain(problem: Exception, as_json: bool) -> int:
    from interp_tui_engine.atomic import disk_is_full
    from interp_tui_engine.errors import ManifestError, RunFailed, UserError

    from .commands.output import error
    from .terminal import crash_log

    if crash_log.debugging():
        import traceback

        traceback.print_exception(problem)
    if isinstance(problem, ManifestError):
        what = str(problem).splitlines()[0]
        error(what, exit_code=BAD_INPUT, as_json=as_json, problems=problem.problems)
        return BAD_INPUT
    if isinstance(problem, UserError):
        error(problem.what, problem.hint, exit_code=BAD_INPUT, as_json=as_json)
        return BAD_INPUT
    if isinstance(problem, RunFailed):
        error(problem.reason, problem.advice, exit_code=FAILED, as_json=as_json)
        return FAILED
    if hasattr(problem, "format_message"):  # typer's own: a wrong option, a missing argument
        error(problem.format_message(), _usage_hint(problem), exit_code=BAD_INPUT, as_json=as_json)
        return BAD_INPUT
    if isinstance(problem, OSError) and problem.filename is None and disk_is_full(problem):
        error(
            "what this prints cannot be written: no space is left there", "free some, or send it elsewhere", exit_code=FAILED, as_json=False
        )
        return FAILED
    what = f"{type(problem).__name__}: {problem}"
    error(what[:500], f"this is a fault of interp-tui; details: {crash_log.record(problem)}", exit_code=FAILED, as_json=as_json)
    return FAILED


def _usage_hint(problem: Exception) -> str:
    context = getattr(problem, "ctx", None)
    return f"{context.command_path} --help shows what there is" if context is not None else "interp-tui --help shows what there is"


if __name__ == "__main__":
    sys.exit(main())
