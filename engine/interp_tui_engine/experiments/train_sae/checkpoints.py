"""What a training run keeps on disk to go on from, and how seldom its largest part is written. Imports torch.

The window of a stream (hundreds of MiB) follows from an older window and the model, so that the file with weights and optimiser names it
by its number only, and windows are written on a thread, in files of their own, as seldom as their size asks for. A resumed run reads the
newest window that is not newer than its weights, and makes the refills since.
"""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, final

from torch import Tensor

from ...dictionaries.learner import Learner
from ...samplers.chains.checkpoint import interval, load, save
from ...samplers.chains.microbatch import Microbatch
from ...samplers.chains.saver import Saver, on_host
from .source import ActivationSource

LEAST = 15.0
"""Seconds between checkpoints of a small run, where the manifest leaves them to us."""


@final
class Checkpoints:
    """One run's checkpoint files. A context manager: leaving it waits for what is being written."""

    def __init__(self, file: Path, source: ActivationSource, learners: list[Learner], pieces: Microbatch) -> None:
        self._file, self._source, self._learners, self._pieces = file, source, learners, pieces
        self._saver = Saver()
        self._stack = ExitStack()
        self._window_written = -1e9

    def __enter__(self) -> Checkpoints:
        self._stack.enter_context(self._saver)
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    @property
    def every(self) -> float:
        """Seconds between checkpoints: state that takes long to write is written less often."""
        return interval(sum(12 * tensor.numel() for learner in self._learners for tensor in learner.weights.named().values()), LEAST)

    def save(self, step: int, spent: float, history: list[list[list[float]]], *, stream: dict[str, Any] | None = None) -> None:
        """Keep where training stands; `stream`: where its stream stood, if that has moved on since."""
        self._save_window()
        stream = stream or self._source.stream.state()
        progress: dict[str, Any] = {"step": step, "spent": spent, "history": history, "parts": self._pieces.count}
        state = progress | {"stream": stream, "learners": [learner.state() for learner in self._learners]}
        refills = int(stream.get("refills", 0))
        if self._source.device.type == "cpu":  # the tensors are those in use, which the next step changes
            self._write(state, refills)
        else:
            self._saver.do(partial(self._write, on_host(state), refills))

    def restore(self) -> tuple[int, float, list[list[list[float]]]]:
        """Go on from what was kept: steps done, seconds spent on them, and the curves."""
        state = load(self._file)
        if state is None:
            return 0, 0.0, [[] for _ in self._learners]
        stream = self._placed(state["stream"])
        newest = self._newest_window(int(stream.get("refills", 0)))
        held = None if newest is None else load(newest)
        self._source.stream.load_state(stream, None if held is None else self._placed(held))
        for learner, kept in zip(self._learners, state["learners"], strict=True):
            learner.load_state(kept)
        self._pieces.count = int(state.get("parts", 1))  # sums in other parts would round otherwise
        return int(state["step"]), float(state["spent"]), state["history"]

    def _save_window(self) -> None:
        window = self._source.stream.window()
        if window is None or self._window_file(int(window["refills"])).exists():
            return
        size = sum(value.nbytes for value in window.values() if isinstance(value, Tensor))
        if time.monotonic() - self._window_written >= interval(size, LEAST):
            self._window_written = time.monotonic()
            self._saver.do(
                partial(save, self._window_file(int(window["refills"])), on_host(window))
            )  # a window is made anew, never changed

    def _write(self, state: dict[str, Any], refills: int) -> None:
        save(self._file, state)
        newest = self._newest_window(refills)
        for older in self._file.parent.glob(self._window_file(0).name.replace("00000000", "*")):
            if newest is not None and older.name < newest.name:
                older.unlink(missing_ok=True)

    def _window_file(self, refills: int) -> Path:
        return self._file.with_name(f"window-{refills:08d}.pt")

    def _newest_window(self, refills: int) -> Path | None:
        """The newest window that was written whole and is no newer than so many refills."""
        known = (path for path in self._file.parent.glob("window-*.pt") if re.fullmatch(r"window-\d{8}\.pt", path.name))
        return max((path for path in known if path.name <= self._window_file(refills).name), default=None)

    def _placed(self, state: dict[str, Any]) -> dict[str, Any]:
        return {key: value.to(self._source.device) if isinstance(value, Tensor) else value for key, value in state.items()}
