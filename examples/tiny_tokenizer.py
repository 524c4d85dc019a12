"""The tokenizer of `builtin:tiny`, learnt from the text that the model is trained on."""

from __future__ import annotations

import json

from tiny_model import VOCAB
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from interp_tui_engine.data import builtin
from interp_tui_engine.data.facts import sentences, single_words

EOS = "<|endoftext|>"


def build_tokenizer() -> Tokenizer:
    """Byte-level BPE of exactly `VOCAB` tokens in which every subject and answer is one token.

    A longer BPE is learnt first and cut after as many merges as leave room for the merges that the words still need; those go last,
    so that they change how no other word is split before them.
    """
    corpus = [*builtin.prose("train"), *list(builtin.code("train"))[::3], *sentences()]
    tokenizer = _bpe(None, None)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[EOS], initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    merges = [(first, second) for first, second in json.loads(tokenizer.to_str())["model"]["merges"]]
    pieces = [EOS, *sorted(alphabet)]
    while True:
        words = _merges_for(single_words(), merges)
        spare = VOCAB - len(pieces) - len(merges) - len(words)
        if spare >= 0:
            return _bpe(_vocab(pieces, merges + words), merges + words)
        del merges[spare:]


def _merges_for(words: list[str], merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The merges that, after the given ones, make one token of each word."""
    rank = {pair: i for i, pair in enumerate(merges)}
    for word in words:
        split = list(word.replace(" ", "Ġ"))
        while len(split) > 1:
            best = min(range(len(split) - 1), key=lambda i: rank.get((split[i], split[i + 1]), len(rank)))
            rank.setdefault((split[best], split[best + 1]), len(rank))
            split[best : best + 2] = [split[best] + split[best + 1]]
    return list(rank)[len(merges) :]


def _vocab(pieces: list[str], merges: list[tuple[str, str]]) -> dict[str, int]:
    return {token: i for i, token in enumerate(dict.fromkeys([*pieces, *(a + b for a, b in merges)]))}


def _bpe(vocab: dict[str, int] | None, merges: list[tuple[str, str]] | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS, special=True)])
    return tokenizer
