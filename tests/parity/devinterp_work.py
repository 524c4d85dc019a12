"""What a user of devinterp does, written once: each side runs it with the library's own functions. Runs in either environment.

Models are small and random, made here from a seed; without noise both libraries take the same steps.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from torch import nn

Numbers = list[float]
SETTINGS: dict[str, Any] = {
    **{"lr": 1e-3, "n_beta": 20.0, "localization": 50.0, "num_chains": 2, "num_draws": 5, "batch_size": 4, "num_init_loss_batches": 3},
    **{"noise_level": 0.0, "device": "cpu"},
}


class Bare(nn.Module):
    """A module of one's own that returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(40, 16), nn.Linear(16, 16), nn.Linear(16, 40)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.mix(self.embed(input_ids))))


def llama() -> nn.Module:
    """Two layers, four heads, two key-value heads."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=40, max_position_embeddings=16, **shape))


def bare() -> nn.Module:
    torch.manual_seed(0)
    return Bare()


def dropped() -> nn.Module:
    """A GPT-2, whose configuration has dropout."""
    torch.manual_seed(0)
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "vocab_size": 40}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))


def rows(seed: int) -> Dataset:
    ids = torch.randint(0, 40, (24, 7), generator=torch.Generator().manual_seed(seed))
    return Dataset.from_dict({"input_ids": ids.tolist()}).with_format("torch")


DATA = {"pile": rows(1), "2code": rows(2)}
OBSERVED = {name: (data, 1) for name, data in DATA.items()}


class Work:
    """The rows' work with one library's functions: sample, llc, compute_llc, bif, susceptibilities, create_param_masks, …

    `as_theirs`: keywords by which the library does what devinterp does where it would do otherwise; none for devinterp itself.
    """

    def __init__(self, library: SimpleNamespace, **as_theirs: Any) -> None:
        self.library, self.as_theirs = library, as_theirs

    def _sampled(self, model: nn.Module, **changed: Any) -> Any:
        given = {**SETTINGS, **changed}
        return self.library.sample(model, DATA["pile"], OBSERVED, **given).dataset

    def sample(self) -> Numbers:
        ds = self._sampled(llama())
        return flat(ds["sampling_loss_micro"], ds["sampling_loss"], ds["loss_pile"], ds["loss__2code"], ds["init_loss"])

    def sample_rmsprop(self) -> Numbers:
        ds = self._sampled(llama(), sampling_method="rmsprop_sgld", rmsprop_eps=0.2, rmsprop_alpha=0.95)
        return flat(ds["sampling_loss_micro"], ds["loss_pile"])

    def sample_kwargs(self) -> Numbers:
        ds = self._sampled(llama(), sampling_method="rmsprop_sgld", sampling_method_kwargs={"eps": 0.2, "alpha": 0.95})
        return flat(ds["sampling_loss_micro"], ds["loss_pile"])

    def sample_accumulated(self) -> Numbers:
        ds = self._sampled(llama(), gradient_accumulation_steps=2, num_steps_bw_draws=2, num_burnin_steps=3, llc_weight_decay=2.0)
        return flat(ds["sampling_loss_micro"], ds["sampling_loss"], ds["loss_pile"])

    def sample_box(self) -> Numbers:
        return flat(self._sampled(llama(), bounding_box_size=1e-3, n_beta=2000.0)["sampling_loss_micro"])

    def input_ids(self) -> Numbers:
        apart = self._sampled(bare(), match_sampling_input_ids_across_chains=False)["sampling_input_ids_micro"]
        return flat(self._sampled(bare())["sampling_input_ids_micro"], apart[0])

    def input_ids_of_other_chains(self) -> Numbers:
        return flat(self._sampled(bare(), match_sampling_input_ids_across_chains=False)["sampling_input_ids_micro"][1])

    def metrics(self) -> Numbers:
        ds = self._sampled(llama(), save_metrics=True)
        names = ("scaled_grad", "unscaled_grad", "localization", "weight_decay", "noise", "distance", "dot_grad_prior")
        return [*flat(*(ds[f"metrics_{name}"] for name in names)), float(ds.attrs["metrics_numel"])]

    def bare_module(self) -> Numbers:
        ds = self._sampled(bare())
        return flat(ds["sampling_loss_micro"], ds["loss__2code"])

    def bare_masks(self) -> Numbers:
        mask = torch.zeros(16, 16)
        mask[:, :8] = 1
        return flat(self._sampled(bare(), param_masks={"mix.weight": mask, "out.bias": None})["sampling_loss_micro"])

    def doubled_loss(self) -> Numbers:
        def doubled(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
            log_p = model(ids)[..., :-1, :].log_softmax(-1)
            return -2.0 * log_p.gather(-1, ids[..., 1:].unsqueeze(-1)).squeeze(-1)

        ds = self._sampled(bare(), loss_fn=doubled, n_beta=10.0)
        return flat(ds["sampling_loss_micro"])

    def llc(self) -> Numbers:
        """As devinterp computes it: compared with the first batches, burn-in in the mean."""
        given = {**SETTINGS, "num_burnin_steps": 4, **self.as_theirs}
        found = self.library.llc(llama(), DATA["pile"], OBSERVED, **given)
        return flat(
            found["llc_mean"], found["llc_std"], found["llc_per_chain"], found["loss_trace"], found["init_loss"], found["llc_scalar"]
        )

    def llc_default(self) -> Numbers:
        found = self.library.llc(llama(), DATA["pile"], OBSERVED, **{**SETTINGS, "num_burnin_steps": 4})
        return flat(found["llc_mean"])

    def llc_still(self) -> Numbers:
        found = self.library.llc(llama(), DATA["pile"], OBSERVED, **{**SETTINGS, "lr": 0.0, "num_init_loss_batches": 5, **self.as_theirs})
        return flat(found["llc_mean"], found["init_loss"])

    def scaled_llc(self) -> Numbers:
        """λ̂ of twice the loss at half the temperature, less that of the loss: 0."""
        base = self.library.llc(bare(), DATA["pile"], OBSERVED, **{**SETTINGS, **self.as_theirs})

        def doubled(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
            log_p = model(ids)[..., :-1, :].log_softmax(-1)
            return -2.0 * log_p.gather(-1, ids[..., 1:].unsqueeze(-1)).squeeze(-1)

        twice = self.library.llc(bare(), DATA["pile"], OBSERVED, loss_fn=doubled, **{**SETTINGS, "n_beta": 10.0, **self.as_theirs})
        return [float(twice["llc_mean"]) - float(base["llc_mean"])]

    def bif_tokens(self) -> Numbers:
        found = self.library.bif(llama(), DATA["pile"], OBSERVED, correlation_method="token", compute_covariance=True, **SETTINGS)
        return flat(found["influences"] * 1e3)

    def bif_sequences(self) -> Numbers:
        found = self.library.bif(llama(), DATA["pile"], OBSERVED, correlation_method="sequence", **SETTINGS)
        return flat(found["influences"])

    def susceptibilities(self) -> Numbers:
        model = llama()
        parts = {"full": None, **{name: self.library.create_param_masks(model, name) for name in ("l0h1", "l1 mlp", "l1g0", "embed")}}
        changed = {"baseline_loss": "init"} if self.as_theirs else {}
        tree = self.library.susceptibilities(model, DATA["pile"], OBSERVED, parts, sampling_task="pile", **SETTINGS, **changed)
        sus = tree["susceptibilities"].dataset
        assert list(sus["wr"].values) == ["l0h1", "l1 mlp", "l1g0", "embed"]
        return flat(sus["sus"] * 1e3)

    def susceptibilities_default(self) -> Numbers:
        model = llama()
        parts = {"full": None, "l0h1": self.library.create_param_masks(model, "l0h1")}
        tree = self.library.susceptibilities(model, DATA["pile"], OBSERVED, parts, sampling_task="pile", **SETTINGS)
        return flat(tree["susceptibilities"].dataset["sus"] * 1e3)

    def head(self) -> Numbers:
        """Elements that 'l0h1' selects where keys and values are shared."""
        return [float(sum(int(mask.bool().sum()) for mask in self.library.create_param_masks(llama(), "l0h1").values()))]

    def masks(self) -> Numbers:
        model = llama()
        counts = []
        for restriction in ("full", "l0", "l1h2", "L0H1", "l0g1", "l0 attn", "l1 mlp", "embed", ["l0h1", "l1 mlp", "l0h2"]):
            masks = self.library.create_param_masks(model, restriction)
            sizes = {name: p.numel() for name, p in model.named_parameters()}
            counts.append(float(sum(sizes[name] if mask is None else int(mask.bool().sum()) for name, mask in masks.items())))
        return counts

    def single_chain(self) -> Numbers:
        losses: list[float] = []

        def evaluate(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, Any]]:
            ids = batch["input_ids"]
            log_p = model(ids)[..., :-1, :].log_softmax(-1)
            return -log_p.gather(-1, ids[..., 1:].unsqueeze(-1)).squeeze(-1), {}

        masks = {name: None for name, _ in bare().named_parameters()}
        self.library.sample_single_chain(
            bare(), DATA["pile"], evaluate, masks, num_draws=6, sampling_method_kwargs={"lr": 1e-3, "nbeta": 20.0, "noise_level": 0.0},
            seed=100, dataloader_seed=100, batch_size=4, callbacks=[lambda loss, **rest: losses.append(float(loss.mean()))],
            **self.library.single_chain,
        )  # fmt: skip
        return losses

    def default_nbeta(self) -> Numbers:
        loader = torch.utils.data.DataLoader(DATA["pile"], batch_size=8)
        return [self.library.default_nbeta(32), self.library.default_nbeta(loader), self.library.default_nbeta(loader, 4)]

    def errors(self) -> Numbers:
        """1 for each call that raises the built-in type that callers catch."""
        model, data = bare(), DATA["pile"]
        calls: list[tuple[type[Exception], Callable[[], Any]]] = [
            (ValueError, lambda: self._sampled(model, rmsprop_eps=0.5)),
            (ValueError, lambda: self._sampled(model, rmsprop_alpha=0.5)),
            (
                ValueError,
                lambda: self._sampled(model, sampling_method="rmsprop_sgld", rmsprop_eps=0.3, sampling_method_kwargs={"eps": 0.3}),
            ),
            (ValueError, lambda: self.library.create_param_masks(llama(), "l9")),
            (ValueError, lambda: self.library.create_param_masks(llama(), ["full", "l0"])),
            (TypeError, lambda: self.library.create_param_masks(llama(), 3)),
            (ValueError, lambda: self.library.susceptibilities(model, data, OBSERVED, {}, sampling_task="pile", **SETTINGS)),
        ]
        return [float(raises(kind, call)) for kind, call in calls]

    def caching(self) -> Numbers:
        """A finished store is taken for what it is; another temperature is a RuntimeError."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.zarr"
            first = self._sampled(bare(), output_path=path)["sampling_loss_micro"].values
            again = self._sampled(bare(), output_path=path)["sampling_loss_micro"].values
            other = raises(RuntimeError, lambda: self._sampled(bare(), output_path=path, n_beta=21.0))
        return [float(np.array_equal(first, again)), float(other)]

    def caching_other_model(self) -> Numbers:
        """1 where a store of another model's samples is refused."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "samples.zarr"
            self._sampled(bare(), output_path=path)
            torch.manual_seed(1)
            return [float(raises(RuntimeError, lambda: self._sampled(Bare(), output_path=path)))]

    def dropout(self) -> Numbers:
        return flat(self._sampled(dropped())["sampling_loss_micro"])

    def noise(self) -> Numbers:
        return flat(self._sampled(bare(), noise_level=1.0)["sampling_loss_micro"])

    def failed_chains(self) -> Numbers:
        """1 where sampling that has left all numbers is an error."""
        return [float(raises(RuntimeError, lambda: self._sampled(bare(), lr=1e9, n_beta=1e9)))]

    def embed_tied(self) -> Numbers:
        """Elements of 'unembed' where it is the embedding's matrix."""
        masks = self.library.create_param_masks(dropped(), "unembed")
        return [float(sum(dict(dropped().named_parameters())[name].numel() for name in masks))]

    def numbers(self) -> dict[str, Numbers | None]:
        """Every row's numbers, or None where the call fails."""
        found: dict[str, Numbers | None] = {}
        for name in WORK:
            try:
                found[name] = getattr(self, name)()
            except Exception as error:
                print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
                found[name] = None
        return found


