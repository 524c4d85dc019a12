"""Objects of other libraries, each made of the embedded model, given to our calls as they are, beside what their library computes.

Runs in an environment that has this package and the library: `python -m tests.parity.objects_work transformer_lens_4 …`. Prints, for each
object and call, our numbers and those to compare with, or the sentence of a refusal.
"""

from __future__ import annotations

import copy
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import interp_tui_engine as engine
from interp_tui_engine.errors import UserError
from interp_tui_engine.models.given import module_of

from .interp_work import CLEAN, CORRUPT, embedded

Numbers = list[float]
IDS = torch.randint(1, 2000, (8, 9), generator=torch.Generator().manual_seed(1))
LR, N_BETA, DRAWS, LAYER = 1e-4, 50.0, 3, 2
SETTINGS: dict[str, Any] = {
    **{"lr": LR, "n_beta": N_BETA, "num_chains": 1, "num_draws": DRAWS, "batch_size": len(IDS), "num_init_loss_batches": 1},
    **{"noise_level": 0.0, "device": "cpu"},
}
MASKED = ("l2h1", "l2 attn", "l1 mlp", "embed")
RESTRICTED = "l2 attn"
CALLS = ("sample", "llc", "create_param_masks", "sample of a part", "ActivationCache", "causal_trace")


@dataclass(frozen=True)
class Given:
    """An object, and what stands for it: the module that its library computes with, and its library's own reading of a stream.

    logits: of token ids (batch, pos), with a graph, by the library's own forward pass. parameters: what moves when all of it is sampled.
    stream: what leaves block LAYER on token ids (1, pos); None where the object has no such thing. plain: a transformers model that
    computes the same, whose parts and traces are those of the object; None where there is none. own: pieces of names by which the object's
    further parameters are known, which the plain model does not have.
    """

    model: Any
    logits: Callable[[Tensor], Tensor]
    parameters: list[Tensor]
    stream: Callable[[Tensor], Tensor] | None = None
    plain: Any = None
    own: tuple[str, ...] = ()


def made(environment: str) -> Iterator[tuple[str, Callable[[], Given]]]:
    """The objects that can be made in an environment, by name."""
    makers: dict[str, dict[str, Callable[[], Given]]] = {
        "transformer_lens_4": {
            "TransformerBridge": bridge,
            "PeftModel": peft,
            "compiled": compiled,
            "bare module": bare,
            "LoadedModel": loaded_bridge,
        },
        "transformer_lens_3": {"HookedTransformer": hooked},
        "nnsight": {"LanguageModel": nnsight, "LoadedModel of nnsight": loaded_nnsight},
    }
    yield from makers[environment].items()


def bridge() -> Given:
    """TransformerLens 4's: it puts its own components into the model that it is given."""
    from transformer_lens.model_bridge import TransformerBridge

    model, tokenizer = embedded()
    plain = copy.deepcopy(model)
    made = TransformerBridge.boot_transformers("builtin:tiny", hf_model=model, tokenizer=tokenizer, device="cpu", dtype=torch.float32)

    def stream(ids: Tensor) -> Tensor:
        return made.run_with_cache(ids)[1][f"blocks.{LAYER}.hook_out"]

    return Given(made, lambda ids: made(ids, return_type="logits"), list(made.parameters()), stream, plain)


