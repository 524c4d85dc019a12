"""Result of `train_sae`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class DictionaryLosses(Payload):
    """What the model loses with the reconstruction in the activation's place; where a model was there to ask."""

    ce_loss_recovered: float | None = Field(default=None, description="share of the loss kept, against zeros in the activation's place")
    ce_loss_recovered_low: float | None = Field(default=None, description="lower end of the 95 % interval over rows")
    ce_loss_recovered_high: float | None = Field(default=None, description="upper end")
    ce_loss_recovered_from_mean: float | None = Field(default=None, description="the same against the mean activation")
    ce_clean: float | None = Field(default=None, description="loss of the model as it is, nats a token")
    ce_zero: float | None = Field(default=None, description="loss with zeros in the activation's place")
    ce_mean: float | None = Field(default=None, description="loss with the mean in its place")
    ce_sae: float | None = Field(default=None, description="loss with the reconstruction in its place")
    kl: float | None = Field(default=None, description="KL of the model's distribution from that with the reconstruction, nats")


class TrainedDictionary(DictionaryLosses):
    """One dictionary, measured on activations held out."""

    architecture: str = Field(default="", description="topk, relu, …")
    latents: int | None = Field(default=None, description="how many latents")
    k: int | None = Field(default=None, description="active latents a token that the architecture aims at")
    sae: str = Field(default="", description="its folder, in the run folder")
    fvu: float | None = Field(default=None, description="share of the variance that it leaves unexplained")
    fvu_low: float | None = Field(default=None, description="lower end of the 95 % interval over rows")
    fvu_high: float | None = Field(default=None, description="upper end")
    l0: float | None = Field(default=None, description="active latents a token")
    dead_fraction: float | None = Field(default=None, description="share of latents that fired on nothing")
    dead_among_tokens: int | None = Field(default=None, description="tokens that they had to fire on")
    repeats: float | None = Field(default=None, description="share of latents that another start finds too")
    repeat_cosine: float | None = Field(default=None, description="mean cosine with its like from another start")
    repeat_chance: float | None = Field(default=None, description="the same by chance")


class NamedDictionary(TrainedDictionary):
    """One of several."""

    name: str = Field(default="", description="what tells it from the others")


class TrainSAEResult(ResultFile, TrainedDictionary):
    """The first dictionary's numbers, those of all where there are several, and the training."""

    saes: tuple[NamedDictionary, ...] = Field(default=(), description="all of them, where there are several")
    steps: int | None = Field(description="steps of training")
    tokens: int | None = Field(description="activations trained on")
    tokens_per_second: float | None = Field(description="speed")
    distinct_tokens: int | None = Field(description="different activations among them")
    width: int | None = Field(description="numbers in an activation")
    norm_scale: float | None = Field(description="what activations were multiplied by for training")
    training_seconds: float | None = Field(description="time of training, seconds")


class TrainSAEHeadline(Headline):
    """The first dictionary: in training, then held out."""

    fvu: float | None = Field(default=None, description="share of the variance unexplained")
    l0: float | None = Field(default=None, description="active latents a token")
    dead_fraction: float | None = Field(default=None, description="share of dead latents")
    ce_loss_recovered: float | None = Field(default=None, description="share of the loss kept; only known at the end")
    repeats: float | None = Field(default=None, description="share of latents that another start finds too")


class Training(Payload):
    """Series `training`: how the training goes."""

    tokens: int | None = Field(description="activations seen")
    tokens_per_second: float | None = Field(description="speed")
    lr: float | None = Field(description="learning rate")
    memory_bytes: int | None = Field(description="resident memory of the worker, bytes")
    device_memory_bytes: int | None = Field(description="most memory used on the device, bytes; null on a CPU")


class InTraining(Payload):
    """Series `sae0`, `sae1`, …: one dictionary on the newest batches."""

    fvu: float | None = Field(description="share of the variance unexplained")
    l0: float | None = Field(description="active latents a token")
    dead_fraction: float | None = Field(description="share of dead latents")
    loss: float | None = Field(description="the training loss")


class LossInTraining(Payload):
    """Series `loss0`, `loss1`, …: what one dictionary keeps of the model's loss."""

    ce_loss_recovered: float | None = Field(description="share of the loss kept")
    ce_sae: float | None = Field(description="loss with the reconstruction, nats a token")
    ce_clean: float | None = Field(description="loss of the model as it is")


class FiringRates(Payload):
    """How many latents fire how often."""

    low: float | None = Field(description="log10 of the lowest rate")
    high: float | None = Field(description="log10 of the highest")
    counts: tuple[int | None, ...] = Field(description="latents in each of equal bins between them")
    dead: int | None = Field(description="dead latents")
    latents: int | None = Field(description="latents in all")


class FiringHistograms(Payload):
    """Series `histogram`: firing rates of every dictionary."""

    names: tuple[str, ...] = Field(description="the dictionaries")
    saes: tuple[FiringRates, ...] = Field(description="rates of each")


LIVE: Mapping[str, type[Payload]] = {"training": Training, "sae*": InTraining, "loss*": LossInTraining, "histogram": FiringHistograms}
