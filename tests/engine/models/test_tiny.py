"""What the weights that come with the package know: facts, where in the model they are looked up, and copying what came before."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from interp_tui_engine.data.facts import facts, single_words
from interp_tui_engine.data.rows import load_rows
from interp_tui_engine.models import builtin_index
from interp_tui_engine.models.load import load_model
from interp_tui_engine.models.loaded import LoadedModel
from interp_tui_engine.specs import DataSpec

FRANCE, JAPAN = "The capital of France is", "The capital of Japan is"
SUBJECT, LAST = 3, 4  # The | capital | of | France | is
PERIOD = 64


@pytest.fixture(scope="module")
def final() -> LoadedModel:
    return load_model("builtin:tiny", device="cpu")


@pytest.fixture(scope="module")
def first() -> LoadedModel:
    return load_model("builtin:tiny", revision="step-0", device="cpu")


def token(model: LoadedModel, word: str) -> int:
    assert model.tokenizer is not None
    (only,) = model.tokenizer(word)["input_ids"]
    return int(only)


def logits_at_end(model: LoadedModel, prompts: list[str]) -> torch.Tensor:
    """(prompts, vocab), for prompts of equal length."""
    assert model.tokenizer is not None
    return model.module(torch.tensor(model.tokenizer(prompts)["input_ids"])).logits[:, -1]


def fact_accuracy(model: LoadedModel) -> tuple[float, float]:
    """How often the right answer has the largest logit: among the answers of its relation, and among all tokens."""
    by_relation = defaultdict(list)
    for fact in facts():
        by_relation[fact.relation].append(fact)
    among_answers = among_all = 0
    for asked in by_relation.values():
        logits = logits_at_end(model, [fact.prompt for fact in asked])
        right = torch.tensor([token(model, fact.answer) for fact in asked])
        answers = right.unique()
        among_answers += int((answers[logits[:, answers].argmax(1)] == right).sum())
        among_all += int((logits.argmax(1) == right).sum())
    return among_answers / len(facts()), among_all / len(facts())


def paris_over_tokyo(model: LoadedModel, prompt: str) -> float:
    logits = logits_at_end(model, [prompt])[0]
    return float(logits[token(model, " Paris")] - logits[token(model, " Tokyo")])


def losses(model: LoadedModel, ids: torch.Tensor) -> torch.Tensor:
    """(rows, tokens - 1) nats."""
    ids = ids.long()
    return F.cross_entropy(model.module(ids[:, :-1]).logits.transpose(1, 2), ids[:, 1:], reduction="none")


def halves(model: LoadedModel, unit: torch.Tensor) -> tuple[float, float]:
    """Mean loss on a sequence and on its repetition, the token that begins the repetition left out."""
    per_token = losses(model, torch.cat([unit, unit], 1))
    return float(per_token[:, : PERIOD - 1].mean()), float(per_token[:, PERIOD:].mean())


def test_ships_in_sixteen_megabytes():
    folder = builtin_index.folder_of("builtin:tiny")
    assert sum(path.stat().st_size for path in Path(folder).iterdir()) <= 16_000_000


def test_is_a_million_parameters_of_grouped_query_llama(final):
    config = final.module.config
    assert config.model_type == "llama" and config.tie_word_embeddings
    assert (config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (4, 8, 2)
    assert config.max_position_embeddings >= 256 and 0.9e6 < final.num_parameters < 1.1e6


def test_every_word_of_a_fact_is_one_token(final):
    for word in single_words():
        token(final, word)
    lengths = {(fact.relation, len(final.tokenizer(fact.prompt)["input_ids"])) for fact in facts()}
    assert len(lengths) == len(dict(lengths)), "prompts of a relation line up"


def test_tokenizer_gives_back_what_it_was_given(final):
    text = "def π(x):\n\treturn x  # naïve — 東京\n"
    assert final.tokenizer.decode(final.tokenizer(text)["input_ids"]) == text


def test_knows_its_facts_at_last_and_few_at_first(final, first):
    assert min(fact_accuracy(final)) >= 0.95
    assert max(fact_accuracy(first)) <= 0.15


def test_facts_come_with_training():
    known = [fact_accuracy(load_model("builtin:tiny", revision=name, device="cpu"))[0] for name in builtin_index.revisions("builtin:tiny")]
    assert any(0.2 < share < 0.9 for share in known), known


def test_prefers_paris_for_france_and_tokyo_for_japan(final):
    assert paris_over_tokyo(final, FRANCE) >= 3.0
    assert paris_over_tokyo(final, JAPAN) <= -3.0


def test_the_answer_moves_from_subject_to_last_token(final):
    """Patch the residual stream after each layer from the France run into the Japan run, one position at a time."""
    grid = recovery(final)
    layers = range(len(grid))
    assert torch.equal(grid[:, :SUBJECT], torch.zeros_like(grid[:, :SUBJECT])), "before the subject the runs are the same"
    assert grid[0, SUBJECT] > 0.8 and grid[-1, LAST] == pytest.approx(1.0, abs=1e-4)
    assert grid[0, LAST] < 0.2 and grid[-1, SUBJECT] == pytest.approx(0.0, abs=1e-4)
    assert all(grid[layer + 1, SUBJECT] <= grid[layer, SUBJECT] + 0.1 for layer in layers[:-1])
    assert all(grid[layer + 1, LAST] >= grid[layer, LAST] - 0.1 for layer in layers[:-1])


def recovery(model: LoadedModel) -> torch.Tensor:
    """(layers, positions): 0 as corrupt, 1 as clean."""
    clean, corrupt = (torch.tensor([model.tokenizer(prompt)["input_ids"]]) for prompt in (FRANCE, JAPAN))
    hidden = model.module(clean, output_hidden_states=True).hidden_states
    blocks = model.module.model.layers
    low, high = paris_over_tokyo(model, JAPAN), paris_over_tokyo(model, FRANCE)
    grid = torch.zeros(len(blocks), clean.shape[1])
    seen = []
    for block in blocks:  # hidden_states ends with the normed stream, so the last layer's own output is taken by hand
        handle = block.register_forward_hook(lambda _m, _i, output: seen.append(output))
        model.module(clean)
        handle.remove()
    assert torch.equal(seen[0], hidden[1])
    for layer, block in enumerate(blocks):
        for position in range(clean.shape[1]):

            def patch(_module, _inputs, output, layer=layer, position=position):
                output = output.clone()
                output[:, position] = seen[layer][:, position]
                return output

            handle = block.register_forward_hook(patch)
            end = model.module(corrupt).logits[0, -1]
            handle.remove()
            metric = float(end[token(model, " Paris")] - end[token(model, " Tokyo")])
            grid[layer, position] = (metric - low) / (high - low)
    return grid


def test_induction_on_random_tokens(final, first):
    unit = torch.randint(1, final.vocab_size, (16, PERIOD), generator=torch.Generator().manual_seed(7))
    once, again = halves(final, unit)
    assert min(once, math.log(final.vocab_size)) - again >= 2.0, "cheaper than the original, and than knowing nothing"
    once, again = halves(first, unit)
    assert abs(once - again) < 0.5


@pytest.mark.parametrize("source", ["builtin:prose", "builtin:code"])
def test_induction_on_held_out_text(source, final):
    rows = load_rows(DataSpec(source=source, split="heldout", context=PERIOD - 1, rows=32), final.tokenizer, name="heldout")
    once, again = halves(final, rows.ids)
    assert once - again >= 2.0


@pytest.mark.parametrize(("source", "bound"), [("builtin:prose", 4.0), ("builtin:code", 4.0)])
def test_reads_held_out_text_far_better_than_by_frequency(source, bound, final, first):
    """Guessing by frequency costs about 6 nats on these; uniform guessing 7.6."""
    rows = load_rows(DataSpec(source=source, split="heldout", context=256, rows=16), final.tokenizer, name="heldout")
    assert float(losses(final, rows.ids).mean()) < bound
    assert float(losses(first, rows.ids).mean()) > 7.6
