"""What attribution_graph may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ...features import answer_sets
from ...specs import FILE, Table

COACTIVE, ALIKE = 0.5, 0.9


class Params(Table):
    """Whose report, and which edges."""

    report: str = Field(
        min_length=1, json_schema_extra=FILE, description="an inspect run or its report.json; builtin:left is a planted one"
    )
    coactivation: float = Field(COACTIVE, ge=0.0, le=1.0, description="least |correlation| of two features' activations for an edge")
    similarity_edges: bool = Field(True, description="edges between features whose fingerprints are alike")
    similarity: float = Field(ALIKE, ge=0.0, le=1.0, description="least similarity of two fingerprints for an edge")
    prompts: str | None = Field(
        None, json_schema_extra=FILE, description="scored prompts with answers, or builtin:capital: [model] is run for attribution edges"
    )
    features: Literal["hidden", "sae", "direction"] = Field("hidden", description="what the report's features are, for attribution")
    sae: str | None = Field(None, json_schema_extra=FILE, description="an SAE's folder, or a train_sae run, for features = 'sae'")
    directions: str | None = Field(
        None, json_schema_extra=FILE, description="a contrast run, or a .safetensors of vectors by id, for features = 'direction'"
    )
    layer_convention: Literal["auto", "block", "hidden_state_index"] = Field(
        "auto",
        description="what L2 means in the report: block, the output of block 2; hidden_state_index, interp-lab's "
        "hidden_states[2], the output of block 1; auto: what the report says of itself",
    )
    metric: Literal["logit_diff", "log_odds", "prob", "logprob"] | None = Field(
        None, description="of the answer, what edges end at; the one that the report's interventions were measured by when left out"
    )
    answers: list[str] = Field(default_factory=list, description=answer_sets.DESCRIPTION)
    most_prompts: int = Field(32, ge=1, description="positives that are run, and negatives that say what an absent feature is like")
    steps: int = Field(
        5, ge=1, le=100, description="points between all features absent and all present that gradients are averaged over; 1: present only"
    )
    edges: int = Field(100, ge=1, description="attribution edges kept, the strongest")
    exact: int = Field(20, ge=0, description="how many of them are checked by taking their source away")
    top: int = Field(30, ge=1, description="how many of the report's cards")
