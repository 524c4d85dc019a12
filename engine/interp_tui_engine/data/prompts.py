"""Prompts, their answers, and pairs of them, from text to token ids; with what is wrong said in tokens, where they matter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interp_tui_engine import untrusted
from interp_tui_engine.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WhenLong = Literal["error", "first", "sequence"]
MAX_PAIRS = 100_000


@dataclass(frozen=True)
class Pair:
    """A clean prompt, a corrupt one of as many tokens, and what should follow the clean and the corrupt one: token ids all.

    `answer` and `counterfactual` are sets of single tokens, unless `sequence`: then `answer` is one continuation, scored as a whole.
    """

    clean: tuple[int, ...]
    corrupt: tuple[int, ...]
    answer: tuple[int, ...]
    counterfactual: tuple[int, ...] = ()
    sequence: bool = False

    @property
    def changed(self) -> tuple[int, ...]:
        """The positions at which the prompts differ."""
        return tuple(i for i, (a, b) in enumerate(zip(self.clean, self.corrupt, strict=True)) if a != b)


def need_tokenizer(tokenizer: PreTrainedTokenizerBase | None, source: str) -> PreTrainedTokenizerBase:
    """The tokenizer, or a UserError that says which model lacks one."""
    if tokenizer is None:
        raise UserError(f"{source} has no tokenizer, so prompts cannot be read", "put its tokenizer files beside the weights")
    return tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, text: str, *, context: int | None, name: str) -> list[int]:
    """Token ids of a prompt. Raises UserError for one that is empty or longer than the model's context."""
    ids = list(tokenizer(_whole(text, name)).input_ids)
    if not ids:
        raise UserError(f"{name} is empty", "give a text of at least one token")
    if context is not None and len(ids) > context:
        raise UserError(
            f"{name} is {len(ids):,} tokens, but the model reads at most {context:,}", f"shorten it by {len(ids) - context:,} tokens"
        )
    return ids


def _whole(text: str, name: str) -> str:
    """The text itself. Raises UserError for one with half a character, which JSON can hold but no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{name} holds half a character at place {error.start}: {text!r}", "write the character as a whole") from None
    return text


def texts_of(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Each token as text, spaces as they are."""
    return [str(tokenizer.decode([token])) for token in ids]


def answer_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    answer: str | Sequence[str],
    *,
    name: str,
    when_long: WhenLong = "error",
    as_whole: bool = True,
) -> tuple[int, ...]:
    """The token that follows the prompt for an answer, one for each of a set; all tokens of one answer under 'sequence'.

    An answer without a leading space gets one where the prompt ends in a word or a sentence mark. Raises UserError for an answer of several
    tokens, unless told to take the first or the whole; `as_whole` says whether that may be offered.
    """
    answers = [answer] if isinstance(answer, str) else list(answer)
    if not answers or not all(answers):
        raise UserError(f"{name} is empty", "give the text that should follow the prompt")
    for text in answers:
        unknown = tokenizer.unk_token_id
        if unknown in _following(tokenizer, prompt, _whole(text, name)) and str(tokenizer.unk_token) not in text:
            raise UserError(f"{name} {text!r} cannot be written in the model's vocabulary", "give a text that the model can write")
    if when_long == "sequence":
        if len(answers) > 1:
            raise UserError(f"{name} is a set of {len(answers)}, and only one answer can be scored as a sequence", "give one answer")
        return tuple(_following(tokenizer, prompt, answers[0]))
    first_ids: list[int] = []
    for text in answers:
        ids = _following(tokenizer, prompt, text)
        if len(ids) > 1 and when_long == "error":
            pieces = " · ".join(map(repr, texts_of(tokenizer, ids)))
            first = texts_of(tokenizer, ids[:1])[0]
            raise UserError(
                f"{name} {text!r} is {len(ids)} tokens: {pieces}",
                f"set long_answers = 'first' to look at {first!r} alone"
                + (f", or 'sequence' (with metric = 'logprob' or 'prob') to score all {len(ids)} together" if as_whole else ""),
            )
        first_ids.append(ids[0])
    return tuple(dict.fromkeys(first_ids))


