"""Records what devinterp 2.0.1 makes of its own samples: stores, and its susceptibilities and influences on them. Runs in devinterp's
environment, which `make bench` makes:

    .bench/devinterp/bin/python tests/references/record_devinterp.py tests/engine/estimators/recorded/devinterp.npz

One small random Llama, float32, on random tokens; an unrestricted run and two restricted ones, two chains of seven draws.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers
from datasets import Dataset
from devinterp.slt.bif import compute_bif
from devinterp.slt.sampling import sample
from devinterp.slt.susceptibilities import compute_susceptibilities
from devinterp.slt.weight_restrictions import create_param_masks

RESTRICTIONS = ("full", "l0h1", "l1 mlp")
SETTINGS = {"lr": 1e-3, "n_beta": 20.0, "localization": 50.0, "num_chains": 2, "num_draws": 7, "batch_size": 4, "num_init_loss_batches": 3}


def model() -> torch.nn.Module:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=40, max_position_embeddings=16, **shape))


def rows(seed: int) -> Dataset:
    ids = torch.randint(0, 40, (24, 7), generator=torch.Generator().manual_seed(seed))
    return Dataset.from_dict({"input_ids": ids.tolist()}).with_format("torch")


def main(path: Path) -> None:
    network, data = model(), {"pile": rows(1), "2code": rows(2), "a-b": rows(3)}
    found: dict[str, np.ndarray] = {}
    trees = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in RESTRICTIONS:
            masks = None if name == "full" else create_param_masks(network, name)
            store = Path(folder) / f"{name}.zarr"
            trees[name] = sample(
                network,
                data["pile"],
                {key: (value, 1) for key, value in data.items()},
                param_masks=masks,
                output_path=store,
                device="cpu",
                **SETTINGS,
            )
            ds = trees[name].dataset
            for key in ds.data_vars:
                if key.startswith(("loss_", "input_ids_", "init_loss")):
                    found[f"store/{name}/{key}"] = ds[key].values
                    found[f"dims/{name}/{key}"] = np.array(ds[key].dims)
            found[f"attrs/{name}"] = np.array(json.dumps(dict(ds.attrs), default=str))
        for include in (False, True):
            tree = compute_susceptibilities(trees, "pile", include_sampling_task=include)
            for node in ("susceptibilities", "context"):
                ds = tree[node].dataset
                for key in (*ds.data_vars, *ds.coords):
                    found[f"sus/{include}/{node}/{key}"] = ds[key].values
                found[f"sus/{include}/{node}/names"] = np.array(ds.attrs["dataset_id_to_name"])
        for method, reduce, covariance, average in itertools.product(
            ("token", "sequence"), ("stack", "mean"), (False, True), (False, True)
        ):
            if method == "sequence" and average:
                continue
            ds = compute_bif(
                trees["full"], correlation_method=method, reduce_chain_dimension_method=reduce, compute_covariance=covariance,
                average_tokenwise_bif=average, device="cpu",
            )  # fmt: skip
            name = f"bif/{method}/{reduce}/{covariance}/{average}"
            found[f"{name}/influences"] = ds["influences"].values
            found[f"{name}/dims"] = np.array(ds["influences"].dims)
            if average or method == "sequence":
                continue
            found[f"{name}/target_position"] = ds["target_position"].values
            found[f"{name}/input_ids"] = ds["input_ids"].values
    np.savez_compressed(path, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
