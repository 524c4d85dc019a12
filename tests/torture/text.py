"""Hostile text in every field of a run folder: no command lets a raw control or bidi character out, none fails, no page holds a script.

Of each kind two sorts of folder: one made up, damaged in several ways, and a real run with hostile text in the place of each of its texts.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from interp_tui.export.live_figures import SCRIPT
from interp_tui_engine import manifest, supervisor, worker
from interp_tui_engine.runfolder import RunFolder, Status

from .check import Check
from .requests import kinds, small

HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J[/b]\u202e\x9b31m\u2028<script>alert(1)</script>=cmd|' /C calc'!A0\ud800"
COMMANDS = (
    ("list",), ("show", "RUN"), ("show", "RUN", "--json"), ("list", "--json"), ("compare", "RUN", "OTHER"), ("attach", "RUN", "--plain"),
    ("attach", "RUN", "--json"), ("export", "RUN", "--to", "csv"), ("export", "RUN", "--to", "json"), ("export", "RUN", "--to", "html"),
    ("validate", "MANIFEST"), ("resume", "RUN"), ("stop", "RUN"), ("show", HOSTILE.replace("\ud800", "")),
    ("report", "RUN", "OTHER"), ("label", "RUN"), ("gc",), ("queue", "list"), ("export", "RUN", "--to", "svg"),
    ("export", "RUN", "--to", "hub"),
)  # fmt: skip
SCREENS = tuple(("show", "RUN", "--screen", tab) for tab in ("live", "result", "manifest", "log"))
KEPT = frozenset({"type", "kind", "state", "series", "v", "name"})
"""Keys whose texts say what a record is: with others in their place it would be passed over."""
DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP]


def parts(quick: bool) -> Sequence[str]:
    """The kinds."""
    return kinds()[:: 9 if quick else 1]


def checks(name: str, quick: bool, seed: int) -> Iterator[Check]:
    """One Check for each damage and command."""
    del seed
    with tempfile.TemporaryDirectory() as place:
        for damage in ("text", "types", "deep", "torn"):
            root = Path(place) / f"{name}-{damage}"
            for run in ("20270101-000000-llc-one", "20270101-000001-llc-two"):
                _folder(root / run, name, damage)
            for command in COMMANDS[:: 3 if quick else 1]:
                yield _command(name, damage, command, root)
        if not quick and name != "pipeline":
            root = Path(place) / f"{name}-real"
            run = root / "20270101-000000-llc-one"
            real_run(name, run)
            make_hostile(run)
            shutil.copytree(run, root / "20270101-000001-llc-two")
            for command in (*COMMANDS, *SCREENS):
                yield _command(name, "real", command, root)


def real_run(name: str, path: Path) -> RunFolder:
    """A finished run of the kind: a worker's work done here, its events and its end recorded as a supervisor records them."""
    asked = manifest.resolve(small(name))
    folder = supervisor.prepare(asked, path)
    worker.work(folder, 0)
    ended = json.loads((folder.shard(0) / "exit.json").read_text())
    assert ended["state"] == "done", ended
    shutil.copyfile(folder.shard(0) / "events.jsonl", folder.events_path)
    folder.write_status(Status(state="done", kind=asked.kind, name=asked.name, model="tiny", headline=ended["headline"], updated=0.0))
    return folder


def make_hostile(path: Path) -> None:
    """Put hostile text before each text of a run's result, status, events and report."""
    for name in ("result.json", "status.json"):
        (path / name).write_text(json.dumps(_hostile(json.loads((path / name).read_text()))))
    events = path / "events.jsonl"
    events.write_text("".join(json.dumps(_hostile(json.loads(line))) + "\n" for line in events.read_text().splitlines()))
    report = path / "report.md"
    report.write_text(f"{HOSTILE[:-1]}\n{report.read_text()}")


def _hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {inner: _hostile(item, inner) for inner, item in value.items()}
    if isinstance(value, list):
        return [_hostile(item, key) for item in value]
    return f"{HOSTILE}{value}" if isinstance(value, str) and key not in KEPT else value


