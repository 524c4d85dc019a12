"""Train `builtin:tiny` from nothing: its tokenizer, its weights, and checkpoints along the way.

    python examples/train_tiny.py --out tiny-training                            # some twenty minutes on two cores
    python examples/train_tiny.py --out tiny-training --ship step-0,step-80,final  # then copy chosen checkpoints into the package

The text is a mixture of fact sentences, Python's own docstrings and source, and sequences that repeat themselves. Same seed, same
Python, same torch, same kind of machine: same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_model import EOS_ID, VOCAB, initial_model
from tiny_tokenizer import build_tokenizer
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from interp_tui_engine.data import builtin
from interp_tui_engine.data.facts import RELATIONS, facts, sentences

IGNORED = -100  # what cross_entropy leaves out
MIXTURE = {"repeat_random": 0.18, "repeat_text": 0.12, "facts": 0.34, "prose": 0.19, "code": 0.17}  # shares of the rows of a step

# --- rows ------------------------------------------------------------------------------------------------------------


class Corpus:
    """Tokenised text, and rows drawn from it: `(ids, targets)` with targets already shifted, `IGNORED` where nothing can be learnt."""

    def __init__(self, tokenizer: Tokenizer, context: int, seed: int) -> None:
        self.context = context
        self.grow(0.0)
        self.rng = random.Random(seed)
        self.text = {name: _stream(tokenizer, builtin.BUILTIN[name]("train")) for name in ("prose", "code")}
        self.facts = [[*e.ids, EOS_ID] for e in tokenizer.encode_batch(sentences())]

    def row(self, kind: str) -> tuple[list[int], list[int]]:
        length = self.context + 1
        if kind == "facts":
            ids: list[int] = []
            while len(ids) < length:
                ids += self.rng.choice(self.facts)
            return self._shifted(ids[:length], 0)
        if kind == "repeat_random":
            unit = [self.rng.randrange(1, VOCAB) for _ in range(self._period())]
            return self._repeated(unit, learn_first=False)
        if kind == "repeat_text":
            unit = self._passage(self.rng.choice(["prose", "code"]), self._period())
            return self._repeated(unit, learn_first=True)
        return self._shifted(self._passage(kind, length), 0)

    def grow(self, progress: float) -> None:
        """Let periods get longer over the first half of training, from an eighth to half of a row."""
        self.longest = round(self.context * (1 / 8 + 3 / 8 * min(1.0, progress / 0.5)))

    def _period(self) -> int:
        """Log-uniform, so that short periods, from which induction starts, stay as common as long ones, to which it must stretch."""
        return round(math.exp(self.rng.uniform(math.log(4), math.log(self.longest))))

    def _repeated(self, unit: list[int], *, learn_first: bool) -> tuple[list[int], list[int]]:
        length = self.context + 1
        ids = (unit * (length // len(unit) + 1))[:length]
        return self._shifted(ids, 0 if learn_first else len(unit))

    def _shifted(self, ids: list[int], skip: int) -> tuple[list[int], list[int]]:
        return ids[:-1], [IGNORED if i + 1 <= skip else t for i, t in enumerate(ids[1:])]

    def _passage(self, name: str, length: int) -> list[int]:
        stream = self.text[name]
        start = self.rng.randrange(len(stream) - length)
        return stream[start : start + length]


def _stream(tokenizer: Tokenizer, documents: Iterator[str]) -> list[int]:
    return [token for e in tokenizer.encode_batch(list(documents)) for token in (*e.ids, EOS_ID)]


# --- measurements ----------------------------------------------------------------------------------------------------


class Exam:
    """What is measured along the way: facts, induction, and loss on text that training never sees."""

    def __init__(self, tokenizer: Tokenizer, context: int) -> None:
        self.tokenizer = tokenizer
        rng = random.Random(1)
        self.random = torch.tensor([[rng.randrange(1, VOCAB) for _ in range(64)] * 2 for _ in range(16)])
        self.held = {}
        for name in ("prose", "code"):
            stream = _stream(tokenizer, builtin.BUILTIN[name]("heldout"))
            self.held[name] = torch.tensor(stream[: 16 * (context + 1)]).view(16, context + 1)
        halves = torch.cat([self.held["prose"][:, :64], self.held["code"][:, :64]])
        self.repeated = torch.cat([halves, halves], 1)

    @torch.no_grad()
    def __call__(self, model: LlamaForCausalLM) -> dict[str, float]:
        model.eval()
        scores: dict[str, float] = {}
        known = known_strictly = total = 0
        for relation in RELATIONS:
            answers = sorted({self._id(f" {a}") for a in relation.answers.values()})
            asked = [f for f in facts() if f.relation == relation.name]
            prompts = torch.tensor([self.tokenizer.encode(f.prompt).ids for f in asked])
            right = torch.tensor([self._id(f.answer) for f in asked])
            logits = model(prompts).logits[:, -1]
            among = torch.tensor(answers)
            known += int((among[logits[:, among].argmax(1)] == right).sum())
            known_strictly += int((logits.argmax(1) == right).sum())
            total += len(asked)
            if relation.name == "capital":
                scores["paris_tokyo"] = float(logits[0, right[0]] - logits[0, self._id(" Tokyo")])
        scores |= {"facts": known / total, "facts_strict": known_strictly / total}
        for name, ids in (("random", self.random), ("repeated", self.repeated)):
            losses = _losses(model, ids)
            scores |= {f"{name}_first": float(losses[:, :63].mean()), f"{name}_second": float(losses[:, 64:].mean())}
        scores |= {name: float(_losses(model, ids).mean()) for name, ids in self.held.items()}
        model.train()
        return scores

    def _id(self, word: str) -> int:
        (token,) = self.tokenizer.encode(word).ids
        return int(token)


def _losses(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    logits = model(ids[:, :-1]).logits
    return F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")


# --- training --------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # rows are shared out instead: two threads that meet once a step lose less to a busy machine
    pool = ThreadPoolExecutor(args.threads)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    model = initial_model()
    model.config.save_pretrained(out)
    corpus, exam = Corpus(tokenizer, args.context, args.seed), Exam(tokenizer, args.context)
    matrices = [p for name, p in model.named_parameters() if p.dim() > 1 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() == 1 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=args.muon_lr, momentum=0.95, weight_decay=args.weight_decay),
        torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.0, foreach=True),
    ]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    kinds = random.Random(args.seed + 1)
    saved = {*range(0, 100, max(1, args.save_every // 5)), *range(100, args.steps, args.save_every)}
    running: dict[str, float] = {}
    started = time.monotonic()
    for step in range(args.steps + 1):
        if step in saved or step == args.steps:
            save(model, out / (f"step-{step}.safetensors" if step < args.steps else "final.safetensors"))
        if step % args.eval_every == 0 or step in saved or step == args.steps:
            scores = {"step": step, "seconds": time.monotonic() - started, **exam(model), **{f"train_{k}": v for k, v in running.items()}}
            print(json.dumps({k: round(v, 3) for k, v in scores.items()}), flush=True)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(scores) + "\n")
        if step == args.steps:
            return
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * schedule(step, args)
        corpus.grow(step / args.steps)
        drawn = kinds.choices(list(MIXTURE), list(MIXTURE.values()), k=args.batch)
        rows = [corpus.row(kind) for kind in drawn]
        parts = list(pool.map(lambda part: gradients(model, part), (rows[i :: args.threads] for i in range(args.threads))))
        counted = sum(part.counted for part in parts)
        for parameter, *grads in zip(model.parameters(), *(part.grads for part in parts), strict=True):
            parameter.grad = torch.stack(grads).sum(0) / counted
        for kind, row in zip(drawn, (parts[i % args.threads].row_losses[i // args.threads] for i in range(args.batch)), strict=True):
            running[kind] = 0.98 * running.get(kind, row) + 0.02 * row
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


class Gradients(NamedTuple):
    """Of the summed loss over some rows: one gradient a parameter, how many tokens were counted, each row's mean loss over them."""

    grads: tuple[torch.Tensor, ...]
    counted: int
    row_losses: list[float]


