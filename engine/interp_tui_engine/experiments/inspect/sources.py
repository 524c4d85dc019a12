"""Where an inspect run's features come from when no file holds them: a model run on prompts, or a service."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

from ...events import Event, RunStarted
from ...features import goodfire, hub_sae, neuronpedia
from ...features.evidence import Evidence
from ...runtime.context import Context
from .. import records
from .params import Params


def recorded(context: Context, params: Params) -> Generator[Event, None, Path]:
    """Record the prompts as the kind `records` does, into this run's folder, with its checkpoints; the records' file."""
    from ..records import compute  # imports torch, which other backends do without

    features = "sae" if params.backend == "sae" else "direction"
    asked = records.Params.model_validate(
        {
            **{"prompts": params.prompts, "features": features, "sae": params.sae, "directions": params.directions},
            **{"layers": params.layers, "criterion": params.criterion, "model_name": params.model},
        }
    )
    done = context.folder.path / "records.jsonl"
    if done.is_file():  # a run that was killed after this goes on behind it
        return done
    steps = compute.run(context, asked)
    while True:
        try:
            event = next(steps)
        except StopIteration:
            return done
        if not isinstance(event, RunStarted):  # this run has started
            yield event


def served(params: Params, wait_while_paused: Callable[[], None]) -> list[Evidence]:
    """Features from a service; `wait_while_paused` is called between requests. Raises RunFailed and UserError as the clients do."""
    match params.backend:
        case "neuronpedia":
            return list(neuronpedia.fetch(params.neuronpedia, neuronpedia.service(), wait_while_paused))
        case "goodfire":
            return goodfire.search(params.criterion, str(params.model), params.search_top, goodfire.service(), wait_while_paused)
        case "saelens":
            return hub_sae.saelens(str(params.repo), params.sae_path, params.latents, params.model, wait_while_paused)
    return hub_sae.scope(params.suite, str(params.repo), params.sae_path, params.latents, params.model, wait_while_paused)