WORK = tuple(name for name in vars(Work) if not name.startswith("_") and name != "numbers")


def flat(*arrays: Any) -> Numbers:
    """All numbers one after another; of more than 64, 64 of them at even distances, then their sum and that of their squares."""
    values = np.concatenate([np.asarray(getattr(array, "values", array), np.float64).ravel() for array in arrays])
    if values.size <= 64:
        return [float(value) for value in values]
    some = values[np.linspace(0, values.size - 1, 64).astype(int)]
    return [float(value) for value in (*some, values.sum(), np.square(values).sum())]


def raises(kind: type[Exception], call: Callable[[], Any]) -> bool:
    """Whether a call raises that built-in type."""
    try:
        call()
    except kind:
        return True
    except Exception:
        return False
    return False


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    from devinterp.slt import bif, llc, sampler, sampling, susceptibilities, weight_restrictions
    from devinterp.utils import default_nbeta

    theirs = SimpleNamespace(
        sample=sampling.sample, llc=llc.llc, bif=bif.bif, susceptibilities=susceptibilities.susceptibilities,
        create_param_masks=weight_restrictions.create_param_masks, default_nbeta=default_nbeta,
        sample_single_chain=sampler.sample_single_chain, single_chain={},
    )  # fmt: skip
    print(json.dumps(Work(theirs).numbers()))
