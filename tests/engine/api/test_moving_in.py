"""What code written for devinterp meets here: its exceptions, its kinds of data, its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import interp_tui
import interp_tui_engine as engine
from interp_tui_engine.errors import RunFailed, UserError

SETTINGS: dict[str, Any] = {"lr": 1e-3, "n_beta": 20.0, "num_chains": 2, "num_draws": 3, "batch_size": 4, "num_init_loss_batches": 1}


IDS = torch.randint(0, 24, (12, 6), generator=torch.Generator().manual_seed(1))
DATA = {"pile": (IDS, 1)}


def losses(model: nn.Module, data: Any, **changed: Any) -> np.ndarray:
    return engine.sample(model, data, {"pile": (data, 1)}, **{**SETTINGS, **changed})["loss_pile"].values


class Items(Dataset):
    """A torch Dataset, as a training script has one."""

    def __len__(self) -> int:
        return len(IDS)

    def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
        return {"input_ids": IDS[place], "attention_mask": torch.ones(6)}


FORMS: dict[str, Callable[[], Any]] = {
    "lists": lambda: IDS.tolist(),
    "mappings": lambda: [{"input_ids": row} for row in IDS.tolist()],
    "arrays": lambda: list(IDS.numpy()),
    "torch Dataset": Items,
    "TensorDataset": lambda: TensorDataset(IDS),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_any_form_are_the_same_rows(model: nn.Module, form: str) -> None:
    np.testing.assert_array_equal(losses(model, FORMS[form]()), losses(model, IDS))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (DataLoader(TensorDataset(IDS)), "DataLoader, which has no rows that can be counted"),
        ((row for row in IDS), "generator"),
        ("builtin:prose", "is a str"),
        (["a text", "another"], "item 0 of 'dataset' is no row of token ids: 'a text'"),
        ([[0.5, 1.0], [2.0, 3.0]], "item 0"),
    ],
)
def test_data_that_is_no_rows_is_a_type_error(model: nn.Module, data: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        engine.sample(model, data, {}, **SETTINGS)


@pytest.mark.parametrize("data", [[], [[1, 2, 3], [1, 2]], IDS.float(), IDS[0]])
def test_rows_that_cannot_be_used_are_a_value_error(model: nn.Module, data: Any) -> None:
    with pytest.raises(ValueError, match="dataset"):
        engine.sample(model, data, {}, **SETTINGS)


REFUSED: dict[str, tuple[type[Exception], Callable[[nn.Module], object]]] = {
    "a restriction that is no text": (TypeError, lambda model: engine.create_param_masks(model, 3)),  # type: ignore[arg-type]
    "a part there is not": (ValueError, lambda model: engine.create_param_masks(model, "l9")),
    "an argument of another sampler": (ValueError, lambda model: engine.sample(model, IDS, DATA, rmsprop_eps=0.1, **SETTINGS)),
    "a setting out of range": (ValueError, lambda model: engine.sample(model, IDS, DATA, **{**SETTINGS, "num_chains": 0})),
    "susceptibilities without the whole": (
        ValueError,
        lambda model: engine.susceptibilities(model, IDS, DATA, {}, sampling_task="pile", **SETTINGS),
    ),
    "a manifest": (ValueError, lambda model: engine.run({"kind": "llk"})),
    "a model there is not": (ValueError, lambda model: engine.load_model("builtin:tinny")),
}


@pytest.mark.parametrize("case", REFUSED)
def test_errors_are_of_the_types_that_callers_catch(model: nn.Module, case: str) -> None:
    """Both ours, with what to do about it, and the built-in one."""
    builtin, call = REFUSED[case]
    with pytest.raises(builtin) as caught:
        call(model)
    assert isinstance(caught.value, UserError) and "\n" not in caught.value.what.splitlines()[0]


def test_other_samples_in_the_place_are_a_runtime_error(model: nn.Module, tmp_path: Path) -> None:
    place = tmp_path / "samples.zarr"
    engine.sample(model, IDS, DATA, output_path=place, **SETTINGS)
    with pytest.raises(RuntimeError, match="holds other samples"):
        engine.sample(model, IDS, DATA, output_path=place, **{**SETTINGS, "n_beta": 21.0})


def test_a_missing_observable_is_a_key_error_that_reads_well(model: nn.Module) -> None:
    with pytest.raises(KeyError) as caught:
        engine.compute_bif(engine.sample(model, IDS, DATA, **SETTINGS), loss_keys=["pilo"])
    assert str(caught.value).startswith("loss_keys 'pilo'") or "'pilo' is no observable" in str(caught.value)


def test_chains_that_all_fail_are_a_runtime_error(model: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="all chains failed") as caught:
        engine.sample(model, IDS, DATA, **{**SETTINGS, "lr": 1e9, "n_beta": 1e9})
    assert isinstance(caught.value, RunFailed) and caught.value.advice


def test_names_are_exported_and_their_types_are_for_others_checkers_too() -> None:
    from interp_tui_engine.specs import DataSpec

    assert engine.DataSpec is DataSpec and set(engine.__all__) <= set(dir(engine))
    assert all(callable(getattr(engine, name)) for name in engine.__all__)
    for package in (engine, interp_tui):
        assert Path(package.__file__ or "").with_name("py.typed").is_file()


def test_one_setting_given_twice_is_refused(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="rmsprop_eps and sampling_method_kwargs"):
        engine.sample(model, IDS, DATA, sampling_method="rmsprop_sgld", rmsprop_eps=0.1, sampling_method_kwargs={"eps": 0.2}, **SETTINGS)


def test_chains_that_do_not_move_have_no_learning_coefficient_but_zero(model: nn.Module) -> None:
    """lr = 0 is devinterp's way to look at losses on the batches alone; a manifest that says it is refused."""
    still = engine.llc(model, IDS, DATA, **{**SETTINGS, "lr": 0.0})
    assert float(still["llc_mean"]) == 0.0
    with pytest.raises(ValueError, match=r"params\.lr"):
        engine.run({"kind": "llc", "model": {"source": "builtin:tiny"}, "params": {"lr": 0.0}})


