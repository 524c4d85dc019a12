"""What inspect may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...specs import FILE, Table


class Params(Table):
    """Where the evidence is, and how it is weighed."""

    criterion: str = Field(min_length=1, description="the criterion in one sentence")
    backend: Literal["records", "features", "sae", "directions", "neuronpedia", "saelens", "scope", "goodfire", "toy"] = Field(
        "records",
        description="where features come from: files (records, features); [model] on prompts (sae, directions); services; a known truth",
    )
    records: list[str] = Field(default_factory=list, json_schema_extra=FILE, description="activation records: files or run folders")
    features: str | None = Field(None, json_schema_extra=FILE, description="features described without activations: a JSONL file")
    neuronpedia: list[str] = Field(
        default_factory=list, description="features such as 'gpt2-small@6-res_scefr-ajt:650'; NEURONPEDIA_BASE_URL and _API_KEY are heeded"
    )
    prompts: str | None = Field(
        None, json_schema_extra=FILE, description="scored prompts that sae and directions are recorded on; builtin:capital and the like"
    )
    sae: str | None = Field(
        None,
        json_schema_extra=FILE,
        description="backend sae: a train_sae run, a folder in the layout of SAE Lens, or interp-lab's sae.json",
    )
    directions: str | None = Field(
        None, json_schema_extra=FILE, description="backend directions: a .safetensors of vectors; the prompts' own contrast when left out"
    )
    layers: list[int] = Field(default_factory=list, description="backend directions: of which layers; an SAE says its own")
    repo: str | None = Field(None, description="backends saelens and scope: a repository on the hub; HF_ENDPOINT and HF_TOKEN are heeded")
    sae_path: str = Field("", description="… and the dictionary's folder in it (qwen-scope: its file, such as layer7)")
    suite: Literal["gemma-scope", "qwen-scope"] = Field("gemma-scope", description="backend scope: whose files they are")
    latents: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, description="… and which latents")
    search_top: int = Field(20, ge=1, le=1000, description="backend goodfire: how many features its search for the criterion may give")
    interventions: str | None = Field(None, json_schema_extra=FILE, description="intervention rows: a file or a run folder")
    any_criterion: bool = Field(False, description="use intervention rows that were made for another criterion too")
    model: str | None = Field(
        None, description="the model whose rows count, where a file has several; backend toy: a name, by which toy models differ"
    )
    rule: str | None = Field(None, description="score texts by 'words: a, b' or 'regex: …' in place of the file's scores")
    judge: str | None = Field(None, description="score texts by a model behind this OpenAI-compatible URL; its key from INTERP_TUI_API_KEY")
    judge_model: str = Field("", description="the judge's model, as its endpoint names it")
    judge_calls: int = Field(500, ge=1, description="texts the judge is asked about at most; each text is asked about once")
    labeller: str | None = Field(
        None, description="label the features on cards by a model behind this OpenAI-compatible URL; its key from INTERP_TUI_API_KEY"
    )
    labeller_model: str = Field("", description="the labeller's model, as its endpoint names it")
    labeller_calls: int = Field(200, ge=1, description="questions the labeller is asked at most: two a feature, a label and its test")
    other_criteria: dict[str, str] = Field(default_factory=dict, description="name = rule: criteria a feature should be told apart from")
    ranking: Literal["evidence", "interp-lab"] = Field("evidence", description="held-out evidence, or the score of interp-lab 3.1")
    positive_above: float = Field(0.5, description="rows that score above this are positives")
    held_out: float = Field(0.5, ge=0.0, lt=1.0, description="share of the texts that numbers are reported on; 0 ranks on all")
    alpha: float = Field(0.05, gt=0.0, lt=1.0, description="false discovery rate")
    permutations: int = Field(200, ge=0, le=10_000, description="label shuffles for the family-wise null")
    min_rows: int = Field(5, ge=1, description="held-out rows a feature must fire on to be tested")
    cards: int = Field(50, ge=1, le=1000, description="features that get a card")
    examples: int = Field(5, ge=0, le=100, description="texts on a card")
