"""A short look at a model over one text, in a process of its own: what each layer would say next, and where heads look. Nothing is kept.

This program imports no torch. Call `look` from a thread; `stop` ends a look that nobody waits for any more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from interp_tui_engine.errors import RunFailed, UserError
from interp_tui_engine.payload import Payload, read

from ..text.numbers import number
from ..text.sanitise import clean

SECONDS = 300
"""A model on disk is read in seconds; a large one takes as long as its bytes do."""
COMMAND = (sys.executable, "-P", "-m", "interp_tui_engine.lenses.token_look")


class LayerSays(Payload):
    """What one layer's stream would say next."""

    layer: int | None = None
    top: tuple[str, ...] = ()
    top_prob: tuple[float | None, ...] = ()


class HeadLooks(Payload):
    """Where one head looks hardest from the text's last token."""

    head: str = ""
    token: str = ""
    weight: float | None = None


class ModelSays(Payload):
    """What the process answers."""

    layers: tuple[LayerSays, ...] = ()
    heads: tuple[HeadLooks, ...] = ()


@dataclass
class ModelLook:
    """One look; made before it is begun, so that it can be stopped from another thread."""

    source: str
    revision: str
    text: str
    process: subprocess.Popen[str] | None = None
    stopped: bool = False

    def look(self) -> tuple[str, ...]:
        """The lines to show. Raises UserError for a model that cannot be used, RunFailed where the process fails."""
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        if self.stopped:
            self.stop()
        asked = json.dumps({"source": self.source, "revision": self.revision, "text": self.text})
        try:
            said, errors = self.process.communicate(asked, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
            raise RunFailed(f"{self.source} was not read within {SECONDS} s") from None
        return lines_of(said, errors, self.process.returncode, self.source)

    def stop(self) -> None:
        """End it, if it has begun; what it says no longer matters."""
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def lines_of(said: str, errors: str, code: int, source: str) -> tuple[str, ...]:
    """The answer of the process in words. Raises UserError with what it could not use, RunFailed for anything else."""
    try:
        answer = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        why = errors.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise RunFailed(f"{clean(source, limit=60)} could not be looked at", clean(why[0], limit=200)) from None
    if isinstance(answer, dict) and "error" in answer:
        raise UserError(str(answer["error"]), str(answer.get("hint") or ""))
    model = read(ModelSays, answer)
    lines = []
    for layer in model.layers:
        words = [f"{_quoted(word)} {number(share, 2)}" for word, share in zip(layer.top, layer.top_prob, strict=False)]
        lines.append(f"L{layer.layer}  {', '.join(words)}")
    if model.heads:
        lines.append("it looks back most at:")
    lines += [f"{clean(one.head, limit=12)} at {_quoted(one.token)} with {number(one.weight, 2)}" for one in model.heads]
    return tuple(lines)


def _quoted(word: str) -> str:
    return f"‘{clean(word, limit=20).strip() or '␣'}’"