def hooked() -> Given:
    """TransformerLens 3's: a module of its own, whose weights are rearranged copies."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_llama_weights

    plain, tokenizer = embedded()
    config = plain.config
    cfg = HookedTransformerConfig(
        n_layers=config.num_hidden_layers, d_model=config.hidden_size, n_ctx=config.max_position_embeddings, d_head=config.head_dim,
        n_heads=config.num_attention_heads, n_key_value_heads=config.num_key_value_heads, d_mlp=config.intermediate_size,
        d_vocab=config.vocab_size, act_fn="silu", normalization_type="RMS", positional_embedding_type="rotary", gated_mlp=True,
        rotary_dim=config.head_dim, rotary_adjacent_pairs=False, rotary_base=10_000, final_rms=True, eps=config.rms_norm_eps, device="cpu",
        original_architecture="LlamaForCausalLM", tokenizer_prepends_bos=False, default_prepend_bos=False,
    )  # fmt: skip
    made = HookedTransformer(cfg, tokenizer=tokenizer)
    made.load_and_process_state_dict(
        convert_llama_weights(plain, cfg), fold_ln=False, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )

    def stream(ids: Tensor) -> Tensor:
        return made.run_with_cache(ids)[1][f"blocks.{LAYER}.hook_resid_post"]

    biases = (".b_", "._b_")  # all of them 0: Llama has none
    return Given(made, lambda ids: made(ids, return_type="logits"), list(made.parameters()), stream, plain, biases)


def nnsight() -> Given:
    """nnsight's LanguageModel around a loaded model."""
    from nnsight import LanguageModel

    module, tokenizer = embedded()
    made = LanguageModel(module, tokenizer=tokenizer)

    def stream(ids: Tensor) -> Tensor:
        with made.trace(ids):
            kept = made.model.layers[LAYER].output.save()
        return kept[0] if isinstance(kept, tuple) else kept

    def logits(ids: Tensor) -> Tensor:
        with made.trace(ids):
            kept = made.output.logits.save()
        return kept

    return Given(made, logits, list(module.parameters()), stream, copy.deepcopy(module))


def peft() -> Given:
    """A model with LoRA adapters that do something; what computes the same is the model with them merged in."""
    from peft import LoraConfig, get_peft_model

    model, _ = embedded()
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False))
    merged = copy.deepcopy(made).merge_and_unload()

    def stream(ids: Tensor) -> Tensor:
        return made(ids, output_hidden_states=True).hidden_states[LAYER + 1]

    return Given(made, lambda ids: made(ids).logits, list(made.parameters()), stream, merged, ("lora_",))


def compiled() -> Given:
    """torch.compile's module, by the back end that needs no C compiler."""
    model, _ = embedded()
    made: Any = torch.compile(model, backend="eager")

    def stream(ids: Tensor) -> Tensor:
        return made(ids, output_hidden_states=True).hidden_states[LAYER + 1]

    return Given(made, lambda ids: made(ids).logits, list(model.parameters()), stream, model)


def loaded_bridge() -> Given:
    return _loaded("transformer_lens")


def loaded_nnsight() -> Given:
    return _loaded("nnsight")


def _loaded(backend: str) -> Given:
    """What load_model gives where another library runs the forward pass."""
    made = engine.load_model("builtin:tiny", revision="final", device="cpu", backend=backend)
    plain = embedded()[0]

    def stream(ids: Tensor) -> Tensor:
        return plain(ids, output_hidden_states=True).hidden_states[LAYER + 1]

    return Given(made, lambda ids: plain(ids).logits, list(plain.parameters()), stream, plain)


