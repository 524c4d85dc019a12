"""Pairs of prompts: unrelated answers called clear, intervals of shares, and the largest of many effects where it was not chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import torch

from interp_tui_engine.circuits.ratio import largest, share_of
from interp_tui_engine.data.facts import RELATIONS, Relation
from interp_tui_engine.models.load import load_model
from interp_tui_engine.patching.reach import Ends, reaches_of
from interp_tui_engine.sites.answers import Answer
from interp_tui_engine.sites.branched_run import record
from interp_tui_engine.sites.dissect import site_map_of

from .outcome import Outcome


@cache
def model() -> tuple:  # type: ignore[type-arg]
    loaded = load_model("builtin:tiny", device="cpu")
    return loaded, site_map_of(loaded)


@cache
def logits_after(prompt: str) -> torch.Tensor:
    """Next-token logits of builtin:tiny."""
    loaded, site_map = model()
    ids = loaded.tokenizer(prompt).input_ids
    return record(site_map, torch.tensor([ids])).logits([len(ids) - 1])[0].float()


def token(word: str) -> int:
    """The one token of a word of the facts."""
    (found,) = model()[0].tokenizer(f" {word}", add_special_tokens=False).input_ids
    return int(found)


def drawn_pairs(relation: Relation, count: int, draw: np.random.Generator) -> list[tuple[str, str]]:
    """Pairs of subjects whose answers differ."""
    subjects = list(relation.answers)
    found: list[tuple[str, str]] = []
    while len(found) < count:
        one, other = (subjects[i] for i in draw.choice(len(subjects), 2, replace=False))
        if relation.answers[one] != relation.answers[other]:
            found.append((one, other))
    return found


def clear(relation: Relation, pairs: Sequence[tuple[str, str]], answers: Sequence[Answer], metric: str, seed: int) -> bool:
    """Whether the pairs of subjects are said to ask for these answers."""
    prompts = [[relation.prompt.format(s=subject) for subject in pair] for pair in pairs]
    ends = [Ends(logits_after(clean), logits_after(corrupt)[None]) for clean, corrupt in prompts]
    return reaches_of(metric, answers, ends, seed).clear is True


def called(kind: str, metric: str, count: int, trials: int) -> int:
    """How often answers of a kind are called clear: of the vocabulary at random, of another relation, or the right ones."""
    hits = 0
    for seed in range(trials):
        draw = np.random.default_rng([seed, count])
        relation, other = (RELATIONS[i] for i in draw.choice(len(RELATIONS), 2, replace=False))
        pairs = drawn_pairs(relation, count, draw)
        if kind == "right":
            tokens = [[token(relation.answers[subject]) for subject in pair] for pair in pairs]
        elif kind == "other relation":
            words = list(dict.fromkeys(other.answers.values()))
            tokens = [[token(words[i]) for i in draw.choice(len(words), 2, replace=False)] for _ in pairs]
        else:
            tokens = [draw.choice(model()[0].vocab_size, 2, replace=False).tolist() for _ in pairs]
        hits += clear(relation, pairs, [Answer((right,), (wrong,)) for right, wrong in tokens], metric, seed)
    return hits


def covered(count: int, trials: int) -> int:
    """How often the interval of a share over pairs holds the share of all pairs, gains being about 0.6 of reaches of 1 to 3."""
    hits = 0
    for seed in range(trials):
        draw = np.random.default_rng([seed, count])
        reach = draw.uniform(1, 3, count)
        share = share_of(0.6 * reach + draw.normal(0, 0.4, count), reach)
        assert share.low is not None and share.high is not None
        hits += share.low <= 0.6 <= share.high
    return hits


def covered_sharing(pairs: int, prompts: int, peculiar: float, trials: int) -> tuple[int, int]:
    """The same of pairs of few prompts, each with something of its own: by an interval that knows of it, and by one that does not."""
    hits, apart = 0, 0
    for seed in range(trials):
        draw = np.random.default_rng([seed, pairs, prompts])
        both = np.array([draw.choice(prompts, 2, replace=False) for _ in range(pairs)])
        reach = draw.uniform(1, 3, pairs)
        gains = 0.6 * reach + draw.normal(0, peculiar, prompts)[both].sum(1) + draw.normal(0, 0.3, pairs)
        for share, counts in ((share_of(gains, reach, both.tolist()), True), (share_of(gains, reach), False)):
            assert share.low is not None and share.high is not None
            held = share.low <= 0.6 <= share.high
            hits, apart = hits + (held and counts), apart + (held and not counts)
    return hits, apart


def chosen(true: np.ndarray, count: int, trials: int) -> tuple[int, int, int]:  # type: ignore[type-arg]
    """Of many effects: intervals of the largest that hold what is true of the chosen ones; intervals clear of 0; naive ones clear of 0."""
    held, away, naive = 0, 0, 0
    for seed in range(trials):
        draw = np.random.default_rng([seed, count, 1])
        gains = true + draw.normal(0, 0.3, (count, len(true)))
        found = largest(gains, np.ones(count), seed, signed=True)
        assert found is not None and found.share.low is not None and found.share.high is not None
        held += found.share.low <= true[list(found.cells)].mean() <= found.share.high
        away += found.share.low > 0
        own = share_of(gains[:, gains.mean(0).argmax()], np.ones(count))
        naive += own.low is not None and own.low > 0
    return held, away, naive


def outcomes(quick: bool) -> Iterator[Outcome]:
    trials = 120 if quick else 2000
    for metric in ("logit_diff", "logprob", "prob", "rank"):
        for count in (1, 4):
            case = f"{metric}, {count} pair{'s' if count > 1 else ''}: answers drawn from the vocabulary called clear"
            yield Outcome("pairs", "false positives", case, called("vocabulary", metric, count, trials), trials, 0.01)
    case = "logit_diff, 1 pair: answers of another relation called clear"
    note = "such words move more than most of the vocabulary, which is what they are compared with"
    yield Outcome("pairs", "false positives", case, called("other relation", "logit_diff", 1, trials), trials, None, note)
    for count in (1, 4):
        case = f"logit_diff, {count} pair{'s' if count > 1 else ''}: right answers called clear"
        yield Outcome("pairs", "power", case, called("right", "logit_diff", count, trials // 2), trials // 2, None, "all relations")
    trials = 500 if quick else 5000
    for count in (3, 8, 40):
        yield Outcome("pairs", "coverage", f"share over {count} pairs", covered(count, trials), trials, 0.95)
    for count, prompts, peculiar in ((8, 12, 0.3), (24, 12, 0.3), (100, 24, 0.2), (24, 12, 0.0)):
        hits, apart = covered_sharing(count, prompts, peculiar, trials)
        case = f"share over {count} pairs of {prompts} prompts" + (f", each {peculiar} off" if peculiar else "")
        yield Outcome("pairs", "coverage", case, hits, trials, 0.95, f"{apart / trials:.3f} if pairs counted as independent")
    for count in (4, 12):
        null, one = np.zeros(36), np.eye(36)[0] * 0.6
        held, away, naive = chosen(null, count, trials)
        note = f"{naive / trials:.2f} where it is measured on the pairs that chose it"
        yield Outcome("pairs", "coverage", f"largest of 36 effects, none real, {count} pairs", held, trials, 0.95)
        yield Outcome("pairs", "false positives", f"largest of 36 effects, none real, {count} pairs: clear of 0", away, trials, 0.025, note)
        held, away, _ = chosen(one, count, trials)
        yield Outcome("pairs", "coverage", f"largest of 36 effects, one of 2 sd, {count} pairs", held, trials, 0.95)
        yield Outcome("pairs", "power", f"largest of 36 effects, one of 2 sd, {count} pairs: clear of 0", away, trials, None)
