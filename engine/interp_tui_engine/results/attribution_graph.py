"""Result of `attribution_graph`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ..payload import Headline, Payload, ResultFile


class Checked(Payload):
    """Attributions beside exact effects, of edges to one kind of target."""

    edges: int | None = Field(description="edges checked")
    correlation: float | None = Field(description="of the two; null for fewer than three edges")
    opposed: int | None = Field(description="edges whose signs differ")


class CheckedEdges(Payload):
    """How attributions stand beside exact effects."""

    checked: int | None = Field(default=None, description="attribution edges with an exact effect")
    opposed: int | None = Field(default=None, description="of those, edges whose signs differ")
    correlation_with_exact: float | None = Field(default=None, description="over all edges, where they are of one kind")
    checked_criterion: Checked | None = Field(default=None, description="edges to the criterion")
    checked_features: Checked | None = Field(default=None, description="edges to features")


class Attributed(CheckedEdges):
    """What a run with a model adds."""

    metric: str = Field(default="", description="what edges to the criterion are measured in")
    prompts: int | None = Field(default=None, description="prompts that attributions are over")
    attribution: int | None = Field(description="edges of attributions")


class AttributionGraphResult(ResultFile, Attributed):
    """How features hang together: counts; the graph itself is in a file."""

    nodes: int | None = Field(description="features, and the criterion")
    edges: int | None = Field(description="edges of all types")
    graph: str = Field(description="file of the graph, in the run folder")
    picture: str = Field(description="file of its picture")
    feature_count: int | None = Field(description="features")
    coactivation_threshold: float | None = Field(description="least correlation that makes an edge; null makes none")
    similarity_threshold: float | None = Field(description="least similarity that makes an edge; null makes none")
    causal_effect: int | None = Field(description="edges of measured effects on the criterion")
    coactivation: int | None = Field(description="edges of features that fire together")
    fingerprint_similarity: int | None = Field(description="edges of features that are alike")


class AttributionGraphHeadline(Headline):
    """The graph's size."""

    nodes: int | None = Field(default=None, description="features, and the criterion")
    edges: int | None = Field(default=None, description="edges of all types")
    causal_effect: int | None = Field(default=None, description="of those, measured effects on the criterion")


class GraphNode(Payload):
    """A feature or the criterion."""

    id: str = Field(description="MODEL:FEATURE, or 'criterion'")
    type: str = Field(description="feature or criterion")
    label: str | None = Field(description="what it is called")
    model: str | None = Field(description="its model")
    feature_id: str = Field(default="", description="the feature, as its run names it")
    layer: int | None = Field(default=None, description="its layer")
    importance: float | None = Field(default=None, description="what its ranking ordered by")
    association: float | None = Field(default=None, description="|correlation| with the criterion")
    causal_effect: float | None = Field(default=None, description="|effect| on the criterion")


class EdgeInterval(Payload):
    """95 % interval of an effect."""

    low: float | None = Field(description="lower end")
    high: float | None = Field(description="upper end")


class GraphEdge(Payload):
    """What connects two nodes."""

    source: str = Field(description="node it comes from")
    target: str = Field(description="node it goes to")
    type: str = Field(description="causal_effect, coactivation, fingerprint_similarity or attribution")
    weight: float | None = Field(description="what it is drawn by: effect, correlation, similarity or attribution")
    effect: float | None = Field(default=None, description="size of the effect on the criterion")
    signed_effect: float | None = Field(default=None, description="the effect")
    specificity: float | None = Field(default=None, description="effect less side effect, as a share")
    side_effect: float | None = Field(default=None, description="mean |Δ| on other prompts")
    strong_causal_score: float | None = Field(default=None, description="score of a strong effect without side effects")
    confidence_interval: EdgeInterval | None = Field(default=None, description="of the effect")
    record_count: int | None = Field(default=None, description="interventions behind it")
    correlation: float | None = Field(default=None, description="of the two features' activations")
    similarity: float | None = Field(default=None, description="of the two fingerprints, from 0 to 1")
    attribution: float | None = Field(default=None, description="gradient × activation")
    exact: float | None = Field(default=None, description="the same measured by taking the source away")


class GraphCase(Payload):
    """Series `case`: one node with its strongest edges."""

    node: GraphNode = Field(description="the node")
    edges: tuple[GraphEdge, ...] = Field(description="its edges, strongest first")


LIVE: Mapping[str, type[Payload]] = {"case": GraphCase}
