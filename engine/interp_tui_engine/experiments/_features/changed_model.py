"""A model whose residual stream is changed at prompts' last tokens, or at all, and what that does to their answers. Imports torch.

Legend: P prompts, K changes, B prompts of one batch, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...data.prompts import answer_ids
from ...errors import RunFailed, UserError
from ...features.answer_sets import expanded
from ...features.prompts import Prompt
from ...models.device import sent
from ...models.halving import FittingRows
from ...models.loaded import LoadedModel
from ...sites.answers import Answer, kl, log_prob, logit_diff, set_logit
from ...sites.hooks import Edit, activations
from ...sites.row_memory import fitting_logits, fitting_rows
from ...sites.site import Site
from ...sites.site_map import SiteMap
from .last_token import LastToken, last_token
from .plain_text import Change, everywhere
from .space import PaddedPrompts, tokens_of

COPIES = 8
"""Copies of their logits that scores hold at a time, at most."""


@dataclass(frozen=True)
class Bench:
    """Prompts with their answers, on one model."""

    model: LoadedModel
    site_map: SiteMap
    prompts: list[Prompt]
    tokens: PaddedPrompts
    answers: list[Answer]
    metric: str
    batch: int
    continued: PaddedPrompts | None = None
    """Prompts with their answers behind them, where answers are scored whole."""
    unchanged: LastToken | None = None
    """The prompts' runs as they are, from which changed ones go on; None where each is run whole."""

    @cached_property
    def together(self) -> FittingRows:
        """How many prompts pass the model at a time."""
        longest = int((self.continued or self.tokens).ids.shape[1])
        return fitting_rows(self.site_map, longest, self.batch)

    @cached_property
    def unembedded(self) -> FittingRows:
        """How many positions are unembedded at a time."""
        return fitting_logits(self.site_map, self.batch)

    def ready(self) -> Bench:
        """The same with the unchanged runs kept, where the model can go on from them and answers are scored by one token."""
        if self.metric == "sequence":
            return self
        return replace(self, unchanged=last_token(self.site_map, self.tokens, self.batch))

    def scores_of(self, layer: int, changes_KPD: Float[Tensor, "K P D"], chosen: Sequence[int]) -> Float[Tensor, "K chosen"]:
        """The metric of the chosen prompts under each of several changes, added after `layer` at their last token."""
        if self.unchanged is None:
            return torch.stack([self.scores(layer, change_PD, chosen) for change_PD in changes_KPD])
        held = 4 * COPIES * self.model.vocab_size * len(chosen)
        together = FittingRows(changes_KPD.device, held, len(changes_KPD))
        scores = torch.cat([part for _, part in together.each(changes_KPD, lambda some: self._scores_of(layer, some, chosen))])
        self._check(scores, chosen, changed=True)
        return scores

    def _scores_of(self, layer: int, changes_KPD: Float[Tensor, "K P D"], chosen: Sequence[int]) -> Float[Tensor, "K chosen"]:
        assert self.unchanged is not None
        final_KPD = self.unchanged.finals(layer, changes_KPD, chosen)
        logits_KPV = self._logits(final_KPD.flatten(0, 1)).reshape(*final_KPD.shape[:2], -1)
        if self.metric != "kl":
            return torch.stack([self.score(logits_KPV[:, j], self.answers[i]) for j, i in enumerate(chosen)], dim=1)
        zero = torch.zeros_like(changes_KPD[:1])
        return kl(self._logits(self.unchanged.finals(layer, zero, chosen)[0]), logits_KPV)

    def clean(self, layer: int) -> Float[Tensor, "P D"]:
        """The residual stream after a layer at each prompt's last token."""
        return self._run(Site("resid_post", layer), layer, None, range(len(self.prompts)))

    def scores(self, layer: int, change_PD: Float[Tensor, "P D"] | Change | None, chosen: Sequence[int]) -> Float[Tensor, " chosen"]:
        """The metric of the chosen prompts with `change_PD` added after `layer` at their last token, or a Change at every token."""
        if self.metric == "sequence":
            scores = self._sequence(layer, change_PD, chosen)
        else:
            final = Site("resid_post", self.site_map.num_layers - 1)
            logits = self._logits(self._run(final, layer, change_PD, chosen))
            if self.metric == "kl":
                scores = torch.zeros(len(chosen)) if change_PD is None else kl(self._logits(self._run(final, layer, None, chosen)), logits)
            else:
                scores = torch.stack([self.score(row, self.answers[i]) for row, i in zip(logits, chosen, strict=True)])
        self._check(scores, chosen, changed=change_PD is not None)
        return scores

    def _check(self, scores: Float[Tensor, "*rows chosen"], chosen: Sequence[int], *, changed: bool) -> None:
        if not torch.isfinite(scores).all():
            place = self.prompts[chosen[int((~torch.isfinite(scores)).nonzero()[0, -1])]].id
            advice = "lower params.strengths" if changed else "load the model with dtype = 'float32'"
            raise RunFailed(f"the score of prompt {place!r:.40} is not finite", advice)

    def _sequence(self, layer: int, change_PD: Tensor | Change | None, chosen: Sequence[int]) -> Float[Tensor, " chosen"]:
        """Σ log p of the answer's tokens, each given the prompt and those before it; the change is made at the prompt's last token,
        a Change also at the answer's tokens."""
        assert self.continued is not None
        final, continued = Site("resid_post", self.site_map.num_layers - 1), self.continued

        def of_prompts(some: Sequence[int]) -> Float[Tensor, " some"]:
            rows, log_probs = sent(some, self.model.device), []
            edits = self._edits(layer, change_PD, rows)
            ends = continued.last[rows].tolist()
            ids = continued.ids[rows][:, : max(ends) + 1]
            resid_BPD = activations(self.site_map, ids, [final], edits)[final]
            for row, start, end, tokens in zip(resid_BPD, self.tokens.last[rows].tolist(), ends, ids, strict=True):
                log_p = self._logits(row[start:end]).log_softmax(-1)
                log_probs.append(log_p.gather(1, tokens[start + 1 : end + 1, None]).sum())
            return torch.stack(log_probs)

        return torch.cat([log_probs for _, log_probs in self.together.each(chosen, of_prompts)])

    def _edits(self, layer: int, change_PD: Tensor | Change | None, rows: Tensor) -> list[Edit]:
        if change_PD is None:
            return []
        if not isinstance(change_PD, Tensor):
            return [everywhere(layer, change_PD)]
        delta_BD, last = change_PD[rows], self.tokens.last[rows]
        count = torch.arange(len(rows), device=self.model.device)

        def add(value: Tensor) -> Tensor:
            new = value.clone()
            new[count, last] += delta_BD.to(value.dtype)
            return new

        return [Edit(Site("resid_post", layer), add)]

    def _run(self, site: Site, layer: int, change_PD: Tensor | Change | None, chosen: Sequence[int]) -> Float[Tensor, "chosen D"]:

        def of_prompts(some: Sequence[int]) -> Float[Tensor, "some D"]:
            rows = sent(some, self.model.device)
            last = self.tokens.last[rows]
            count = torch.arange(len(rows), device=self.model.device)
            edits = self._edits(layer, change_PD, rows)
            ids = self.tokens.ids[rows][:, : int(last.max()) + 1]
            return activations(self.site_map, ids, [site], edits)[site][count, last]

        return torch.cat([values for _, values in self.together.each(chosen, of_prompts)])

    @torch.no_grad()
    def _logits(self, final_PD: Tensor) -> Float[Tensor, "P V"]:
        return torch.cat([logits for _, logits in self.unembedded.each(final_PD, lambda some: self.site_map.unembed(some).float())])

    def score(self, logits: Float[Tensor, "*rows V"], answer: Answer) -> Float[Tensor, "*rows"]:
        """The metric of one prompt's logits."""
        if self.metric == "logit_diff":
            return logit_diff(logits, answer)
        log_p = log_prob(logits, answer.right)
        if self.metric == "log_odds":
            # log(1 − p) from the other tokens' logits: 1 − exp(log p) would lose all digits where p is near 1
            others = logits.clone()
            for token in answer.right:
                others[..., token] = -torch.inf
            return set_logit(logits, answer.right) - others.logsumexp(-1)
        return log_p.exp() if self.metric == "prob" else log_p


