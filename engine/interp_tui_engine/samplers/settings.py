"""The knobs of a sampling run. Torch-free: manifests are validated and forms drawn from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ..specs import Table
from .registry import METHODS

if TYPE_CHECKING:
    SamplingMethod = str
else:
    # The choices are the sampler files that exist, so that a form offers a new one as soon as its file is there.
    SamplingMethod = Literal[tuple(METHODS)]


class SamplerConfig(Table):
    """Settings of SGLD-type samplers; names and defaults are devinterp's.

    One step is w <- w - (lr/2) m G [n_beta g + localization (w - w0) + llc_weight_decay w] + sqrt(lr) m sqrt(G) N(0, noise_level^2).
    """

    lr: float = Field(ge=0, allow_inf_nan=False, description="ε, step size; typical: 1e-3 at 3M parameters, 1e-4 at 160M")
    n_beta: float = Field(ge=0, allow_inf_nan=False, description="nβ, inverse temperature times data size; multiplies the mean loss")

    batch_size: int = Field(default=32, gt=0, description="rows in one micro-batch")
    num_chains: int = Field(default=4, gt=0, description="independent chains")
    num_draws: int = Field(default=200, gt=0, description="draws kept per chain")
    num_burnin_steps: int = Field(default=0, ge=0, description="steps before the first draw")
    num_steps_bw_draws: int = Field(default=1, gt=0, description="steps from one draw to the next")
    gradient_accumulation_steps: int = Field(default=1, gt=0, description="micro-batches averaged into one step's gradient")
    num_init_loss_batches: int = Field(default=32, gt=0, description="batches for the loss at w₀, times gradient_accumulation_steps")

    baseline: Literal["paired", "init"] = Field(
        default="paired", description="rows of the loss at w₀: paired, those of each step; init, the first, as devinterp"
    )

    init_seed: int = Field(default=100, description="seed of noise and data order")

    localization: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="γ, strength of the pull towards the initial weights w₀"
    )
    noise_level: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="σ of the injected noise; only 1 samples the posterior")
    llc_weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="λ, strength of the pull towards zero")
    bounding_box_size: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="keep every weight within w₀ ± this; unbounded when left out"
    )

    sampling_method: SamplingMethod = Field(default="sgmcmc_sgld", description="which sampler")
    sampling_method_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="the sampler's own settings: alpha, eps of rmsprop_sgld; diffusion_factor of sgnht"
    )

    init_noise: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="σ of noise added to each chain's weights before its first step"
    )
    save_metrics: bool = Field(default=False, description="store norms and dot products of each step's parts")
    acceptance_every: int = Field(
        default=0, ge=0, description="steps from one look at the MALA acceptance to the next, each a gradient more; 0 for none"
    )
    shuffle: bool = Field(default=True, description="shuffle the rows once per epoch")
    epoch_mode: Literal["once", "cycle"] = Field(
        default="cycle", description="cycle replays the first epoch's order; once stops with an error at its end"
    )
    match_sampling_input_ids_across_chains: bool = Field(default=True, description="all chains see the same batches in the same order")

    @model_validator(mode="after")
    def _method_knows_its_kwargs(self) -> SamplerConfig:
        method = METHODS[self.sampling_method]
        method.check(self.sampling_method_kwargs)
        if not method.langevin and (self.save_metrics or self.acceptance_every):
            name = "save_metrics" if self.save_metrics else "acceptance_every"
            raise ValueError(f"{name} takes Langevin steps apart, and {self.sampling_method} takes none; leave it out, or use sgmcmc_sgld")
        if self.acceptance_every and self.noise_level == 0:
            raise ValueError("acceptance_every needs noise: without it a step proposes nothing, and noise_level = 0")
        return self

    @property
    def num_sgld_steps(self) -> int:
        """Steps of one chain: burn-in, then num_steps_bw_draws for each draw."""
        return self.num_burnin_steps + self.num_draws * self.num_steps_bw_draws

    @property
    def rows_per_step(self) -> int:
        """Rows that one step's gradient is averaged over."""
        return self.batch_size * self.gradient_accumulation_steps

    @property
    def num_acceptances(self) -> int:
        """Looks at the MALA acceptance in one chain."""
        return -(-self.num_sgld_steps // self.acceptance_every) if self.acceptance_every else 0

    def acceptance_at(self, step: int) -> int | None:
        """Which look at the MALA acceptance this step is, if any: the first step, then every `acceptance_every`."""
        return step // self.acceptance_every if self.acceptance_every and step % self.acceptance_every == 0 else None

    def draw_at(self, step: int) -> int | None:
        """The draw taken after the update of this step, if any: step `burnin + k * num_steps_bw_draws` gives draw k."""
        draw, since = divmod(step - self.num_burnin_steps, self.num_steps_bw_draws)
        return draw if draw >= 0 and since == 0 else None
