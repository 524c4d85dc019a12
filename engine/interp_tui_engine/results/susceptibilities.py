"""Result of `susceptibilities`, and the series of every kind that samples part by part."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile
from .sampling import SAMPLING

ByPart = Mapping[str, Mapping[str, float | None]]
"""A number by part of the model and name of the data."""


class ShuffledControl(Payload):
    """Means over as many rows drawn at random from all data."""

    mean: float | None = Field(description="their mean")
    low: float | None = Field(description="lower end of the interval that holds 95 % of them")
    high: float | None = Field(description="its upper end")


class Agreement(Payload):
    """How far one part's per-token responses agree with another sampling's, and with their first order."""

    halves: float | None = Field(default=None, description="correlation of the covariances of both halves of the chains")
    seeds: float | None = Field(default=None, description="the same for two runs of this size, by Spearman-Brown")
    others: float | None = Field(default=None, description="of halves of different parts, on average")
    with_first_order: float | None = Field(default=None, description="correlation with the part's own first order")
    with_other_parts: float | None = Field(default=None, description="with the first order of other parts, on average")
    slope: float | None = Field(default=None, description="of the covariance on its first order; 1 where they are the same")
    departure: float | None = Field(default=None, description="mean square of their difference in standard errors; 1 where it is noise")
    noise_share: float | None = Field(default=None, description="of the covariance's variance over tokens, what its errors make up")
    clear_tokens: int | None = Field(default=None, description="tokens whose covariance is clear of the floor")
    floor: float | None = Field(default=None, description="the floor, in standard errors")
    curvature: float | None = Field(default=None, description="how far the loss's own curvature bounds the weights beside localization")


class TopToken(Payload):
    """A token among those that respond most."""

    observable: str = Field(description="the data it stands in")
    row: int | None = Field(description="row of that data")
    position: int | None = Field(description="position in the row, from 1")
    token: str = Field(description="the token")
    before: str = Field(description="the text before it")
    value: float | None = Field(description="what tokens are ranked by")
    std_error: float | None = Field(description="its standard error; null for a first order")
    covariance: float | None = Field(description="covariance of its loss with the part's")
    first_order: float | None = Field(description="the exact first order of that")
    clear: bool | None = Field(description="whether it is clear of what covariances with another chain reach")


class SusceptibilitiesResult(ResultFile):
    """How parts of the model respond to data: tables by part and data."""

    restrictions: tuple[str, ...] = Field(description="the parts")
    observables: tuple[str, ...] = Field(description="the data")
    mean: ByPart = Field(description="χ, covariance and shift together")
    covariance: ByPart = Field(description="covariance of the data's loss with the part's")
    shift: ByPart = Field(description="what the change of the mean adds")
    std_error: ByPart = Field(description="standard error of χ")
    covariance_std_error: ByPart = Field(description="of the covariance")
    shift_std_error: ByPart = Field(description="of the shift")
    first_order: ByPart = Field(description="the covariance's exact first order, from gradients at w₀; it has no error")
    control: Mapping[str, Mapping[str, Mapping[str, ShuffledControl | None]]] = Field(
        description="shuffled rows, by quantity, part and data"
    )
    clear: Mapping[str, Mapping[str, Mapping[str, bool | None]]] = Field(description="whether a mean is clear of its control")
    agreement: Mapping[str, Agreement] = Field(description="agreement of samplings, by part")
    ranked_by: str = Field(description="covariance, first_order or susceptibility")
    scatter: float | None = Field(description="variance of each weight that localization allows")
    parameters: Mapping[str, int] = Field(description="weights of each part")
    shift_share: Mapping[str, float | None] = Field(description="of χ's size, what the shift makes up, by part")
    no_error: Mapping[str, Mapping[str, str]] = Field(description="why there is no error bar, by part and data")
    rhat: Mapping[str, float | None] = Field(description="split R̂ of each part's chains")
    failed_chains: Mapping[str, Mapping[str, str]] = Field(description="by part, the chains that failed and why")
    top_tokens: Mapping[str, tuple[TopToken, ...]] = Field(description="by part, the tokens that respond most")
    init_loss: float | None = Field(description="loss at the initial weights, nats a token")
    paired: bool | None = Field(description="whether losses are taken above those of the same rows at w₀")

    def means(self, quantity: str) -> ByPart:
        """The table of mean, covariance, shift or first_order; empty for another."""
        tables = {"mean": self.mean, "covariance": self.covariance, "shift": self.shift, "first_order": self.first_order}
        return tables.get(quantity, {})

    def errors(self, quantity: str) -> ByPart:
        """The standard errors of that table; empty for one without."""
        return {"mean": self.std_error, "covariance": self.covariance_std_error, "shift": self.shift_std_error}.get(quantity, {})


class SusceptibilitiesHeadline(Headline):
    """The largest mean of the quantity ranked by."""

    parts: int | None = Field(default=None, description="how many parts")
    strongest: str = Field(default="", description="'PART to DATA'")
    mean_mean: float | None = Field(default=None, description="its χ, where that is ranked by")
    mean_std_error: float | None = Field(default=None, description="standard error of it")
    covariance_mean: float | None = Field(default=None, description="its covariance, where that is ranked by")
    covariance_std_error: float | None = Field(default=None, description="standard error of it")
    first_order_mean: float | None = Field(default=None, description="its first order, where that is ranked by")
    first_order_std_error: float | None = Field(default=None, description="none: a first order is exact for its rows")


class PartCase(Payload):
    """Series `case`: how one part responds, by data."""

    restriction: str = Field(description="the part")
    parameters: int | None = Field(description="its weights")
    mean: Mapping[str, float | None] = Field(description="χ")
    covariance: Mapping[str, float | None] = Field(description="covariance")
    shift: Mapping[str, float | None] = Field(description="shift")
    std_error: Mapping[str, float | None] = Field(description="standard error of χ")
    covariance_std_error: Mapping[str, float | None] = Field(description="of the covariance")
    shift_std_error: Mapping[str, float | None] = Field(description="of the shift")

    def means(self, quantity: str) -> Mapping[str, float | None]:
        """The numbers of mean, covariance or shift by data; empty for another."""
        return {"mean": self.mean, "covariance": self.covariance, "shift": self.shift}.get(quantity, {})

    def errors(self, quantity: str) -> Mapping[str, float | None]:
        """Their standard errors."""
        return {"mean": self.std_error, "covariance": self.covariance_std_error, "shift": self.shift_std_error}.get(quantity, {})


class SampledPart(Payload):
    """Series `part`: one part has been sampled."""

    restriction: str = Field(description="the part")
    parameters: int | None = Field(description="its weights")
    failed: int | None = Field(description="chains that failed")
    seconds: float | None = Field(description="time it took")


class PartNow(Payload):
    """Series `now`: the part that a worker is at."""

    restriction: str = Field(description="the part")
    index: int | None = Field(description="its number among all parts")
    draws: int | None = Field(description="draws of the healthy chain that has the fewest")
    draws_total: int | None = Field(description="draws a chain is to keep")
    llc: float | None = Field(description="running λ̂ of the part")
    tokens_per_second: float | None = Field(description="tokens sampled on, a second")


LIVE: Mapping[str, type[Payload]] = {**SAMPLING, "case": PartCase, "part": SampledPart, "now": PartNow}