def bench_of(
    model: LoadedModel, site_map: SiteMap, prompts: list[Prompt], metric: str, shared: Sequence[str], batch: int
) -> tuple[Bench, list[str]]:
    """The bench, and warnings. Answers are each prompt's own `answer` (and `wrong`), else the shared ones, or a set's by its name.

    Raises UserError for prompts without an answer, and for logit_diff without wrong answers.
    """
    tokens, shared = tokens_of(model, site_map, prompts), expanded(shared)
    if metric == "kl":  # of all answers there are
        return Bench(model, site_map, prompts, tokens, [Answer(())] * len(prompts), metric, batch), []
    if metric == "sequence":
        return _whole(model, site_map, prompts, tokens, shared, batch), []
    cut: set[str] = set()

    @cache
    def first_of(text: str) -> tuple[int, ...]:
        ids: list[int] = model.tokenizer(text, add_special_tokens=False)["input_ids"]  # type: ignore[misc]
        if len(ids) > 1:
            cut.add(text)
        return tuple(ids[:1])

    def first(texts: Any) -> tuple[int, ...]:
        several = [texts] if isinstance(texts, str) else list(texts or ())
        return tuple(dict.fromkeys(token for text in several for token in first_of(str(text))))

    answers = []
    for prompt in prompts:
        right = first(prompt.extra.get("answer") or list(shared))
        wrong = tuple(token for token in first(prompt.extra.get("wrong")) if token not in right)
        if not right:
            hint = 'give each prompt an "answer", or params.answers for all of them'
            raise UserError(f"prompt {prompt.id!r:.40} has no answer whose probability could change", hint)
        if metric == "logit_diff" and not wrong:
            hint = 'give each prompt "wrong" answers, or set metric = "logprob"'
            raise UserError(f"prompt {prompt.id!r:.40} has no wrong answers, which metric = 'logit_diff' needs", hint)
        answers.append(Answer(right, wrong))
    warnings = [f"{len(cut)} answers have several tokens; the first stands for them, such as {min(cut)!r:.40}"] if cut else []
    return Bench(model, site_map, prompts, tokens, answers, metric, batch), warnings


