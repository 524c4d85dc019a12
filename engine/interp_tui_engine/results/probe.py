"""Result of `probe`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile, Row

ByPlace = Mapping[str, Row]
"""A number by place (site, and position where there are several), then by layer."""
Confusion = tuple[tuple[int, ...], ...]
"""Counts, [true class][predicted class]."""


class PlaceMeasures(Payload):
    """Held-out measures of the probe at one place."""

    accuracy: float | None = Field(description="share of rows that are told right")
    auroc: float | None = Field(description="area under the ROC curve")
    auroc_low: float | None = Field(description="lower end of its 95 % interval")
    auroc_high: float | None = Field(description="upper end")
    control_accuracy: float | None = Field(description="accuracy on labels that were shuffled")
    recurring_accuracy: float | None = Field(description="accuracy on the folds of that control")
    p: float | None = Field(description="share of permuted labels that do as well")


class PlaceScores(PlaceMeasures):
    """With what the rows were read as."""

    confusion: Confusion = Field(description="counts, [true][predicted]")


class ChosenPlace(Payload):
    """What choosing the best place cost."""

    places: int | None = Field(description="places it was chosen among")
    auroc_apart: float | None = Field(description="AUROC on folds that it was not chosen on")
    family_p: float | None = Field(description="p of the best among all places")
    permuted_auroc: float | None = Field(description="mean AUROC of the best place for permuted labels")


class BestPlace(PlaceScores, ChosenPlace):
    """The place with the largest AUROC, and what choosing it cost."""

    site: str = Field(description="the place")
    selectivity: float | None = Field(description="recurring accuracy less the control's")
    over_majority: float | None = Field(description="accuracy less that of always naming the larger class")


class ProbeResult(ResultFile):
    """How well labels can be read off, by place and layer."""

    layers: tuple[int, ...] = Field(description="the layers")
    accuracy: ByPlace = Field(description="share of held-out rows told right")
    auroc: ByPlace = Field(description="area under the ROC curve")
    auroc_low: ByPlace = Field(description="lower end of its 95 % interval")
    auroc_high: ByPlace = Field(description="upper end")
    control_accuracy: ByPlace = Field(description="accuracy on shuffled labels")
    recurring_accuracy: ByPlace = Field(description="accuracy on the folds of that control")
    p: ByPlace = Field(description="share of permuted labels that do as well")
    selectivity: ByPlace = Field(description="recurring accuracy less the control's")
    best_layer: int | None = Field(description="layer of the largest AUROC")
    best: BestPlace = Field(description="the place of the largest AUROC")
    classes: Mapping[str, int] = Field(description="rows of each class")
    majority: float | None = Field(description="share of the larger class")
    groups: int | None = Field(description="groups of rows that stay on one side of every division")
    notes: tuple[str, ...] = Field(description="what is odd about the rows")


class ProbeHeadline(Headline):
    """The best place; while probes are fitted, the newest."""

    best_layer: int | None = Field(default=None, description="layer of the largest AUROC")
    auroc: float | None = Field(default=None, description="its AUROC")
    accuracy: float | None = Field(default=None, description="its accuracy")
    majority: float | None = Field(default=None, description="share of the larger class")


class ProbeCell(PlaceScores):
    """Series `cells`: the probe at one place and layer."""

    place: str = Field(description="the place")
    layer: int | None = Field(description="the layer")
    places: tuple[str, ...] = Field(default=(), description="all places, in the first event")
    layers: int | None = Field(default=None, description="layers of the model, in the first event")
    classes: tuple[str, ...] = Field(default=(), description="the classes, in the first event")
    probe: str = Field(default="", description="linear, mlp or mean_difference, in the first event")


LIVE: Mapping[str, type[Payload]] = {"cells": ProbeCell}
