"""Objects of other libraries given to our calls directly, each in an environment that has its library and this package.

An object's calls give the library's own numbers, or are refused in a sentence; which, stands here. What the libraries gave is kept in
`recorded/objects.json`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .environments import ROOT, python_of
from .rows import Row, near

RECORDED = Path(__file__).with_name("recorded") / "objects.json"
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "transformer_lens_4": ("transformer-lens>=4", "peft>=0.19"),
    "transformer_lens_3": ("transformer-lens>=3.9,<4",),
    "nnsight": ("nnsight>=0.8",),
}
CALLS = ("sample", "llc", "create_param_masks", "sample of a part", "ActivationCache", "causal_trace")
LOOKED_INTO = ("ActivationCache", "causal_trace")
NEARNESS = {
    # nβ = 50 times a difference of losses of 13 nats in float32
    "llc": Row("llc", "", "", "same", "", rtol=0.0, atol=50 * 13 * 2**-22),
    "others": Row("others", "", "", "same", "", rtol=1e-4, atol=1e-5),
}


@dataclass(frozen=True)
class Given:
    """An object by its class's name, and where it can be made. refused: of calls that do not work on it, what the sentence says.

    as_plain: calls for which a plain transformers model of the same weights gives the same numbers.
    """

    name: str
    environment: str
    what: str
    refused: Mapping[str, str] = field(default_factory=dict)
    as_plain: tuple[str, ...] = CALLS
    note: str = ""


NO_PLACE = dict.fromkeys(LOOKED_INTO, "cannot be looked into: it has no configuration")
OBJECTS = (
    Given("TransformerBridge", "transformer_lens_4", "TransformerLens 4's `TransformerBridge`", note="its parameters under the model's own names"),
    Given("HookedTransformer", "transformer_lens_3", "TransformerLens 3's `HookedTransformer`", NO_PLACE,
          ("create_param_masks", "sample of a part"), "biases that it adds move with their part; `load_model(backend=\"transformer_lens\")` has sites"),
    Given("LanguageModel", "nnsight", "nnsight's `LanguageModel`", note="loaded: `dispatch=True` where it is made of a name"),
    Given("PeftModel", "transformer_lens_4", "PEFT's `PeftModel`", as_plain=("create_param_masks",),
          note="adapters belong to their layer and part, and to no head"),
    Given("compiled", "transformer_lens_4", "`torch.compile`'s module", note="sampling and hooks run uncompiled"),
    Given("LoadedModel", "transformer_lens_4", "`load_model(backend=\"transformer_lens\")`"),
    Given("LoadedModel of nnsight", "nnsight", "`load_model(backend=\"nnsight\")`"),
    Given("bare module", "transformer_lens_4", "an `nn.Module` that returns logits",
          {**NO_PLACE, **dict.fromkeys(("create_param_masks", "sample of a part"), "layout of a module without a configuration is not known")}, (),
          "masks by parameters' names, and `\"full\"`"),
)  # fmt: skip


def run(environment: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The numbers of an environment's objects, by object and call."""
    python = python_of(environment, ("--editable", str(ROOT)), *((package,) for package in ENVIRONMENTS[environment]))
    command = [python, "-m", "tests.parity.objects_work", environment]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, stdout=subprocess.PIPE, text=True, check=True)
    table: dict[str, dict[str, dict[str, Any]]] = json.loads(done.stdout.splitlines()[-1])
    return table


def verdict(given: Given, call: str, found: Mapping[str, Any]) -> str:
    """'same', 'refused' in the words expected, or 'failed'."""
    if (sentence := given.refused.get(call)) is not None:
        return "refused" if re.search(sentence, str(found.get("refused", ""))) and found.get("hint") else "failed"
    if "ours" not in found or "theirs" not in found:
        return "failed"
    return "same" if near(found["ours"], found["theirs"], NEARNESS.get(call, NEARNESS["others"])) else "failed"


def recorded() -> dict[str, dict[str, dict[str, Any]]]:
    """What each library gave, by object and call: numbers under 'theirs', or a refusal's words."""
    table: dict[str, dict[str, dict[str, Any]]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return table


def keep(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Write down what was found, beside what is there of other environments."""
    table = recorded() if RECORDED.exists() else {}
    for name, calls in found.items():
        table[name] = {call: {key: value for key, value in got.items() if key != "ours"} for call, got in calls.items()}
    lines = [
        f"{json.dumps(name)}: {{\n" + ",\n".join(f"  {json.dumps(c)}: {json.dumps(table[name][c])}" for c in table[name]) + "}"
        for name in sorted(table)
    ]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def table() -> str:
    """The objects in Markdown: what each call does with each."""
    lines = ["| object | " + " | ".join(CALLS) + " | |", "|---" * (len(CALLS) + 2) + "|"]
    for given in OBJECTS:
        cells = ["a sentence" if call in given.refused else "same" for call in CALLS]
        lines.append(f"| {given.what} | {' | '.join(cells)} | {given.note} |")
    return "\n".join(["<!-- objects -->", *lines, "<!-- end -->"])
