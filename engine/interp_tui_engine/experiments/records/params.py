"""What records may be told, and what follows from it before anything is loaded. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ...specs import FILE, Table


class Params(Table):
    """Which prompts, and which features of which layers."""

    prompts: str = Field(
        min_length=1,
        description="a .jsonl of {text, criterion_score, prompt_id}, or builtin:capital and the like, in every wording",
        json_schema_extra=FILE,
    )
    features: Literal["hidden", "sae", "direction"] = Field("hidden", description="hidden dimensions, SAE latents, or directions")
    site: str = Field("resid_post", description="where hidden dimensions and directions are read")
    layers: list[Annotated[int, Field(ge=0)]] = Field(
        default_factory=list, description="of which layers; an SAE or contrast run says its own"
    )
    sae: str | None = Field(
        None, description="a train_sae run, a folder in the layout of SAE Lens, or interp-lab's sae.json", json_schema_extra=FILE
    )
    sae_name: str | None = Field(None, description="which one, where the run trained several")
    directions: str | None = Field(
        None,
        description="a contrast run, or a .safetensors of vectors; left out: the prompts' own contrast",
        json_schema_extra=FILE,
    )
    criterion: str = Field("", description="what the scores are about; names the contrast direction")
    fit_share: float = Field(0.5, gt=0, lt=1, description="share of the prompts that a contrast is fitted on; the rest are recorded")
    pool: Literal["last", "mean", "max", "tokens"] = Field("last", description="which token speaks for a prompt; tokens: a record each")
    max_length: int | None = Field(None, ge=1, description="cut prompts to this many tokens; longer than the model is an error")
    top_features: int = Field(0, ge=0, description="keep the strongest of each record; 0 keeps all that are not 0")
    model_name: str | None = Field(None, description="what the records call the model; its source when left out")
    gzip: bool = Field(False, description="write records.jsonl.gz")
    batch_tokens: int | None = Field(None, ge=1, description="tokens of one forward pass; left out: 1,024 on a CPU, 16,384 on a GPU")