def test_the_temperature_is_rows_over_their_logarithm() -> None:
    """32 / ln 32 = 9.2332; a DataLoader's batch_size counts, times the micro-batches of a step."""
    assert engine.default_nbeta(32) == pytest.approx(9.233248)
    assert engine.default_nbeta(DataLoader(TensorDataset(IDS), batch_size=4), 8) == engine.default_nbeta(32)
    with pytest.warns(UserWarning, match="not defined"):
        assert engine.default_nbeta(1) == 1.0
    with pytest.raises(TypeError, match="dataloader is a list"):
        engine.default_nbeta([32])
    with pytest.raises(ValueError, match="0 rows"):
        engine.default_nbeta(0)


def test_texts_become_rows_end_to_end() -> None:
    from datasets import Dataset as Table

    tokenizer = engine.load_model("builtin:tiny", device="cpu").tokenizer
    assert tokenizer is not None
    texts = ["The capital of France is Paris.", "", "Two and two are four.", "Grass is green."] * 3
    table = Table.from_dict({"text": texts})
    stream: list[int] = []
    for text in filter(None, texts):
        stream += ([tokenizer.eos_token_id] if stream else []) + tokenizer(text, add_special_tokens=False)["input_ids"]
    rows = engine.tokenize_and_concatenate(table, tokenizer, max_length=8, add_bos_token=False)
    assert torch.equal(rows["input_ids"][:].flatten(), torch.tensor(stream[: len(stream) // 8 * 8]))
    if tokenizer.bos_token_id is not None:
        with_bos = engine.tokenize_and_concatenate(table, tokenizer, max_length=8)["input_ids"][:]
        assert set(with_bos[:, 0].tolist()) == {tokenizer.bos_token_id}
        assert torch.equal(with_bos[:, 1:].flatten(), torch.tensor(stream[: len(stream) // 7 * 7]))
    with pytest.raises(ValueError, match="no column 'texts'"):
        engine.tokenize_and_concatenate(table, tokenizer, column_name="texts")
    with pytest.raises(ValueError, match="one row needs 4096"):
        engine.tokenize_and_concatenate(table, tokenizer, max_length=4096, add_bos_token=False)
