"""Result of `circuit`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile, Row
from .reach import Reach


class CircuitNode(Payload):
    """A head or MLP of the circuit."""

    name: str = Field(description="L1H0, L0.mlp")
    layer: int | None = Field(description="its layer; null for what has none")
    head: int | None = Field(description="its head; null for an MLP")
    effect: float | None = Field(description="share of the reach that goes without it")
    estimate: float | None = Field(description="the same by gradients; null where there is none")
    role: str | None = Field(default=None, description="what the head is: induction, previous token, …")
    scores: Mapping[str, float | None] = Field(default_factory=dict, description="its scores, from 0 to 1")


class CircuitEdge(Payload):
    """What one part tells another."""

    name: str = Field(description="FROM->TO, with the input it goes to")
    effect: float | None = Field(description="share of the reach that goes without it")
    estimate: float | None = Field(description="the same by gradients; null where there is none")


class CircuitHeldOut(Payload):
    """Faithfulness on the pairs that a circuit was not found on."""

    faithfulness: float | None = Field(description="mean over pairs")
    std_error: float | None = Field(description="its standard error")
    low: float | None = Field(description="lower end of its 95 % interval")
    high: float | None = Field(description="upper end")
    each: Row = Field(description="of each half's circuit")
    parts: tuple[int | None, ...] = Field(description="size of each half's circuit")


class RandomCircuits(Payload):
    """Random circuits of the same size."""

    faithfulness: Row = Field(description="of each of them")
    mean: float | None = Field(description="their mean")
    max: float | None = Field(description="the largest")


class CircuitResult(ResultFile):
    """The parts a behaviour needs, and how far they are enough."""

    level: str = Field(description="node or edge")
    method: str = Field(description="how the circuit was found")
    nodes: tuple[CircuitNode, ...] = Field(description="its heads and MLPs")
    edges: tuple[CircuitEdge, ...] = Field(description="its edges, strongest first; empty at the level of nodes")
    faithfulness: float | None = Field(description="share of the behaviour that the circuit alone brings about")
    completeness: float | None = Field(description="share that is left without the circuit")
    minimality: float | None = Field(description="least share that goes with one of its parts")
    held_out: CircuitHeldOut | None = Field(description="on pairs it was not found on; null for one pair")
    random: RandomCircuits = Field(description="the control")
    stability: float | None = Field(description="overlap of the circuits of two halves of the pairs")
    stability_resampled: float | None = Field(description="overlap with circuits of resampled pairs")
    clean_metric: float | None = Field(description="the metric on clean prompts")
    empty_metric: float | None = Field(description="the metric with every head and MLP ablated")
    pairs: int | None = Field(description="pairs of prompts")
    reach: Reach = Field(description="how far the two ends lie apart")
    parts: int | None = Field(description="parts considered")
    tried: int | None = Field(description="parts tried one by one")
    correlation: float | None = Field(description="of estimates with exact effects")
    heads_per_kv: int | None = Field(description="query heads that share keys and values")


class CircuitHeadline(Headline):
    """The circuit's size and how far it is enough."""

    nodes: int | None = Field(default=None, description="heads and MLPs")
    edges: int | None = Field(default=None, description="edges")
    faithfulness: float | None = Field(default=None, description="share that the circuit alone brings about")
    held_out: float | None = Field(default=None, description="the same on pairs it was not found on")
    completeness: float | None = Field(default=None, description="share that is left without it")
    clean_metric: float | None = Field(default=None, description="the metric on clean prompts, while parts are tried")
    empty_metric: float | None = Field(default=None, description="the metric with every part ablated, while parts are tried")
    verdict: str = Field(default="", description="what speaks against the numbers")


class EdgeEffect(Payload):
    """An edge of the circuit that was found."""

    edge: str = Field(description="FROM->TO")
    effect: float | None = Field(description="share of the reach that goes without it")


class CircuitCell(Payload):
    """Series `cells`: a node or an edge has been tried; at the end the circuit."""

    node: str = Field(default="", description="the node tried")
    layer: int | None = Field(default=None, description="its layer")
    head: int | None = Field(default=None, description="its head")
    edge: str = Field(default="", description="the edge tried")
    loss: float | None = Field(default=None, description="what goes without it, in units of the metric")
    kept: bool | None = Field(default=None, description="whether it stays in the circuit")
    faithfulness: float | None = Field(default=None, description="of the circuit so far")
    clean_metric: float | None = Field(default=None, description="the metric on clean prompts")
    empty_metric: float | None = Field(default=None, description="the metric with every part ablated")
    circuit: tuple[CircuitNode, ...] | None = Field(default=None, description="the nodes of the circuit, in the last event")
    edges: tuple[EdgeEffect, ...] = Field(default=(), description="its edges, in the last event")
    heads_per_kv: int | None = Field(default=None, description="query heads that share keys and values, in the last event")
    held_out: CircuitHeldOut | None = Field(default=None, description="on pairs it was not found on, in the last event")
    random: float | None = Field(default=None, description="mean faithfulness of random circuits, in the last event")


LIVE: Mapping[str, type[Payload]] = {"cells": CircuitCell}
