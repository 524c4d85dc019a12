"""What kinds that compare a clean with a corrupt prompt share: parameters, checks, texts to token ids. Torch-free at import."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ...catalog import Estimate
from ...errors import Problem, UserError
from ...manifest import Manifest
from ...runtime import cost, inputs
from ...sites.site import NAMES, Site, parse, site_name
from ...specs import FILE, Table

if TYPE_CHECKING:
    from ...data.prompts import Pair
    from ...models.loaded import LoadedModel
    from ...sites.site_map import SiteMap

SHOWN = 10
"""Pairs that a sentence names, at most."""
FACTS = {
    "clean": "The capital of France is",
    "corrupt": "The capital of Japan is",
    "answer": " Paris",
    "counterfactual": " Tokyo",
}


class PairParams(Table):
    """Two prompts that differ where the answer is decided, or a file of such pairs."""

    clean: str | None = Field(None, description="the prompt whose behaviour is to be explained")
    corrupt: str | None = Field(None, description="as many tokens, with another answer")
    answer: str | list[str] | None = Field(None, description="what follows the clean prompt; a list counts as one answer")
    counterfactual: str | list[str] | None = Field(None, description="what follows the corrupt prompt")
    pairs: str | None = Field(
        None, json_schema_extra=FILE, description="a .jsonl of {clean, corrupt, answer, counterfactual}, in place of the four above"
    )
    metric: Literal["logit_diff", "prob", "logprob", "kl", "rank"] = Field("logit_diff", description="what the patch is to restore")
    long_answers: Literal["error", "first", "sequence"] = Field(
        "error", description="for answers of several tokens: refuse, look at the first, or score them all (prob, logprob)"
    )


def check_pairs(manifest: Manifest, *, need_corrupt: bool = True) -> list[Problem]:
    """What pydantic cannot see: prompts missing, or given twice; a metric that needs what is not given; wrong pairs."""
    params: PairParams = manifest.params
    problems = []
    given = [name for name in ("clean", "corrupt", "answer") if getattr(params, name)]
    needed = ["clean", "corrupt", "answer"] if need_corrupt else ["clean", "answer"]
    if params.pairs and given:
        problems.append(Problem(f"params.{given[0]}", "is given beside pairs; give one or the other", value=getattr(params, given[0])))
    if not params.pairs:
        for name in needed:
            if name not in given:
                problems.append(Problem(f"params.{name}", "is missing; or give pairs, a .jsonl of them"))
        if params.metric == "logit_diff" and not params.counterfactual and params.clean:
            problems.append(Problem("params.counterfactual", "is missing; metric = 'logit_diff' needs it, 'prob' does not"))
    if params.long_answers == "sequence" and params.metric not in ("prob", "logprob"):
        message = f"{params.metric!r} cannot score a sequence; 'prob' and 'logprob' can"
        problems.append(Problem("params.metric", message, value=params.metric, suggestion="logprob"))
    return problems or _wrong_pairs(params, noise=not need_corrupt)


def _wrong_pairs(params: PairParams, *, noise: bool) -> list[Problem]:
    """What is wrong with the pairs as they are written, by pair."""
    from ...data.prompts import read_pairs_file

    how: dict[str, Any] = {"metric": params.metric, "subject": getattr(params, "subject", None), "noise": noise}
    if not params.pairs:
        return inputs.pair_problems("params.clean", records_of(params)[0], **how)
    records, problems = inputs.read("params.pairs", params.pairs, read_pairs_file)
    for index, record in enumerate(records or ()):
        problems += [
            Problem(problem.path, f"pair {index + 1}: {problem.message}") for problem in inputs.pair_problems("params.pairs", record, **how)
        ]
        if len(problems) >= inputs.MOST_PROBLEMS:
            break
    return problems


def check_sites(manifest: Manifest, key: str, allowed: Sequence[str]) -> list[Problem]:
    """Sites that are none, with the nearest that is one."""
    problems = []
    for index, text in enumerate(getattr(manifest.params, key)):
        path = f"params.{key}.{index}"
        try:
            name = site_name(text)
        except UserError as error:
            problems.append(Problem(path, f"{text!r} is no site; one of {', '.join(allowed)}", value=text, suggestion=_meant(error)))
            continue
        if name not in allowed:
            problems.append(Problem(path, f"{text!r} cannot be used here; one of {', '.join(allowed)}", value=text))
    return problems


def _meant(error: UserError) -> str | None:
    _, separator, rest = error.hint.partition("did you mean '")
    return rest.partition("'")[0] if separator else None


def estimate_parts(manifest: Manifest) -> Estimate:
    """Of kinds that patch every head and MLP once in every pair: a forward pass for each, several for what stands out."""
    size = cost.parameters_of(manifest)
    if size is None:
        return Estimate(None, None, 1 << 20, ("the model's size is not known before it is loaded",))
    nodes = max(36, round((size.parameters / 1e5) ** 0.8))
    pairs, tokens = pairs_given(manifest.params)
    notes = (*size.notes, f"{nodes:,} parts in {pairs:,} {'pair' if pairs == 1 else 'pairs'} of prompts")
    return Estimate(cost.seconds(6 * size.parameters * nodes * tokens * pairs), cost.BASE_BYTES + 6 * size.parameters, 1 << 20, notes)


def pairs_given(params: PairParams) -> tuple[int, int]:
    """How many pairs there are, and about how many tokens each has."""
    if not params.pairs:
        return 1, len(params.clean or "") // 4 + 1
    try:
        lines = [line for line in Path(params.pairs).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return 1, 10
    return max(1, len(lines)), sum(map(len, lines)) // max(1, 9 * len(lines)) + 1


def site_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Canonical names, each once, in the order given."""
    return tuple(dict.fromkeys(map(site_name, texts)))


