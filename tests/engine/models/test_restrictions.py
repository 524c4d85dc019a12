"""What restrictions say, select, and answer when they cannot: on the embedded model, TransformerLens' naming, a module of one's own."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AutoModelForCausalLM, Gemma3Config

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.models.restrictions.masks import create_param_masks, parameter_map_of, preview_weight_restriction, selection_of
from interp_tui_engine.models.restrictions.patterns import InLayer, Named, Whole, as_taken, parse
from interp_tui_engine.models.skeleton import load_skeleton
from references.tiny_architectures import tiny_config, tiny_model

ATTENTION = "model.layers.1.self_attn"


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return load_skeleton("builtin:tiny", None)


def test_patterns_ignore_case_and_spaces() -> None:
    assert parse(" FULL ") == Whole("full")
    assert parse("L3H12") == parse("l3 h12") == InLayer(3, "head", 12)
    assert parse("l0 ATTN") == InLayer(0, "attn")
    assert parse("l0kv1") == InLayer(0, "kv", 1)
    assert parse("L3H12  Own") == parse("l3 h12 own") == InLayer(3, "own", 12)
    assert parse("l0g1 own") == Named("l0g1 own") and parse("l0 attn own") == Named("l0 attn own")
    assert parse("l0attn") == Named("l0attn")
    assert parse("model.norm.weight") == Named("model.norm.weight")


@given(st.integers(0, 200), st.sampled_from(["all", "attn", "mlp", "mixer", "head", "own", "group", "kv"]), st.integers(0, 200))
def test_a_pattern_reads_back_as_itself(layer: int, part: str, index: int) -> None:
    pattern = InLayer(layer, part, index if part in ("head", "own", "group", "kv") else 0)
    assert parse(str(pattern)) == parse(str(pattern).upper()) == pattern


def test_what_a_head_owns_is_its_rows_of_q_and_columns_of_o(tiny: nn.Module) -> None:
    masks = create_param_masks(tiny, "l1h3 own")
    assert set(masks) == {f"{ATTENTION}.q_proj.weight", f"{ATTENTION}.o_proj.weight"}
    rows = torch.zeros(256, 128, dtype=torch.bool)
    rows[3 * 32 : 4 * 32] = True  # head_dim is 32, twice what the width over the heads would say
    assert torch.equal(masks[f"{ATTENTION}.q_proj.weight"], rows)
    assert torch.equal(masks[f"{ATTENTION}.o_proj.weight"], rows.T)


@pytest.mark.parametrize(("head", "group"), [(3, 0), (4, 1)])
def test_a_head_moves_the_keys_and_values_it_shares(tiny: nn.Module, head: int, group: int) -> None:
    """As devinterp takes it: heads 0 to 3 read from key-value head 0, heads 4 to 7 from 1."""
    masks = create_param_masks(tiny, f"l1h{head}")
    expected = {**create_param_masks(tiny, f"l1h{head} own"), **create_param_masks(tiny, f"l1kv{group}")}
    assert set(masks) == set(expected) and all(torch.equal(masks[name], mask) for name, mask in expected.items())
    assert sum(int(mask.sum()) for mask in masks.values()) == 4 * 32 * 128


def test_a_run_may_take_heads_either_way() -> None:
    assert as_taken("l1h3", "shared") == "l1h3" and as_taken("L1 H3", "own") == "l1h3 own"
    assert as_taken(["l1h3", "l0 mlp", "l1h2 own", "model.norm.weight"], "own") == ["l1h3 own", "l0 mlp", "l1h2 own", "model.norm.weight"]


def test_a_group_is_its_heads_and_the_key_value_head_they_share(tiny: nn.Module) -> None:
    group, shared = create_param_masks(tiny, "l1g1"), create_param_masks(tiny, "l1kv1")
    heads = create_param_masks(tiny, ["l1h4 own", "l1h5 own", "l1h6 own", "l1h7 own"])
    assert set(group) == {*heads, *shared}
    for name, mask in {**heads, **shared}.items():
        assert torch.equal(group[name], mask)
    assert shared[f"{ATTENTION}.k_proj.weight"].sum() == 32 * 128


def test_parts_of_a_layer(tiny: nn.Module) -> None:
    assert set(create_param_masks(tiny, "l1")) == {name for name, _ in tiny.named_parameters() if name.startswith("model.layers.1.")}
    assert set(create_param_masks(tiny, "l1 attn")) == {f"{ATTENTION}.{x}_proj.weight" for x in "qkvo"}
    assert set(create_param_masks(tiny, "l1 mlp")) == {f"model.layers.1.mlp.{x}_proj.weight" for x in ("gate", "up", "down")}
    assert create_param_masks(tiny, "full") == dict.fromkeys(name for name, _ in tiny.named_parameters())
    assert create_param_masks(tiny, "model.norm.weight") == {"model.norm.weight": None}


def test_the_union_of_whole_and_part_is_the_whole(tiny: nn.Module) -> None:
    assert create_param_masks(tiny, ["l1h0", "l1 attn"]) == create_param_masks(tiny, "l1 attn")


def test_a_tied_unembedding_selects_the_shared_matrix_and_says_so(tiny: nn.Module) -> None:
    with pytest.warns(UserWarning, match=r"model\.embed_tokens\.weight, which is shared with lm_head\.weight"):
        assert create_param_masks(tiny, "unembed") == {"model.embed_tokens.weight": None}
    assert create_param_masks(tiny, "lm_head.weight") == {"model.embed_tokens.weight": None}


def test_an_unembedding_of_its_own_is_selected_alone() -> None:
    assert create_param_masks(tiny_model("llama", tie_word_embeddings=False), "unembed") == {"lm_head.weight": None}


@pytest.mark.parametrize(
    ("restriction", "says"),
    [
        ("l4", "no layer 4\n.*layers 0 to 3"),
        ("l0h8", "no head 8\n.*0 to 7"),
        ("l0g2", "no group of heads 2\n.*0 to 1"),
        ("l0 mixer", "has no mixer\n.*'l0 attn', 'l0 mlp'"),
        ("l0 atn", "did you mean 'l0 attn'"),
        ("embedd", "did you mean 'embed'"),
        ("model.norm.wieght", "did you mean 'model.norm.weight'"),
        ("", "neither a pattern nor a parameter"),
        ([], "empty list"),
        (["full", "l0"], "cannot be combined"),
        (3, "must be text"),
    ],
)
def test_what_cannot_be_selected_is_answered_with_what_can(tiny: nn.Module, restriction: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        create_param_masks(tiny, restriction)  # type: ignore[arg-type]


def test_a_module_of_ones_own_offers_full_and_names() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    assert set(create_param_masks(model, "full")) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert create_param_masks(model, ["0.bias", "1.bias"]) == {"0.bias": None, "1.bias": None}
    with pytest.raises(UserError, match="layout of a module without a configuration is not known"):
        create_param_masks(model, "l0")


class _Hooked(nn.Module):
    """The parameters of a HookedTransformer under their names and shapes: W_Q (head, d_model, d_head)."""

    def __init__(self, key_heads: int | None) -> None:
        super().__init__()
        heads, width, head = 4, 10, 3
        self.cfg = SimpleNamespace(n_heads=heads, d_head=head, d_model=width, n_layers=2, n_key_value_heads=key_heads)
        mark = "" if key_heads is None else "_"
        shared = key_heads or heads
        self.embed, self.unembed = nn.Module(), nn.Module()
        self.embed.W_E, self.unembed.W_U = nn.Parameter(torch.zeros(7, width)), nn.Parameter(torch.zeros(width, 7))
        self.blocks = nn.ModuleList()
        for _ in range(2):
            block, block.attn, block.mlp, block.ln1 = nn.Module(), nn.Module(), nn.Module(), nn.Module()
            block.ln1.w = nn.Parameter(torch.zeros(width))
            for name, count, shape in (("Q", heads, (width, head)), ("K", shared, (width, head)), ("V", shared, (width, head))):
                prefix = "" if name == "Q" else mark
                setattr(block.attn, f"{prefix}W_{name}", nn.Parameter(torch.zeros(count, *shape)))
                setattr(block.attn, f"{prefix}b_{name}", nn.Parameter(torch.zeros(count, head)))
            block.attn.W_O, block.attn.b_O = nn.Parameter(torch.zeros(heads, head, width)), nn.Parameter(torch.zeros(width))
            block.mlp.W_in, block.mlp.W_out = nn.Parameter(torch.zeros(width, 20)), nn.Parameter(torch.zeros(20, width))
            self.blocks.append(block)


def test_transformer_lens_heads_are_entries_of_the_first_axis() -> None:
    masks = create_param_masks(_Hooked(None), "l1h2")
    assert set(masks) == {f"blocks.1.attn.{kind}" for kind in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")}
    for mask in masks.values():
        assert mask.flatten(1).all(1).tolist() == [False, False, True, False] and mask.sum() == mask[2].numel()


def test_transformer_lens_groups_share_the_underscored_keys() -> None:
    model = _Hooked(2)
    assert set(create_param_masks(model, "l1h2 own")) == {f"blocks.1.attn.{kind}" for kind in ("W_Q", "W_O", "b_Q")}
    assert set(create_param_masks(model, "l1h2")) == set(create_param_masks(model, "l1g1"))
    assert create_param_masks(model, "l1h2")["blocks.1.attn._W_K"][:, 0, 0].tolist() == [False, True]
    masks = create_param_masks(model, "l1g1")
    assert masks["blocks.1.attn.W_Q"][:, 0, 0].tolist() == [False, False, True, True]
    assert masks["blocks.1.attn._W_K"][:, 0, 0].tolist() == [False, True]
    assert set(create_param_masks(model, "embed")) == {"embed.W_E"} and set(create_param_masks(model, "unembed")) == {"unembed.W_U"}
    assert "blocks.0.ln1.w" in create_param_masks(model, "l0")


@pytest.mark.filterwarnings("ignore:'embed' selects")
def test_counts_agree_with_masks(tiny: nn.Module) -> None:
    for restriction in ("full", "l0", "l2h5", "l2h5 own", "l2g0", "embed", ["l0h0", "l0h1", "model.norm.weight"]):
        selection, masks = selection_of(tiny, restriction), create_param_masks(tiny, restriction)
        sizes = {name: p.numel() for name, p in tiny.named_parameters()}
        assert {n: c[0] for n, c in selection.counts().items()} == {n: sizes[n] if m is None else int(m.sum()) for n, m in masks.items()}
        assert selection.total == sum(sizes.values())


def test_the_preview_is_a_tree_with_counts(tiny: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    preview_weight_restriction(tiny, create_param_masks(tiny, "l1h3 own"))
    shown = capsys.readouterr().out
    assert "8,192 of 1,021,056" in shown and "q_proj.weight  4,096 of 32,768  12.5 %" in shown and "key-value" not in shown
    engine.preview_weight_restriction(tiny, engine.create_param_masks(tiny, "l1h3 own"), plain=True)
    assert capsys.readouterr().out.splitlines() == [f"{ATTENTION}.o_proj.weight", f"{ATTENTION}.q_proj.weight"]
    with pytest.raises(UserError, match="no parameter of the model"):
        preview_weight_restriction(tiny, {"nowhere": None})


def test_the_preview_says_which_keys_and_values_others_use_too(tiny: nn.Module, capsys: pytest.CaptureFixture[str]) -> None:
    preview_weight_restriction(tiny, create_param_masks(tiny, ["l1h3", "l2h5"]))
    shown = capsys.readouterr().out.splitlines()
    assert shown[-2:] == [
        "layer 1: key-value head 0 moves, which heads 0, 1 and 2 use too; 'l1h3 own' leaves it out",
        "layer 2: key-value head 1 moves, which heads 4, 6 and 7 use too; 'l2h5 own' leaves it out",
    ]
    preview_weight_restriction(tiny, create_param_masks(tiny, ["l1g0", "l2 attn", "l3kv1"]))
    assert "key-value" not in capsys.readouterr().out, "what was asked for needs no remark"
    preview_weight_restriction(nn.Linear(2, 2), {"weight": None})
    assert "key-value" not in capsys.readouterr().out


def test_the_language_model_inside_a_model_of_several_media() -> None:
    text = tiny_config("gemma3_text").to_dict()
    vision = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = AutoModelForCausalLM.from_config(config)
    masks = create_param_masks(model, "l1h0 own")
    assert set(masks) == {f"model.language_model.layers.1.self_attn.{x}_proj.weight" for x in "qo"}
    assert [int(mask.sum()) for mask in masks.values()] == [8 * 32, 8 * 32]
    assert all(".language_model." in name for name in create_param_masks(model, ["l0", "l1"]))


def test_an_unknown_architecture_names_the_nearest_known_one() -> None:
    model = nn.Linear(1, 1)
    model.config = SimpleNamespace(model_type="mistrall")  # type: ignore[assignment]
    with pytest.raises(UserError, match="'mistral' is known"):
        parameter_map_of(model)


def test_the_process_behind_the_command_line_answers_in_json() -> None:
    command = [sys.executable, "-P", "-m", "interp_tui_engine.models.restrictions", "builtin:tiny", "", "l1h3"]
    answer = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert answer["selected"] == 16384 and answer["total"] == 1021056 and len(answer["parameters"]) == 4
    assert answer["remarks"] == ["layer 1: key-value head 0 moves, which heads 0, 1 and 2 use too; 'l1h3 own' leaves it out"]