class Bare(nn.Module):
    """A module of one's own that returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(2048, 16), nn.Linear(16, 16), nn.Linear(16, 2048)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.out(torch.tanh(self.mix(self.embed(input_ids))))


def bare() -> Given:
    torch.manual_seed(0)
    made = Bare()
    return Given(made, made, list(made.parameters()))


def results(given: Given) -> dict[str, dict[str, Any]]:
    """For each call: our numbers on the object ('ours') or the sentence of a refusal ('refused'), and the numbers to compare ('theirs')."""
    _, tokenizer = embedded()
    table: dict[str, dict[str, Any]] = {}
    mine, other = ours(given.model, tokenizer, given.own), theirs(given, tokenizer)
    for call in CALLS:
        try:
            table[call] = {"ours": mine[call]()}
        except UserError as error:
            table[call] = {"refused": str(error.what), "hint": error.hint}
        if call in other:
            table[call]["theirs"] = other[call]()
    return table


def ours(model: Any, tokenizer: Any, own: tuple[str, ...] = ()) -> dict[str, Callable[[], Numbers]]:
    def trace() -> Numbers:
        pair = {"clean": CLEAN, "corrupt": CORRUPT, "answer": " Paris", "counterfactual": " Tokyo", "sites": ("resid_post",)}
        found = engine.causal_trace(model, tokenizer=tokenizer, **pair)
        return [found.clean_metric, found.corrupt_metric, *found.recovery["resid_post"].flatten().tolist()]

    return {
        "sample": lambda: engine.sample(model, IDS, {}, **SETTINGS)["sampling_loss_micro"].values.mean((0, 2, 3)).tolist(),
        "llc": lambda: [float(engine.llc(model, IDS, {}, baseline="init", include_burnin=True, **SETTINGS)["llc_mean"])],
        "sample of a part": lambda: _of_a_part(model, own),
        "ActivationCache": lambda: some(engine.ActivationCache(model, tokenizer).run(CLEAN).residual_stream(layer=LAYER)),
        "create_param_masks": lambda: [_elements(model, part, own) for part in MASKED],
        "causal_trace": trace,
    }


def _masks(model: Any, part: str, own: tuple[str, ...]) -> dict[str, Tensor | None]:
    masks = engine.create_param_masks(model, part)
    return {name: mask for name, mask in masks.items() if not any(piece in name for piece in own)}


def _of_a_part(model: Any, own: tuple[str, ...]) -> Numbers:
    """Losses where one layer's attention moves alone."""
    tree = engine.sample(model, IDS, {}, param_masks=_masks(model, RESTRICTED, own), **SETTINGS)
    means: Numbers = tree["sampling_loss_micro"].values.mean((0, 2, 3)).tolist()
    return means


def _elements(model: Any, part: str, own: tuple[str, ...]) -> float:
    """How many elements of the object's parameters a restriction selects."""
    sizes = {name: tensor.numel() for name, tensor in module_of(model).named_parameters()}
    return float(sum(sizes[name] if mask is None else int(mask.sum()) for name, mask in _masks(model, part, own).items()))


def theirs(given: Given, tokenizer: Any) -> dict[str, Callable[[], Numbers]]:
    calls: dict[str, Callable[[], Numbers]] = {"sample": lambda: losses_by_hand(given), "llc": lambda: _llc(losses_by_hand(given))}
    if given.stream is not None:
        stream = given.stream
        ids = torch.tensor([tokenizer(CLEAN).input_ids])
        calls["ActivationCache"] = lambda: some(stream(ids)[0].detach())
    if given.plain is not None:
        same = ours(given.plain, tokenizer)
        calls |= {name: same[name] for name in ("create_param_masks", "sample of a part", "causal_trace")}
    return calls


def losses_by_hand(given: Given) -> Numbers:
    """The loss before each of DRAWS steps w − (ε/2) nβ ∇L by the library's own forward pass; the weights are put back."""
    before = [(tensor.detach().clone(), tensor.requires_grad) for tensor in given.parameters]
    losses = []
    for _ in range(DRAWS):
        with torch.enable_grad():
            for tensor in given.parameters:
                tensor.requires_grad_(True)
            logits = given.logits(IDS)[:, :-1].flatten(0, 1)
            loss = nn.functional.cross_entropy(logits, IDS[:, 1:].flatten())
            slopes = torch.autograd.grad(loss, given.parameters, allow_unused=True)
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for tensor, slope in zip(given.parameters, slopes, strict=True):
                if slope is not None:
                    tensor -= LR / 2 * N_BETA * slope
    with torch.no_grad():
        for tensor, (value, asked) in zip(given.parameters, before, strict=True):
            tensor.copy_(value)
            tensor.requires_grad_(asked)
    return losses


def _llc(losses: Numbers) -> Numbers:
    return [N_BETA * (sum(losses) / len(losses) - losses[0])]


def some(values: Tensor) -> Numbers:
    return [*map(float, values.shape), *values.flatten()[::17].tolist(), float(values.sum())]


def main(environment: str) -> None:
    warnings.simplefilter("ignore")
    print(json.dumps({name: results(make()) for name, make in made(environment)}))


if __name__ == "__main__":
    main(sys.argv[1])