def _following(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> list[int]:
    if not answer[0].isspace() and (prompt[-1:].isalnum() or prompt[-1:] in set(",;:.!?")):
        answer = f" {answer}"
    before = list(tokenizer(prompt).input_ids)
    together = list(tokenizer(prompt + answer).input_ids)
    if together[: len(before)] == before and len(together) > len(before):
        return together[len(before) :]
    # the last token of the prompt merged with the answer: the model is asked after the prompt as it stands, so take the answer by itself
    return list(tokenizer(answer, add_special_tokens=False).input_ids)


def read_pair(
    tokenizer: PreTrainedTokenizerBase,
    record: dict[str, Any],
    *,
    context: int | None,
    name: str,
    when_long: WhenLong = "error",
    need_counterfactual: bool = True,
    as_whole: bool = True,
) -> Pair:
    """A pair from its texts; `name` comes before the names of its parts in errors.

    Raises UserError for prompts that do not align (showing both tokenisations), are the same, or lack an answer.
    """
    clean, corrupt = str(record["clean"]), str(record["corrupt"])
    left, right = aligned(tokenizer, clean, corrupt, context=context, name=name)
    answer = answer_ids(tokenizer, clean, record["answer"], name=f"{name}answer", when_long=when_long, as_whole=as_whole)
    wrong: tuple[int, ...] = ()
    if record.get("counterfactual"):
        name_of_wrong = f"{name}counterfactual"
        wrong = answer_ids(tokenizer, corrupt, record["counterfactual"], name=name_of_wrong, when_long=when_long, as_whole=as_whole)
    elif need_counterfactual:
        raise UserError(f"{name}counterfactual is missing", "give the answer to the corrupt prompt, or use metric = 'prob'")
    if set(answer) & set(wrong) and when_long != "sequence":
        same = texts_of(tokenizer, sorted(set(answer) & set(wrong)))[0]
        raise UserError(f"{name}answer and counterfactual share the token {same!r}", "their difference would be 0 whatever the model does")
    return Pair(left, right, answer, wrong, when_long == "sequence")


def aligned(
    tokenizer: PreTrainedTokenizerBase, clean: str, corrupt: str, *, context: int | None, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The token ids of two prompts. Raises UserError where they are not as many, showing both tokenisations, or the same."""
    left = encode(tokenizer, clean, context=context, name=f"{name}clean")
    right = encode(tokenizer, corrupt, context=context, name=f"{name}corrupt")
    if len(left) != len(right):
        raise _misaligned(tokenizer, left, right, name)
    if left == right:
        raise UserError(f"{name}clean and corrupt are the same {len(left)} tokens", "change what the answer depends on in one of them")
    return tuple(left), tuple(right)


def _misaligned(tokenizer: PreTrainedTokenizerBase, left: list[int], right: list[int], name: str) -> UserError:
    texts = [texts_of(tokenizer, ids) for ids in (left, right)]
    first = next(i for i, (a, b) in enumerate(zip_longest(*texts)) if a != b)
    shown = ["|".join(row) for row in texts]
    there = [repr(row[first]) if first < len(row) else "its end" for row in texts]
    return UserError(
        f"{name}clean is {len(left)} tokens and corrupt {len(right)}; they must be as many, since positions are patched one for one",
        f"clean    {shown[0]}\n  corrupt  {shown[1]}\n  they first differ at token {first}: {there[0]} against {there[1]}; "
        "choose words of as many tokens",
    )


def json_lines(path: Path, holds: str) -> Iterator[tuple[int, Any]]:
    """Every value of a JSON Lines file, with the number of its line. Raises UserError; `holds` says there what belongs into it."""
    number = 0
    try:
        for number, line in enumerate(untrusted.decoded_lines(path), 1):  # at \n alone: other ends of line may stand inside a JSON text
            if line.strip():
                try:
                    value = untrusted.parse_json(line)
                except untrusted.Damaged as error:
                    raise UserError(f"{path}, line {number}: {error}".replace("line 1, ", ""), f"JSON Lines, {holds}") from None
                yield number, value
    except FileNotFoundError:
        raise UserError(f"no such file: {path}", f"JSON Lines, {holds}") from None
    except untrusted.Damaged as error:
        hint = "save it as UTF-8" if "UTF-8" in str(error) else f"JSON Lines, {holds}"
        where = f", line {number + 1}" if number else ""
        raise UserError(f"cannot read {path}: it is {error}{where}".replace("it is no UTF-8", "it is not UTF-8"), hint) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", f"JSON Lines, {holds}") from None


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def read_pairs_file(path: Path) -> list[dict[str, Any]]:
    """The records of a pairs file: JSON Lines of {clean, corrupt, answer, counterfactual}. Raises UserError naming file and line."""
    records: list[dict[str, Any]] = []
    for number, record in json_lines(path, "one {clean, corrupt, answer, counterfactual} a line"):
        if not isinstance(record, dict):
            line = json.dumps(record, ensure_ascii=False)
            raise UserError(f"{path}, line {number}: {line[:60]!r} is no object", "write {clean, corrupt, answer, counterfactual}")
        missing = [key for key in ("clean", "corrupt", "answer") if not record.get(key)]
        if missing:
            raise UserError(
                f"{path}, line {number}: {', '.join(missing)} is missing", f"it holds {', '.join(map(str, record)) or 'nothing'}"
            )
        for key in ("clean", "corrupt"):
            if not isinstance(record[key], str):
                raise UserError(f"{path}, line {number}: {key} is {record[key]!r}", "it must be a text")
        for key in ("answer", "counterfactual"):
            if record.get(key) and not _is_answer(record[key]):
                raise UserError(f"{path}, line {number}: {key} is {record[key]!r}", "it must be a text, or a list of texts")
        records.append(record)
    if not records:
        raise UserError(f"pairs file {path} holds no pairs", "JSON Lines, one {clean, corrupt, answer, counterfactual} a line")
    if len(records) > MAX_PAIRS:
        raise UserError(f"pairs file {path} holds {len(records):,} pairs, more than {MAX_PAIRS:,}", "split it")
    return records
