"""Inputs that need no model: what is wrong with a file or a text is found when a manifest is checked, before a model is loaded or a
folder made. Torch-free.

Readers raise UserError; a large file is left to the run, since a form checks its manifest at every key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import Problem, UserError
from ..features import ids
from ..features.answer_sets import UNITS_NAME
from ..features.prompts import Prompt
from ..specs import DataSpec
from . import input_files

MOST_BYTES = 32 << 20
MOST_PROBLEMS = 5
"""Of one file: the first are enough to see what is wrong."""

Read = Callable[..., Any]
"""Of a path, and of what else is given with it."""


def read(key: str, given: str, reader: Read, *more: Hashable, most_bytes: int = MOST_BYTES) -> tuple[Any, list[Problem]]:
    """What a file holds, or what is wrong with it; neither for one that is not there (yet), or too large to be read twice."""
    path = Path(given)
    try:
        about = path.stat()
    except (OSError, ValueError):  # the artifact of a step that has not run; a file that is missing is found by all kinds alike
        return None, []
    if path.is_file() and about.st_size > most_bytes:
        return None, []
    value, error = _outcome(reader, path, about.st_mtime_ns, about.st_size, more)
    return value, [] if error is None else [problem(key, error, given)]


def problem(key: str, error: UserError, value: object) -> Problem:
    """An error as what is wrong with a key."""
    return Problem(key, "; ".join(filter(None, (error.what, error.hint.replace("\n", " ")))), value=value)


@lru_cache(maxsize=16)
def _outcome(reader: Read, path: Path, changed: int, size: int, more: tuple[Hashable, ...]) -> tuple[Any, UserError | None]:
    try:
        return reader(path, *more), None
    except UserError as error:
        return None, error


def data_problems(data: Mapping[str, DataSpec], names: Sequence[str]) -> list[Problem]:
    """Texts that are none, of the [data] tables that a run reads: built-in ones by name, files by their first text."""
    problems = []
    for name in dict.fromkeys(name for name in names if name in data):
        spec, key = data[name], f"data.{name}.source"
        if spec.source.startswith("builtin:"):
            try:
                input_files.builtin_text(spec)
            except UserError as error:
                problems.append(problem(key, error, spec.source))
        elif (path := input_files.text_file(spec.source)) is not None:
            problems += read(key, str(path), input_files.first_document, spec.text_column, most_bytes=sys.maxsize)[1]
    return problems


def pair_problems(key: str, record: dict[str, Any], *, metric: str, subject: str | None, noise: bool) -> list[Problem]:
    """What is wrong with one pair as it is written: an answer that is missing or no answer, prompts that are the same."""
    messages = []
    clean, corrupt = record.get("clean"), record.get("corrupt")
    if not noise and clean and clean == corrupt:
        messages.append("clean and corrupt are the same text; change what the answer depends on in one of them")
    if metric == "logit_diff" and not record.get("counterfactual"):
        messages.append("counterfactual is missing; give the answer to the corrupt prompt, or use metric = 'prob'")
    shared = set(_texts(record.get("answer"))) & set(_texts(record.get("counterfactual")))
    if shared:
        messages.append(f"answer and counterfactual share {min(shared)!r}: their difference would be 0 whatever the model does")
    if noise and clean and not ((own := record.get("subject") or subject) and str(own) in clean):
        messages.append(f"the subject {str(own or '')!r} does not stand in {clean!r}; give words of the clean prompt as subject")
    return [Problem(key, text) for text in messages]


def _texts(answer: Any) -> list[str]:
    """An answer's texts, as they follow a prompt: with a leading space or without is the same."""
    texts = [answer] if isinstance(answer, str) else answer if isinstance(answer, list) else []
    return [text.strip() or text for text in texts if isinstance(text, str)]


def used(prompts: Sequence[Prompt], most: int) -> tuple[list[Prompt], list[Prompt]]:
    """The positives, and negatives spread over the file, that a run of at most so many of each takes."""
    positives = [prompt for prompt in prompts if prompt.score > 0.5][:most]
    negatives = [prompt for prompt in prompts if prompt.score <= 0.5]
    return positives, negatives[:: max(1, len(negatives) // most)][:most]


def class_problems(prompts: Sequence[Prompt], least: tuple[int, int]) -> list[Problem]:
    """Too few prompts that meet the criterion, or that do not."""
    counts = tuple(sum((prompt.score > 0.5) is positive for prompt in prompts) for positive in (True, False))
    if counts[0] >= least[0] and counts[1] >= least[1]:
        return []
    message = f"holds {counts[0]} positive and {counts[1]} negative prompts; {least[0]} and {least[1]} are the least"
    return [Problem("params.prompts", message)]


def answer_problems(prompts: Sequence[Prompt], metric: str, shared: Sequence[str]) -> list[Problem]:
    """Prompts without the answers that a metric is of."""
    if metric == "kl":
        return []
    missing = [prompt for prompt in prompts if not (prompt.extra.get("answer") or shared)]
    if missing:
        named = f"prompt {missing[0].id!r:.40}" + (f" and {len(missing) - 1} others have" if len(missing) > 1 else " has")
        message = f'{named} no answer, which metric = {metric!r} is of; give each prompt an "answer", or params.answers for all of them'
        message += f' ("{UNITS_NAME}": the units that interp-lab scores)'
        return [Problem("params.prompts", message)]
    without = [prompt for prompt in prompts if metric == "logit_diff" and not prompt.extra.get("wrong")]
    if without:
        message = f"prompt {without[0].id!r:.40} has no wrong answers, which metric = 'logit_diff' needs"
        return [Problem("params.prompts", f'{message}; give each prompt "wrong" answers, or set metric = "logprob"')]
    return []


def shared_answer_problems(prompts: Sequence[Prompt], shared: Sequence[str]) -> list[Problem]:
    """No answer for all prompts to share: neither given, nor at any prompt that meets the criterion."""
    if shared or any(prompt.extra.get("answer") for prompt in prompts if prompt.score > 0.5):
        return []
    message = 'no positive prompt has an "answer" for all to share; give them answers, or params.answers for all of them'
    return [Problem("params.prompts", message)]


def target_problems(names: Sequence[str], features: str) -> list[Problem]:
    """Names that are no feature's, and features of another kind than those that are read."""
    kinds = {"hidden": "a hidden dimension", "sae": "a latent", "direction": "a direction"}
    problems = []
    for index, name in enumerate(names):
        parsed = ids.parse(name)
        if parsed is None:
            problems.append(Problem(f"params.targets.{index}", f"{name!r:.60} is no feature that can be changed; {ids.FORMS}", value=name))
        elif parsed.kind != features:
            message = f"{name!r:.60} is {kinds[parsed.kind]}, but features = {features!r}; set features = {parsed.kind!r}"
            problems.append(Problem(f"params.targets.{index}", message, value=name, suggestion=None))
    return problems
