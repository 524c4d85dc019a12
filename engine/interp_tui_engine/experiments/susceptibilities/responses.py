"""How the parts of a model respond, worked out as they are sampled. Imports torch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ...data.names import obs_id
from ...estimators.autocorrelation import MeanEstimate
from ...estimators.observed import observed_in
from ...estimators.susceptibilities import Baseline, Response, baseline, probes_of, response
from ...events import Event, Metrics
from ...results.susceptibilities import PartCase
from ...runtime.context import Context
from ...samplers.chains.store import open_samples
from .._sampling.per_restriction import FULL, Part, store_path, whole_of
from .params import Params

MEANS = {"mean": "mean", "covariance": "mean_covariance", "shift": "mean_shift"}
"""Tables of result.json, and the fields of a response they hold."""


class Responses:
    """How each part responds, worked out as soon as it has been sampled, so that a view fills."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._params: Params = context.manifest.params
        self.names = {obs_id(name): name for name in self._params.observables}
        self.by_part: dict[str, Response] = {}
        self.base: Baseline | None = None
        self.shown: list[str] = []
        """Observables to respond to. Responses hold the sampling data's too, for the controls."""
        self._waiting: list[tuple[int, Part]] = []
        """Parts sampled while another worker was still sampling the whole model."""

    def take(self, index: int, part: Part) -> Iterator[Event]:
        """Read the part's samples, once the whole model's are there: the others are compared with it."""
        if part.name != FULL:
            self._waiting.append((index, part))
        if self.base is None and (part.name == FULL or whole_of(self._context)):
            samples, sampling = open_samples(store_path(self._context, FULL)).dataset, obs_id(self._params.sampling_data)
            self.base = baseline(samples, sampling, observed_in(samples))
            self.shown = sorted(probes_of(samples, sampling, None, self._params.include_sampling_data))
        while self.base is not None and self._waiting:
            at, next_part = self._waiting.pop(0)
            answer = self.by_part[next_part.name] = response(open_samples(store_path(self._context, next_part.name)).dataset, self.base)
            case = PartCase(
                restriction=next_part.name,
                parameters=next_part.parameters,
                mean=self.by_name(answer, "mean"),
                covariance=self.by_name(answer, "covariance"),
                shift=self.by_name(answer, "shift"),
                std_error=self.errors_by_name(answer, "mean"),
                covariance_std_error=self.errors_by_name(answer, "covariance"),
                shift_std_error=self.errors_by_name(answer, "shift"),
            )
            yield Metrics("case", at - 1, case.as_json())

    def _estimate(self, answer: Response | None, table: str, obs: str) -> MeanEstimate | None:
        """The sampling data's own mean is 0 whatever was sampled: what is left of it is rounding."""
        assert self.base is not None
        if answer is None:
            return None
        return MeanEstimate(0.0, 0.0, math.inf) if obs == self.base.sampling else getattr(answer, MEANS[table])[obs]

    def estimates(self, answer: Response | None, table: str) -> dict[str, MeanEstimate | None]:
        """A part's numbers of one table by data set."""
        return {self.names[obs]: self._estimate(answer, table, obs) for obs in self.shown}

    def by_name(self, answer: Response | None, table: str) -> dict[str, float | None]:
        return {name: None if estimate is None else estimate.value for name, estimate in self.estimates(answer, table).items()}

    def errors_by_name(self, answer: Response | None, table: str) -> dict[str, float | None]:
        return {name: None if estimate is None else estimate.std_error for name, estimate in self.estimates(answer, table).items()}