def _whole(model: LoadedModel, site_map: SiteMap, prompts: list[Prompt], tokens: PaddedPrompts, shared: Sequence[str], batch: int) -> Bench:
    """A bench that scores answers whole. Raises UserError for a prompt without one answer, and where the two together are too long."""
    assert model.tokenizer is not None
    rows, answers = [], []
    for prompt, ids, last in zip(prompts, tokens.ids.tolist(), tokens.last.tolist(), strict=True):
        given = prompt.extra.get("answer") or list(shared)
        if not given:
            raise UserError(f"prompt {prompt.id!r:.40} has no answer to score", 'give each prompt an "answer", or params.answers for all')
        answer = answer_ids(model.tokenizer, prompt.text, given, name=f"the answer of prompt {prompt.id!r:.40}", when_long="sequence")
        row = [*ids[: last + 1], *answer]
        if site_map.context is not None and len(row) > site_map.context:
            raise UserError(
                f"prompt {prompt.id!r:.40} and its answer have {len(row)} tokens, but the model has {site_map.context} positions"
            )
        rows.append(row)
        answers.append(Answer(answer))
    width = max(map(len, rows))
    padded = torch.tensor([row + [row[-1]] * (width - len(row)) for row in rows], device=tokens.ids.device)
    continued = PaddedPrompts(padded, torch.tensor([len(row) - 1 for row in rows], device=tokens.ids.device))
    return Bench(model, site_map, prompts, tokens, answers, "sequence", batch, continued)
