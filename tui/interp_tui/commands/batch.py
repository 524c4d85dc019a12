"""`interp-tui --batch`: run a manifest headless, resume it, start it detached, or only say what it would take."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from interp_tui_engine import expected_time, manifest, supervisor
from interp_tui_engine.errors import UserError
from interp_tui_engine.manifest import Manifest
from interp_tui_engine.runfolder import RunFolder, Status, is_free, new_run_path, runs_root
from interp_tui_engine.supervision import preflight, step_cache, sweep_supervisor

from ..terminal import host
from ..text.sanitise import clean
from . import progress_display
from .output import event, out, out_path, say, warn


@dataclass(frozen=True)
class Options:
    """What stands beside --batch on the command line."""

    out: Path | None = None
    runs: Path | None = None
    as_json: bool = False
    plain: bool = False
    overrides: tuple[str, ...] = ()
    resume: bool = False
    detach: bool = False
    reuse: bool = False
    dry_run: bool = False


def run(source: Path, options: Options) -> int:
    """Do what `--batch` with these options asks for. Returns the exit code."""
    if options.resume:
        return _resume(source, options)
    request = manifest.load(source, options.overrides)
    path = options.out.expanduser().absolute() if options.out else new_run_path(runs_root(options.runs), request.kind, request.name)
    check_free(path)
    if options.dry_run:
        return dry_run(request, path, as_json=options.as_json)
    preflight.check(request)
    if options.reuse and (earlier := _reusable(request, options)):
        return announce(earlier, as_json=options.as_json, reused=True)
    folder = supervisor.prepare(request, path)
    if options.reuse and request.step:
        step_cache.allow(folder, [runs_root(options.runs), path.parent])
    return start(folder, options)


def check_free(path: Path) -> None:
    """Raise UserError if a run folder could not be made there because something is in the way."""
    if not is_free(path):
        raise UserError(f"output folder exists: {path}", "a run folder is never overwritten; give another --out, or --resume it")


def start(folder: RunFolder, options: Options) -> int:
    """Start or go on with the run in the folder, here or detached. Returns the exit code."""
    if options.detach:
        supervisor.launch(folder)
        if not options.as_json:
            say(f"started; interp-tui attach {folder.path.name} shows it, interp-tui stop {folder.path.name} ends it")
        return announce(folder, as_json=options.as_json)
    if options.as_json:
        event("run_folder", path=str(folder.path))
    else:
        say(f"run folder {host.short_path(folder.path)}; ctrl-c stops with a checkpoint")
    display = progress_display.choose(folder, as_json=options.as_json, plain=options.plain)
    with display:
        status = supervisor.supervise(folder, progress_display.careful(display))
    return finish(folder, status, as_json=options.as_json)


def finish(folder: RunFolder, status: Status, *, as_json: bool) -> int:
    """Say how the run ended, and where it is. Returns the exit code."""
    code = supervisor.exit_code(status)
    if as_json:
        return code
    reason, advice = (str(status.exit.get(key) or "") for key in ("reason", "advice"))
    if status.state == "interrupted":
        say(f"interrupted{f': {reason}' if reason else ''}; interp-tui resume {folder.path.name} goes on from here")
    elif code:
        say(f"error: the run {status.state}{f': {reason}' if reason else ''}")
        for line in advice.splitlines():
            say(f"  {line.removeprefix('  ')}")
    elif folder.report_path.exists():
        for sentence in _sentences(folder):
            say(f"· {sentence}")
        say(f"report {host.short_path(folder.report_path)}")
    out_path(folder.path)
    return code


def _sentences(folder: RunFolder) -> list[str]:
    """What the run found, in words, where its kind says so; sanitised."""
    sentences = (folder.result() or {}).get("sentences")
    return [clean(str(sentence), limit=600) for sentence in sentences] if isinstance(sentences, list) else []


def announce(folder: RunFolder, *, as_json: bool, reused: bool = False) -> int:
    """Name the folder on the last line."""
    if as_json:
        event("run_folder", path=str(folder.path), **({"reused": True} if reused else {}))
        return 0
    if reused:
        say("an equal run has finished: same request, code, weights and data")
    out_path(folder.path)
    return 0


def _resume(source: Path, options: Options) -> int:
    """Go on with a run folder: the one given, the one whose manifest is given, or --out with the manifest it was made from."""
    if not options.out and source.is_file() and source.name != "manifest.toml":
        raise UserError(f"{source} is a manifest, not a run", "--resume needs the run folder in its place, or --out RUN_FOLDER beside it")
    folder = RunFolder.open(options.out or (source.parent if source.name == "manifest.toml" else source))
    if options.overrides:
        raise UserError("--set cannot change a run that has begun", "start a new run: give its manifest to --batch without --resume")
    request = manifest.load(folder.manifest_path)
    if options.out and source.expanduser().absolute() not in (folder.path, folder.manifest_path):
        given = manifest.load(source)
        if given.digest() not in digests_of(folder, request):
            raise UserError(f"{folder.path} was made from another request than {source}", "interp-tui compare shows how they differ")
    return resume(folder, options)


def resume(folder: RunFolder, options: Options) -> int:
    """Go on with the run in the folder, unless it is done or going on. Returns the exit code."""
    if not folder.events_path.exists() and not (folder.path / "status.json").exists():
        raise UserError(f"not a run folder: {folder.path} holds a manifest but no run", "interp-tui --batch runs a manifest")
    status = folder.status()
    if status.state == "done":
        if not options.as_json:
            say("this run is done already")
        return announce(folder, as_json=options.as_json)
    if not status.resumable:
        raise UserError(f"{folder.path.name} is {status.state}", "interp-tui attach shows it; interp-tui stop ends it")
    if options.dry_run:
        return dry_run(manifest.load(folder.manifest_path), folder.path, as_json=options.as_json)
    return start(folder, options)


def dry_run(request: Manifest, path: Path, *, as_json: bool) -> int:
    """Print what the run would take and, on the last line, the folder it would make; create nothing."""
    from ..runs.model_source import with_model

    estimate = with_model(expected_time.expected(request, path.parent, sweep_supervisor.estimate), request)
    free = shutil.disk_usage(_existing(path)).free
    planned = preflight.plan(request) if request.compute.executor == "slurm" else None
    preflight.check(request)
    if as_json:
        event(
            "estimate",
            seconds=estimate.seconds,
            seconds_low=estimate.low,
            seconds_high=estimate.high,
            memory_bytes=estimate.memory_bytes,
            disk_bytes=estimate.disk_bytes,
            disk_free_bytes=free,
            notes=list(estimate.notes),
            path=str(path),
            digest=request.digest(),
            **({"cluster": planned.as_json()} if planned else {}),
        )
        return 0
    what = f"a sweep of {request.kind}" if request.sweep else request.kind
    say(f"{what} {request.name}: the manifest is valid; nothing has been created, and the last line is where the run would be")
    out(f"  time    {host.duration_range(estimate.seconds, estimate.low, estimate.high)}")
    out(f"  memory  {host.size(estimate.memory_bytes)}")
    for text in planned.lines() if planned else ():
        out(f"  slurm   {text}")
    out(f"  disk    {host.size(estimate.disk_bytes)} of {host.size(free)} free")
    for text in estimate.notes:
        out(f"  note    {text}")
    if estimate.disk_bytes is not None and estimate.disk_bytes > free:
        warn(f"the disk at {_existing(path)} is too small")
    out_path(path)
    return 0


def _existing(path: Path) -> Path:
    """The nearest folder above the path that is there."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())


def _reusable(request: Manifest, options: Options) -> RunFolder | None:
    from .reuse import find

    return find(request, runs_root(options.runs))


def digests_of(folder: RunFolder, request: Manifest) -> set[str]:
    """The digests a run answers to: of its manifest as it stands, and of the request it was made from."""
    from .reuse import recorded

    asked = recorded(folder).get("request_sha256")
    return {request.digest(), *([asked] if isinstance(asked, str) else [])}