def gradients(model: LlamaForCausalLM, rows: list[tuple[list[int], list[int]]]) -> Gradients:
    ids, targets = (torch.tensor(part) for part in zip(*rows, strict=True))
    logits = model(ids).logits
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none").view_as(targets)
    grads = torch.autograd.grad(losses.sum(), list(model.parameters()))
    counted = targets != IGNORED
    return Gradients(grads, int(counted.sum()), (losses.detach().sum(1) / counted.sum(1)).tolist())


def schedule(step: int, args: argparse.Namespace) -> float:
    """Linear warm-up, a plateau until 40 % of training, and a straight line down to a fiftieth."""
    if step < args.warmup:
        return (step + 1) / args.warmup
    left = 1 - step / args.steps
    return min(1.0, 0.02 + 0.98 * left / 0.6)


def save(model: LlamaForCausalLM, path: Path) -> None:
    """float16, the tied embedding once."""
    state = {k: v.half().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, path, metadata={"format": "pt"})


def ship(out: Path, names: list[str]) -> None:
    """Copy chosen checkpoints, with what was measured at each, to where the package looks for them."""
    target = Path(builtin.__file__).parents[1] / "models" / "tiny"
    target.mkdir(exist_ok=True)
    for stale in target.iterdir():
        stale.unlink()
    log = {entry["step"]: entry for entry in map(json.loads, (out / "log.jsonl").read_text().splitlines())}
    index = {}
    for name in names:
        scores = log[max(log) if name == "final" else int(name.removeprefix("step-"))]
        index[name] = {k: v if k == "step" else round(v, 3) for k, v in scores.items() if k != "seconds" and not k.startswith("train_")}
        shutil.copyfile(out / f"{name}.safetensors", target / f"{name}.safetensors")
    (target / "checkpoints.json").write_text(json.dumps(index, indent=1) + "\n")
    for name in ("config.json", "tokenizer.json"):
        shutil.copyfile(out / name, target / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="tiny-training", help="folder for the tokenizer, the checkpoints and log.jsonl")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=16, help="rows a step")
    parser.add_argument("--context", type=int, default=256, help="predicted tokens a row")
    parser.add_argument("--lr", type=float, default=1.5e-3, help="AdamW: embeddings and norms")
    parser.add_argument("--muon-lr", type=float, default=0.02, help="Muon: every other matrix")
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="rows are shared out over these; part of what a seed determines")
    parser.add_argument("--eval-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=50, help="steps between checkpoints; five times as often in the first 100")
    parser.add_argument("--ship", help="do not train: copy these checkpoints, such as step-0,step-400,final, into the package")
    args = parser.parse_args()
    if args.ship:
        ship(Path(args.out), args.ship.split(","))
    else:
        train(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