def sites_of(texts: Sequence[str], layers: int) -> list[Site]:
    """The sites that texts such as 'L3.z' or 'attn_out' (every layer) mean."""
    sites_found: list[Site] = []
    for text in texts:
        site = parse(text)
        every = site.layer is None and site.name != "embed"
        sites_found += [Site(site.name, layer, site.head, site.position) for layer in range(layers)] if every else [site]
    return list(dict.fromkeys(sites_found))


PATCHABLE = tuple(name for name in NAMES if name != "embed")


def records_of(params: PairParams) -> list[dict[str, Any]]:
    """The pairs as they were written."""
    from ...data.prompts import read_pairs_file

    if params.pairs:
        return read_pairs_file(Path(params.pairs))
    return [{name: getattr(params, name) for name in ("clean", "corrupt", "answer", "counterfactual")}]


def without_repeats(records: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Each pair once, and what to say of those left out, if any: an interval over pairs takes every pair for evidence of its own."""
    first: dict[str, int] = {}
    repeats = [i for i, record in enumerate(records) if first.setdefault(json.dumps(record, sort_keys=True), i) != i]
    if not repeats:
        return list(records), []
    named = ", ".join(str(index + 1) for index in repeats[:SHOWN]) + (f" and {len(repeats) - SHOWN} more" if len(repeats) > SHOWN else "")
    which = f"pair {named} repeats an earlier one and is" if len(repeats) == 1 else f"pairs {named} repeat earlier ones and are"
    return [records[i] for i in first.values()], [f"{which} left out: {len(first)} of {len(records)} pairs stay, counted from 1"]


def read_pairs(
    params: PairParams, records: Sequence[dict[str, Any]], model: LoadedModel, site_map: SiteMap, *, as_whole: bool
) -> list[Pair]:
    """The pairs as token ids; `as_whole` where long answers can be scored. Raises UserError naming the pair and what is wrong with it."""
    from ...data.prompts import need_tokenizer, read_pair

    tokenizer = need_tokenizer(model.tokenizer, model.source)
    many = len(records) > 1
    return [
        read_pair(
            tokenizer,
            record,
            context=site_map.context,
            name=f"pair {index + 1}: " if many else "",
            when_long=params.long_answers,
            need_counterfactual=params.metric == "logit_diff",
            as_whole=as_whole,
        )
        for index, record in enumerate(records)
    ]