def raw(text: str) -> list[str]:
    """The characters in it that could steer a terminal."""
    return sorted({char for char in text if not (char in "\n\t" or (char.isprintable() and char not in "\x9b\u202e"))})


def _folder(path: Path, name: str, damage: str) -> None:
    result: Any = {"kind": name, HOSTILE: HOSTILE, "tokens": [HOSTILE], "rows": [{HOSTILE: HOSTILE}], "sentences": [HOSTILE], "x": 1.5}
    status: Any = {"state": "done", "kind": name, "name": HOSTILE, "model": HOSTILE, "device": HOSTILE, "headline": {HOSTILE: HOSTILE}}
    status |= {"progress": {"done": 1, "total": 2, "unit": HOSTILE}, "exit": {"reason": HOSTILE, "advice": HOSTILE}, "updated": 1.0}
    text = manifest.resolve(small(name)).to_toml(result={"headline": {"a": HOSTILE.replace("\ud800", "")}})
    if damage == "types":
        result = {key: [None, True, {}] for key in [*result, "llc_mean", "layers", "cards", "points"]}
        status = {key: [value] for key, value in status.items()}
    elif damage == "deep":
        result |= {"tokens": DEEP, "layers": DEEP, "cards": DEEP}
        status |= {"headline": {"a": DEEP}, "shards": DEEP}
    files = {"manifest.toml": text, "status.json": json.dumps(status), "result.json": json.dumps(result), "report.md": HOSTILE[:-1] * 3}
    if damage == "torn":
        files = {key: value[: len(value) // 2] for key, value in files.items()}
    path.parent.mkdir(exist_ok=True)
    folder = RunFolder.create(path, files)
    lines: list[dict[str, Any]] = [
        {"type": "run_started", "kind": name, "name": HOSTILE, "device": HOSTILE},
        {"type": "phase", "name": HOSTILE, "detail": HOSTILE},
        {"type": "warning", "message": HOSTILE},
        {"type": "chain_failed", "chain": 1, "step": 2, "cause": HOSTILE},
        {"type": "metrics", "series": HOSTILE, "step": 0, "values": {HOSTILE: HOSTILE, "loss": [1.0, None]}},
        {"type": HOSTILE, HOSTILE: HOSTILE},
        {"type": "run_finished", "state": "done", "seconds": 1.0, "headline": {HOSTILE: 1.0}, "reason": HOSTILE},
    ]
    with folder.events_path.open("w") as log:
        for seq, line in enumerate(lines, 1):
            log.write(json.dumps({"v": 1, "seq": seq, "t": 1.0, **line}) + "\n")
    log_path = folder.shard(0)
    log_path.mkdir(parents=True)
    (log_path / "engine.log").write_text(HOSTILE[:-1])


def _command(name: str, damage: str, command: tuple[str, ...], root: Path) -> Check:
    from interp_tui.__main__ import main

    first, second = sorted(root.iterdir())[:2]
    places = {"RUN": str(first), "OTHER": str(second), "MANIFEST": str(first / "manifest.toml")}
    words = [places.get(word, word) for word in command] + (["--runs", str(root)] if command[0] != "validate" else [])
    out, err = io.StringIO(), io.StringIO()
    what = f"{' '.join(command)[:40]!a} of {name}, {damage}"
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    except BaseException as error:
        return Check(what, False, f"raw {type(error).__name__}: {error}")
    said = out.getvalue() + err.getvalue()
    bad = raw(said)
    fault = "fault of interp-tui" in said or "Traceback" in said
    script = "html" in command and "<script" in out.getvalue().replace(f"<script>{SCRIPT}</script>", "")
    return Check(
        what,
        not bad and not fault and not script and code in (0, 1, 2),
        f"exit {code}{f', raw {bad!a}' if bad else ''}{', fault' if fault else ''}",
    )
