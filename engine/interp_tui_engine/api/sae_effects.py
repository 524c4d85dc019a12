"""`train_sae(criterion=, causal_out=)`: the latents that go with a criterion, steered, as interp-lab writes it down.

The latents are those of largest |Pearson correlation| with the criterion's score over the prompts. Each is steered at the prompts' last
token by strength · sign(correlation) · its decoder row, and the summed probability of the answers is read off before and after. Of the
strengths that are tried, the one with the largest mean effect less mean side effect is kept: an effect chosen among several, so that its
size is biased upwards. Rows of random latents steered alike stand beside the latent's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from ..dictionaries.dictionary import Dictionary
from ..features import ids, interventions
from ..features.answer_sets import UNITS_NAME
from ..features.interventions import Intervention
from .sae_prompts import Prompts, rows_of

STRENGTHS = (3.0, 10.0, 30.0)
TOP = {"minimal": 4, "production": 16, "fast": 8}
"""interp-lab's numbers of latents, by preset."""
CONTROLS = 20


@dataclass(frozen=True)
class LatentTrials:
    """How many latents, steered by what. layer, convention: where the dictionary stands, and how the written ids count layers."""

    layer: int
    convention: str
    top: int
    strengths: Sequence[float] | None


def steered(
    dictionary: Dictionary,
    sae: Path,
    rows: Path,
    out: Path,
    prompts: Prompts,
    criterion: str,
    chosen: LatentTrials,
    answers: Sequence[str] | None,
) -> Path:
    """Steer latents and write the interventions to `out`. rows: the prompts' activations at the dictionary's site, a row a prompt.

    Raises what runs of kind interventions raise.
    """
    strengths = chosen.strengths or STRENGTHS
    by_sign: dict[float, list[str]] = {1.0: [], -1.0: []}
    for latent, correlation in associated(dictionary, rows)[: chosen.top]:
        by_sign[1.0 if correlation >= 0 else -1.0].append(ids.latent(chosen.layer, latent))
    kept: list[Intervention] = []
    for sign, targets in by_sign.items():
        if not targets:
            continue
        params = {
            **{"criterion": criterion, "features": "sae", "sae": str(sae.absolute()), "targets": targets},
            **{"layer_convention": chosen.convention, "verb": "steer", "steer_by": "direction"},
            **{"strengths": [sign * strength for strength in strengths], "metric": "prob", "answers": list(answers or [UNITS_NAME])},
            **{"controls": ["random"], "draws": CONTROLS, "plain_rows": 0},
        }
        made = prompts.run("interventions", "steered" if sign > 0 else "steered-down", params)
        kept += most_specific(interventions.read(made / "interventions.jsonl"))
    out.parent.mkdir(parents=True, exist_ok=True)
    interventions.write(out, kept)
    return out


def associated(dictionary: Dictionary, records: Path) -> list[tuple[int, float]]:
    """Latents and their correlation with the criterion's score, the strongest first; 0 for one that never varies."""
    rows = rows_of(records)
    correlations = _pearson(dictionary.encode(torch.from_numpy(rows.values)).double().numpy(), rows.scores)
    order = np.argsort(-np.abs(correlations), kind="stable")
    return [(int(latent), float(correlations[latent])) for latent in order]


def _pearson(codes_NM: Float64[np.ndarray, "n m"], scores_N: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    codes_NM, scores_N = codes_NM - codes_NM.mean(0), scores_N - scores_N.mean()
    size_M = np.linalg.norm(codes_NM, axis=0) * np.linalg.norm(scores_N)
    correlations_M: Float64[np.ndarray, " m"] = np.divide(scores_N @ codes_NM, size_M, out=np.zeros(codes_NM.shape[1]), where=size_M > 0)
    return correlations_M


def most_specific(rows: Sequence[Intervention]) -> list[Intervention]:
    """Each feature's rows at the strength of largest mean effect less mean side effect, its controls' with them."""
    kept: list[Intervention] = []
    for feature in dict.fromkeys(row.feature_id for row in rows):
        own = [row for row in rows if row.feature_id == feature]
        tried = dict.fromkeys(row.strength for row in own)
        best = max(tried, key=lambda strength: _specificity([row for row in own if row.strength == strength and row.control is None]))
        kept += [row for row in own if row.strength == best]
    return kept


def _specificity(rows: Sequence[Intervention]) -> tuple[float, float]:
    effect = float(np.mean([row.changed - row.baseline for row in rows]))
    return effect - float(np.mean([row.side_effect or 0.0 for row in rows])), effect
